"""Small videos for tests: the portrait of the examples, moving over an even ground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PORTRAIT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
SIZE = (320, 240)


def portrait(side: int = 200) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(PORTRAIT).convert("RGB").resize((side, side)))


def scene(x: int = 60, y: int = 20, ground: int = 90, shown: bool = True) -> np.ndarray[Any, Any]:
    image = np.full((SIZE[1], SIZE[0], 3), ground, np.uint8)
    if shown:
        image[y : y + 200, x : x + 200] = portrait()
    return image


def write_video(
    path: Path,
    frames: Sequence[np.ndarray[Any, Any]],
    *,
    times: Callable[[int], float] = lambda index: index / 25,
    sound: str | None = None,
) -> Path:
    """Frames with times in seconds; ``sound`` is the codec of a tone as long as the pictures."""
    from fractions import Fraction

    import av

    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        stream.options = {"preset": "ultrafast", "crf": "12"}
        tone = out.add_stream(sound, rate=8000) if sound else None
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image))
            frame.pts, frame.time_base = round(times(index) * 90_000), Fraction(1, 90_000)
            out.mux(stream.encode(frame))
            if tone:
                wave = np.sin(np.arange(320) / 4).astype(np.float32)[None] * 0.3
                kind = "fltp" if sound == "aac" else "s16"
                samples = wave if kind == "fltp" else (wave * 32767).astype(np.int16)
                piece = av.AudioFrame.from_ndarray(samples, format=kind, layout="mono")
                piece.sample_rate, piece.pts = 8000, index * 320
                out.mux(tone.encode(piece))
        out.mux(stream.encode(None))
        if tone:
            out.mux(tone.encode(None))
    return path


def turn(path: Path) -> Path:
    """Say in the file that it is shown turned by a quarter to the right, as a phone held upright does."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version and flags, times, track id, reserved, duration, layer, group, volume
    one = (1 << 16).to_bytes(4, "big")
    minus = (0xFFFFFFFF - (1 << 16) + 1).to_bytes(4, "big")
    zero = bytes(4)
    data[at : at + 36] = zero + one + zero + minus + zero + zero + zero + zero + (1 << 30).to_bytes(4, "big")
    path.write_bytes(data)
    return path
