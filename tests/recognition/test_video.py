"""Videos: what is read, who is followed, what is written; and files that are none."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from video_files import SIZE, scene, turn, write_video

from mien.errors import InputError
from mien.faces import Detections
from mien.recognition import Recognizer
from mien.recognition.timeline import Timeline, TrackSummary, bands
from mien.recognition.video import VideoFaces, Watching
from mien.recognition.video_file import VideoReader, VideoWriter
from mien.recognition.video_job import recognize_video
from mien.store.atomic import tidy

av = pytest.importorskip("av", reason="PyAV, the extra 'video', is not installed")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(threads=1)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 frames with sound; the face moves, and is hidden on frames 10 to 14."""
    frames = [scene(x=40 + 2 * i, shown=not 10 <= i < 15) for i in range(23)]
    return write_video(tmp_path_factory.mktemp("video") / "moving.mp4", frames, sound="aac")


class _Looking:
    """A recogniser whose detector always sees a face at one place."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognize_known = recognizer.recognize_known

    def detect(self, image: object) -> Detections:
        return Detections(np.array([[110, 60, 190, 160]], np.float32))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_frames_come_with_their_times(moving: Path) -> None:
    reader = VideoReader(moving)
    frames = list(reader)
    assert [round(t, 3) for t, _ in frames] == [round(i / 25, 3) for i in range(23)]
    assert frames[0][1].shape == (SIZE[1], SIZE[0], 3)
    assert (reader.size, reader.scale, reader.problem) == (SIZE, 1.0, "")
    assert np.abs(frames[3][1].astype(int) - scene(x=46)).mean() < 6


def test_variable_rates_keep_their_times(tmp_path: Path) -> None:
    when = [0.0, 0.04, 0.3, 0.33, 0.9, 1.7]
    path = write_video(tmp_path / "uneven.mp4", [scene()] * 6, times=lambda i: when[i])
    assert [round(t, 2) for t, _ in VideoReader(path)] == when


def test_a_video_that_starts_late_starts_at_zero(tmp_path: Path) -> None:
    path = write_video(tmp_path / "late.mkv", [scene()] * 3, times=lambda i: 5 + i / 25)
    assert [round(t, 2) for t, _ in VideoReader(path)] == [0, 0.04, 0.08]


def test_turned_videos_are_upright(tmp_path: Path) -> None:
    reader = VideoReader(turn(write_video(tmp_path / "phone.mp4", [np.rot90(scene(), 1)] * 2)))
    _, image = next(iter(reader))
    assert image.shape == scene().shape
    assert np.abs(image.astype(int) - scene()).mean() < 6


def test_large_frames_are_reduced(tmp_path: Path) -> None:
    path = write_video(tmp_path / "large.mp4", [np.zeros((200, 640, 3), np.uint8)] * 2)
    reader = VideoReader(path, max_side=160)
    assert [image.shape for _, image in reader] == [(50, 160, 3)] * 2
    assert reader.scale == 4


def test_truncated_files_give_what_they_hold(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", [scene(x=i % 60) for i in range(60)]).read_bytes()
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(whole[: len(whole) * 6 // 10])
    reader = VideoReader(broken)
    count = sum(1 for _ in reader)
    assert 5 < count < 60
    assert "truncated" in reader.problem or "breaks off" in reader.problem


def test_sound_that_outlasts_the_pictures_is_no_fault(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mkv", [scene()] * 60, times=lambda i: i / 100, sound="aac")
    reader = VideoReader(path)
    assert sum(1 for _ in reader) == 60
    assert reader.problem == ""


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_bytes(b""), "no video"),
        (lambda p: p.write_bytes(os.urandom(5000)), "no video"),
        (lambda p: p.write_text("hello"), "no video"),
        (lambda p: p.mkdir(), "is a folder"),
    ],
)
def test_what_is_no_video_is_named(tmp_path: Path, make, said: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.mp4"
    make(path)
    with pytest.raises(InputError, match=said):
        list(VideoReader(path))


def test_sound_alone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(InputError, match="sound only"):
        VideoReader(path)


def test_a_header_without_frames_is_named(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", [scene()] * 3).read_bytes()
    cut = tmp_path / "head.mkv"
    cut.write_bytes(whole[: whole.index(b"\x1f\x43\xb6\x75")])  # the first cluster
    with pytest.raises(InputError, match=r"no frame|no video"):
        list(VideoReader(cut))


# --- following --------------------------------------------------------------------------------------------------------


def test_a_face_is_followed_between_detections_and_through_hiding(recognizer: Recognizer, moving: Path) -> None:
    seen = list(VideoFaces(recognizer, moving))
    assert [frame.index for frame in seen] == list(range(23))
    assert [len(frame.faces) for frame in seen] == [1] * 10 + [0] * 5 + [1] * 8
    assert {number for frame in seen for number in frame.faces.track_ids.tolist()} == {1}
    lefts = [frame.faces.boxes[0, 0] for frame in seen[:10]]
    assert np.allclose(np.diff(lefts), 2, atol=0.8)  # as fast as the face moves, also between detections
    assert all(frame.faces.labels == ["happy"] for frame in seen if len(frame.faces))


def test_frames_between_are_where_the_detector_would_see_them(recognizer: Recognizer, moving: Path) -> None:
    each = list(VideoFaces(recognizer, moving, Watching(detect_every=1)))
    fifth = list(VideoFaces(recognizer, moving))
    for a, b in zip(each[:6], fifth[:6], strict=True):
        assert np.abs(a.faces.boxes - b.faces.boxes).max() < 4


def test_few_frames_are_held_however_rarely_faces_are_detected(
    recognizer: Recognizer, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mien.recognition import video

    monkeypatch.setattr(video, "_HELD", 3 * SIZE[0] * SIZE[1] * 3)
    detections = []
    monkeypatch.setattr(recognizer, "detect", lambda image: detections.append(1) or Detections.empty())
    assert len(list(VideoFaces(recognizer, moving, Watching(detect_every=1000)))) == 23
    assert len(detections) >= 7


def test_a_cut_ends_every_track(recognizer: Recognizer, tmp_path: Path) -> None:
    other = np.ascontiguousarray(np.rot90(scene(ground=250), 2)[:, ::-1])  # upside down is another look
    seen = list(VideoFaces(_Looking(recognizer), write_video(tmp_path / "cut.mp4", [scene()] * 7 + [other] * 7)))
    assert [frame.faces.track_ids.tolist() for frame in seen] == [[1]] * 7 + [[2]] * 7


def test_stream_of_the_recognizer_skips_by_time(recognizer: Recognizer, moving: Path) -> None:
    times = [frame.time for frame in recognizer.stream(moving, every=0.2)]
    assert times == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=1e-3)


def test_leaving_a_stream_early_leaves_no_thread(recognizer: Recognizer, moving: Path) -> None:
    import threading

    stream = recognizer.stream(moving)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "mien-video"]


def test_a_broken_end_is_logged(recognizer: Recognizer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_video(tmp_path / "whole.mkv", [scene()] * 60).read_bytes()
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(whole[: len(whole) * 7 // 10])
    assert list(recognizer.stream(broken, every=1.0))
    assert "broken.mkv" in caplog.text


@pytest.mark.parametrize("wrong", [{"every": -1}, {"detect_every": 0}, {"max_side": 3}, {"smoothing": -1}, {"gap": -1}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Watching(**wrong)  # type: ignore[arg-type]


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sound", ["aac", "pcm_s16le"])
def test_the_annotated_copy_keeps_times_and_sound(recognizer: Recognizer, tmp_path: Path, sound: str) -> None:
    when = [0.0, 0.04, 0.3, 0.33, 0.5]
    source = write_video(tmp_path / "in.mkv", [scene()] * 5, times=lambda i: when[i], sound=sound)
    summary = recognize_video(recognizer, source, out=tmp_path / "out.mp4", table=tmp_path / "faces.csv")
    assert summary.status == "ok"
    frames = list(VideoReader(tmp_path / "out.mp4"))
    assert [round(t, 2) for t, _ in frames] == when
    drawn = np.abs(frames[2][1].astype(int) - scene())
    assert drawn.max() > 150  # a box in yellow
    with av.open(str(tmp_path / "out.mp4")) as out, av.open(str(source)) as before:
        heard, was = (list(c.decode(audio=0)) for c in (out, before))
    assert sum(f.samples for f in heard) == pytest.approx(sum(f.samples for f in was), abs=2500)
    rows = list(csv.DictReader((tmp_path / "faces.csv").read_text().splitlines()))
    assert [float(row["time"]) for row in rows] == when
    assert {row["track"] for row in rows} == {"1"}
    assert sum(float(rows[0][name]) for name in rows[0] if name.startswith("p_")) == pytest.approx(1, abs=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["faces.csv", "in.mkv", "out.mp4"]


def test_nothing_half_written(recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.recognition import video_job

    source = write_video(tmp_path / "in.mp4", [scene()] * 12)

    def fail(*_: object) -> None:
        raise ValueError("no space left")

    monkeypatch.setattr(video_job, "overlay", fail)
    with pytest.raises(InputError, match="cannot be written"):
        recognize_video(recognizer, source, out=tmp_path / "out.mp4", table=tmp_path / "faces.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_outputs_that_make_no_sense_are_refused(recognizer: Recognizer, moving: Path, tmp_path: Path) -> None:
    for options in (
        {"out": moving},
        {"table": moving},
        {"out": tmp_path / "x.avi"},
        {"timeline": tmp_path / "x.jpg"},
        {"out": tmp_path / "x.mp4", "watching": Watching(every=1)},
        {"out": tmp_path / "x.mp4", "table": tmp_path / "x.mp4"},
        {"table": tmp_path},
        {"timeline": moving / "t.png"},
    ):
        with pytest.raises(InputError):
            recognize_video(recognizer, moving, **options)  # type: ignore[arg-type]
    assert moving.stat().st_size
    assert not list(tmp_path.iterdir())


def test_timelines_as_picture_and_page(recognizer: Recognizer, moving: Path, tmp_path: Path) -> None:
    from PIL import Image

    summary = recognize_video(recognizer, moving, timeline=tmp_path / "t.png")
    recognize_video(recognizer, moving, timeline=tmp_path / "t.html")
    picture = np.asarray(Image.open(tmp_path / "t.png"))
    yellow = (np.abs(picture.astype(int) - (240, 228, 66)).max(axis=2) < 12).mean()
    assert yellow > 0.1
    page = (tmp_path / "t.html").read_text()
    assert "face 1" in page
    assert "scroll it" in page
    assert "http" not in page
    entry = summary.to_dict()["tracks"][0]
    assert (entry["label"], entry["frames"], entry["start"]) == ("happy", 18, 0.0)
    # Ten frames, five without the face, eight with it: the time without does not count.
    frame = entry["end"] / 22
    assert entry["seen"] == pytest.approx(17 * frame, abs=0.002)
    assert f"<td>{entry['seen']:.1f} s</td>" in page


def test_time_without_the_face_was_not_seen(
    recognizer: Recognizer, moving: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mien.cli.video import _print_tracks

    summary = recognize_video(recognizer, moving).to_dict()
    (track,) = summary["tracks"]
    track |= {"start": 0.04, "end": 3.96, "seen": 3.36}
    _print_tracks(summary)
    printed = capsys.readouterr().out
    assert "0:00.0 – 0:04.0" in printed
    assert "3.4 s" in printed


def test_a_title_cannot_carry_html(recognizer: Recognizer) -> None:
    assert "<script>" not in Timeline(recognizer.label_set).page("<script>alert(1)</script>")


def test_timelines_stay_small_and_add_up() -> None:
    track = TrackSummary(1, 0.0, 0.0, 2)
    for index in range(100_000):
        track.add(index / 25, np.array([0.25, 0.75], np.float32), index % 2 == 0)
    assert len(track.counts) == len(track.sums) <= 480
    assert len(TrackSummary(2, 50.0, 50.0, 2).counts) < 20
    assert track.counts.sum() == track.frames == 100_000
    assert track.undecided == 50_000
    assert track.mean.tolist() == pytest.approx([0.25, 0.75])
    assert len(bands(track, 4000.0)) == 1


def test_the_command_says_what_it_found(moving: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mien", "video", str(moving), "--json", "--csv", str(tmp_path / "f.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tracks"][0]["label"] == "happy"
    none = subprocess.run([*command[:4], str(tmp_path / "none.mp4")], capture_output=True, text=True)
    assert none.returncode == 2
    assert "no such file" in none.stderr
    assert "Traceback" not in none.stderr


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process in between: a child's peak begins at what its parent has, and a process of tests may have a lot."""


