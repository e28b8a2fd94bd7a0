"""`mien video` on a 720p video with one face: frames per second, memory, and where the time goes.

    python benchmarks/video.py                    # 40 seconds of video, and four minutes for the memory
    python benchmarks/video.py --json

The video is made here from the portrait of the examples, which moves over an even ground. Each row is a process of
its own, so that its time and its peak memory are those of a user's call; the start of the process is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import mien

ROOT = Path(__file__).resolve().parents[1]
BUDGET = {"csv": 60.0, "mp4": 30.0, "peak_mib": 500.0}
RATE = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--long", type=int, default=240, help="seconds of the video whose memory is measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    record = measure(options.seconds, options.long)
    if options.json:
        print(json.dumps(record, indent=1))
        return
    for row in record["rows"]:
        print(f"{row['what']:34} {row['frames_per_second']:7.1f} frames/s  {row['peak_mib']:5.0f} MiB")
    for step, milliseconds in record["steps"].items():
        print(f"  {step:20} {milliseconds:6.2f} ms per frame")


def measure(seconds: int = 40, long: int = 240) -> dict[str, Any]:
    """Rows of whole calls, and the milliseconds of each step per frame, one after the other in one process."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        short, other = make(root / "short.mp4", seconds), make(root / "long.mp4", long)
        rows = [
            call("to a CSV", short, seconds, ["--csv", str(root / "a.csv")]),
            call(
                "to a CSV and an H.264 video", short, seconds, ["--csv", str(root / "b.csv"), "-o", str(root / "b.mp4")]
            ),
            call(f"to a CSV, {long // 60} minutes", other, long, ["--csv", str(root / "c.csv")]),
        ]
        return {"size": [1280, 720], "faces": 1, "rate": RATE, "rows": rows, "steps": steps(short)}


def make(path: Path, seconds: int) -> Path:
    """A video of one face that moves."""
    import av
    from PIL import Image

    face = np.asarray(Image.open(ROOT / "examples" / "astronaut.jpg").convert("RGB").resize((480, 480)))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.options = {"preset": "veryfast"}
        for index in range(seconds * RATE):
            image = np.full((720, 1280, 3), 90, np.uint8)
            x, y = int(400 + 350 * np.sin(index / 40)), int(120 + 100 * np.cos(index / 25))
            image[y : y + 480, x : x + 480] = face
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts = index
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def call(what: str, video: Path, seconds: int, options: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "mien", "video", str(video), *options, "--json"]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return {
        "what": what,
        "frames": seconds * RATE,
        "frames_per_second": round(seconds * RATE / wall, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024, 1),
    }


def steps(video: Path) -> dict[str, float]:
    """Milliseconds per frame of each step by itself; in a call they overlap on the cores."""
    from mien.recognition.overlay import overlay
    from mien.recognition.video_file import VideoReader, VideoWriter

    recognizer = mien.Recognizer().warm_up()
    frames: list[np.ndarray] = []
    began, count = time.perf_counter(), 0
    for _, image in VideoReader(video):
        count += 1
        if len(frames) < 8 * RATE:
            frames.append(image)
    spent = {"decode": (time.perf_counter() - began) / count}
    began = time.perf_counter()
    found = [recognizer.detect(image) for image in frames[::5]]
    spent["detect, each 5th"] = (time.perf_counter() - began) / len(frames)
    began = time.perf_counter()
    faces = recognizer.recognize_known([(image, found[i // 5]) for i, image in enumerate(frames)])
    spent["crop and classify"] = (time.perf_counter() - began) / len(frames)
    began = time.perf_counter()
    for image, expressions in zip(frames, faces, strict=True):
        overlay(image, expressions)
    spent["draw"] = (time.perf_counter() - began) / len(frames)
    writer = VideoWriter(video.with_name("steps.mp4"), VideoReader(video))
    began = time.perf_counter()
    for index, image in enumerate(frames):
        writer.write(index / RATE, image)
    writer.close()
    spent["encode"] = (time.perf_counter() - began) / len(frames)
    return {step: round(1e3 * value, 3) for step, value in spent.items()}


if __name__ == "__main__":
    main()
