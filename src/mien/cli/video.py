"""``mien video``: the faces of a video, as an annotated copy, a table, a timeline and a summary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def video(
    file: Annotated[Path, typer.Argument(help="A video that FFmpeg reads.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Annotated copy with the sound: .mp4, .mkv or .mov.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="One row per face and frame.")] = None,
    timeline: Annotated[Path | None, typer.Option(help="Each face's expressions over time, as .png or .html.")] = None,
    every: Annotated[
        float, typer.Option(min=0.0, help="Look at one frame per so many seconds; 0 is every frame.")
    ] = 0.0,
    detect_every: Annotated[
        int | None, typer.Option(min=1, help="Detect on every so many frames and track in between.  [default: 5]")
    ] = None,
    smoothing: Annotated[float, typer.Option(min=0.0, help="Seconds that probabilities are averaged over.")] = 0.3,
    gap: Annotated[float, typer.Option(min=0.0, help="Seconds that a face may be hidden and keep its number.")] = 1.0,
    max_side: Annotated[int, typer.Option(help="Larger frames are reduced to this side.")] = 1920,
    detector: Annotated[str, typer.Option(help="centerface, yunet, or yunet:PATH.")] = "centerface",
    model: Annotated[str | None, typer.Option(metavar="BUNDLE|NAME", help="Instead of the one in the package.")] = None,
    views: Annotated[str, typer.Option(help="one, or another view that the bundle was calibrated for.")] = "one",
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Follow the faces of a video and recognise their expressions, offline.

    A file that breaks off is done as far as it goes: the outputs are written and the exit status is 2.
    """
    from mien.cli.common import complain, print_json, progress, stderr
    from mien.recognition import Recognizer
    from mien.recognition.video import Watching
    from mien.recognition.video_job import recognize_video

    watching = Watching(every, detect_every, smoothing, gap, max_side)
    recognizer = Recognizer(model, detector=detector, views=views)
    with progress() as bar:
        task = bar.add_task(f"{file.name} (seconds)", total=None)
        summary = recognize_video(
            recognizer,
            file,
            watching=watching,
            out=out,
            table=csv,
            timeline=timeline,
            progress=lambda done, total: bar.update(task, completed=round(done, 1), total=round(total, 1) or None),
        )
    if summary.message:
        complain(f"{summary.message}; what it holds was done")
    if json:
        print_json(summary.to_dict())
    else:
        _print_tracks(summary.to_dict())
    for path in (out, csv, timeline):
        if path is not None:
            stderr.print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)
    if summary.status != "ok":
        raise typer.Exit(2)


def _print_tracks(summary: dict[str, object]) -> None:
    from mien.cli.common import print_table, stdout
    from mien.recognition.timeline import moment

    tracks = summary["tracks"]
    assert isinstance(tracks, list)
    if not tracks:
        stdout.print("no face", highlight=False)
        return
    rows = []
    for track in tracks:
        ranked = sorted(track["probabilities"].items(), key=lambda item: -item[1])
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in ranked[:3] if share >= 0.005)
        when = f"{moment(track['start'])} – {moment(track['end'])}"
        seen = f"{track['seen']:.1f} s"
        undecided = f"{100 * track['undecided'] / track['frames']:.0f} %"
        rows.append([str(track["track_id"]), when, seen, f"{track['frames']:,}", shares, undecided])
    print_table(["face", "from – to", "seen", "frames", "mean probabilities", "undecided"], rows)