@pytest.mark.full
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """Two minutes need as much as ten seconds; and no more than 500 MB at 720p."""
    frames = [np.kron(scene(x=20 + i), np.ones((3, 4, 1), np.uint8)) for i in range(40)]
    peaks = []
    for length in (250, 3000):
        path = write_video(tmp_path / f"{length}.mp4", [frames[i % 40] for i in range(length)])
        command = [sys.executable, "-m", "mien", "video", str(path), "--csv", str(tmp_path / "f.csv")]
        done = subprocess.run([sys.executable, "-c", PEAK, *command], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < 500
    assert peaks[1] < peaks[0] * 1.25


WRITE = """
import sys, time
import numpy as np
from mien.recognition.video_file import VideoReader, VideoWriter
writer = VideoWriter(sys.argv[2], VideoReader(sys.argv[1]))
writer.write(0.0, np.zeros((240, 320, 3), np.uint8))
print("writing", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_what_a_killed_writer_left_goes_with_the_next_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    source, out = write_video(tmp_path / "in.mp4", [scene()] * 3), tmp_path / "out.mp4"
    child = subprocess.Popen([sys.executable, "-c", WRITE, str(source), str(out)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"writing\n"
    assert tidy(out) == []
    child.kill()
    child.communicate()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".out.mp4.0.part", "in.mp4"]
    writer = VideoWriter(out, VideoReader(source))
    for number in range(3):
        writer.write(number / 25, scene())
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    assert len(list(VideoReader(out))) == 3


@pytest.mark.full
def test_killed_jobs_leave_nothing(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", [scene(x=i % 60) for i in range(400)])
    command = [sys.executable, "-m", "mien", "video", str(source), "-o", str(tmp_path / "out.mp4")]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2.0)
    child.kill()
    child.wait()
    assert not (tmp_path / "out.mp4").exists()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
