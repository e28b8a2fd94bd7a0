"""``mien predict``: photographs in; a table, JSON, CSV, Parquet or annotated images out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.labels import LabelSet
    from mien.recognition import Recognizer
    from mien.recognition.batch import Summary
    from mien.recognition.files import FileRecord
    from mien.recognition.listing import Plan
    from mien.recognition.shards import Shard


def predict(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES…", help="Images, or folders with --recursive; - reads one from standard input."),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Take the images in folders and below.")] = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="For many images: write .csv, .jsonl or .parquet in bounded memory; resumes after a kill.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list with one object per file; with --out, a summary.")
    ] = False,
    csv: Annotated[
        str | None, typer.Option(metavar="PATH|-", help="Write one row per face; - is standard output.")
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write an annotated PNG of each image into this folder.")
    ] = None,
    detector: Annotated[
        str,
        typer.Option(help="centerface, yunet (after mien fetch yunet), yunet:PATH, or none: each image is one face."),
    ] = "centerface",
    crops: Annotated[bool, typer.Option("--crops", help="Each image is one face already; as --detector none.")] = False,
    boxes: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Your own faces: columns file, x1, y1, x2, y2; FILES may be left out."),
    ] = None,
    names: Annotated[
        Path | None, typer.Option("--list", metavar="CSV", help="Take the images that its column file names.")
    ] = None,
    min_confidence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Leave out faces whose expression is less certain, and count them.")
    ] = 0.0,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="BUNDLE|NAME", help="A bundle (.onnx), or a fetched one, instead of the one in the package."
        ),
    ] = None,
    views: Annotated[str, typer.Option(help="one, or another view that the bundle was calibrated for.")] = "one",
    shard: Annotated[
        str | None,
        typer.Option(metavar="i/n", help="With --out: do the i-th of n parts, as one job of a job array; from 1."),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="With --out: put all shards together, if each image is there exactly once.")
    ] = False,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="ray", help="ray: on many processes or machines, also s3://…; --out becomes a folder of Parquet."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --engine ray: processes; by default one per core of the cluster.")
    ] = None,
) -> None:
    """Recognise the expressions of the faces on photographs, offline.

    A photograph without a face is no error. A file that is no image is named on standard error; the others are done
    all the same and the exit status is 2. So it is with a folder that cannot be read, and with folders that hold no
    image. --merge exits with 1 where shards are missing, doubled or of different images.
    """
    from mien.errors import InputError
    from mien.recognition import Recognizer
    from mien.recognition.listing import is_address, plan
    from mien.recognition.shards import Shard

    many = {"--shard": shard, "--merge": merge or None, "--engine": engine}
    if len(asked := [name for name, value in many.items() if value]) > 1:
        raise InputError(f"{' and '.join(asked)} do not go together: --engine ray shares the work out by itself")
    if asked and out is None:
        raise InputError(f"{asked[0]} makes a table; say which with --out")
    if workers is not None and engine is None:
        raise InputError("--workers belongs to --engine ray; without it every core of this machine is used")
    if merge:
        leave = {"--draw": draw, "--csv": csv, "--crops": crops, "--model": model, "--min-confidence": min_confidence}
        leave |= {"--detector": detector != "centerface", "--views": views != "one"}
        if given := [name for name, value in leave.items() if value]:
            raise InputError(f"--merge reads finished shards and recognises nothing; leave {', '.join(given)} away")
        _merge(
            plan(files or [], recursive=recursive, names=names, boxes=boxes) if files or names or boxes else None,
            out,
            as_json,
        )
        return
    if engine is not None:
        from mien.registry import suggestion

        if engine != "ray":
            raise InputError(f"no engine is called {engine!r}; {suggestion(engine, ['ray'])}")
        if given := [name for name, value in {"--draw": draw, "--csv": csv}.items() if value]:
            raise InputError(f"--engine ray writes Parquet and nothing else; leave {', '.join(given)} away")
    if as_json and csv == "-":
        raise InputError("--json and --csv - both want standard output; give --csv a path")
    if out is not None and engine is None and is_address(out):
        raise InputError("--out is an address; only --engine ray writes to object stores")
    if out is not None and csv is not None:
        raise InputError("--out and --csv both write a table; --out also writes CSV, as faces.csv")
    if boxes is not None and (crops or detector == "none"):
        raise InputError("--boxes says where the faces are and --crops that each image is one; give one of them")
    chosen = None if crops or detector == "none" else detector
    if engine is not None and out is not None:
        from mien.scale.places import list_address

        # Nobody names a million images one by one: folders are read here without being asked.
        wanted = plan(files or [], recursive=True, names=names, boxes=boxes, expand=list_address)
        _to_parts(
            Recognizer(model, detector=chosen, views=views, threads=1), wanted, out, min_confidence, workers, as_json
        )
        return
    wanted = plan(files or [], recursive=recursive, names=names, boxes=boxes)
    # Several images at once, each in one thread, are faster than one image in several.
    recognizer = Recognizer(model, detector=chosen, views=views, threads=None if out is None else 1)
    if out is not None:
        part = None if shard is None else Shard.parse(shard)
        _to_table(recognizer, wanted, out, draw, min_confidence, as_json, part)
    else:
        _to_screen(recognizer, wanted, csv, draw, min_confidence, as_json)


def _to_table(
    recognizer: Recognizer,
    wanted: Plan,
    out: str,
    draw: Path | None,
    min_confidence: float,
    as_json: bool,
    shard: Shard | None,
) -> None:
    from mien.cli.common import complain, progress
    from mien.recognition.batch import recognize_to_table

    try:
        with progress() as bar:
            task = bar.add_task("recognising", total=None)
            summary = recognize_to_table(
                recognizer,
                wanted.jobs,
                out,
                min_confidence=min_confidence,
                draw=draw,
                root=wanted.root,
                settings=wanted.settings,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
                shard=shard,
            )
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from here")
        raise typer.Exit(130) from None
    _say(summary, as_json)


def _to_parts(
    recognizer: Recognizer, wanted: Plan, out: str, min_confidence: float, workers: int | None, as_json: bool
) -> None:
    from mien.cli.common import complain, progress
    from mien.scale.batch import recognize_with_ray

    try:
        with progress() as bar:
            task = bar.add_task("recognising", total=None)
            summary = recognize_with_ray(
                recognizer,
                wanted,
                out,
                min_confidence=min_confidence,
                workers=workers,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from here")
        raise typer.Exit(130) from None
    _say(summary, as_json)


def _say(summary: Summary, as_json: bool) -> None:
    from mien.cli.common import print_json, stderr

    if as_json:
        print_json(summary.to_json())
    else:
        stderr.print(str(summary), soft_wrap=True, highlight=False, markup=False)
    if summary.errors:
        raise typer.Exit(2)


def _merge(wanted: Plan | None, out: str | None, as_json: bool) -> None:
    from mien.cli.common import complain, print_json, progress, stderr
    from mien.recognition.shards import merge_shards

    assert out is not None
    with progress() as bar:
        task = bar.add_task("merging", total=None)
        found = merge_shards(
            out,
            None if wanted is None else wanted.jobs,
            None if wanted is None else wanted.settings,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        print_json(found.to_json())
    else:
        for problem in found.problems:
            complain(problem)
        if not found.problems:
            stderr.print(str(found), soft_wrap=True, highlight=False, markup=False)
    if found.problems:
        raise typer.Exit(1)
    if found.counts["errors"]:
        raise typer.Exit(2)  # as one run over all of them says it


def _to_screen(
    recognizer: Recognizer, wanted: Plan, csv: str | None, draw: Path | None, min_confidence: float, as_json: bool
) -> None:
    import sys

    from mien.cli.common import complain, print_json, progress, stderr
    from mien.errors import InputError
    from mien.recognition.files import DrawingFolder, is_input, left_out_sentence, recognize_files
    from mien.recognition.tables import check_place

    jobs = list(wanted.jobs)
    inputs = [job.file for job in jobs]
    if csv is not None and csv != "-" and is_input(csv, inputs):
        raise InputError(f"--csv {csv} would overwrite one of the images; choose another path")
    if csv is not None and csv != "-":
        check_place(csv)
    folder = None if draw is None else DrawingFolder(draw, inputs, wanted.root)
    records: list[FileRecord] = []
    with progress() as bar:
        task = bar.add_task("recognising", total=len(jobs))
        stream = recognize_files(recognizer, jobs, min_confidence=min_confidence, stdin=sys.stdin.buffer)
        for record in stream:
            if record.status == "error":
                complain(record.message)
            if folder is not None and (path := folder.save(record)) is not None:
                stderr.print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)
            records.append(record.without_image())
            bar.advance(task)
    if csv is not None:
        _write_csv(csv, records, recognizer.label_set)
    if as_json:
        print_json([record.to_dict() for record in records])
    elif csv != "-":
        _print_table(records)
    if said := left_out_sentence(sum(record.left_out for record in records)):
        stderr.print(f"{said} (--min-confidence {min_confidence:g})", soft_wrap=True, highlight=False, markup=False)
    if any(record.status == "error" for record in records):
        raise typer.Exit(2)


def _write_csv(target: str, records: list[FileRecord], label_set: LabelSet) -> None:
    import io
    import sys

    from mien.errors import InputError
    from mien.recognition.tables import write_csv
    from mien.store import write_text

    if target == "-":
        write_csv(sys.stdout, records, label_set)
        return
    text = io.StringIO()
    write_csv(text, records, label_set)
    try:
        write_text(target, text.getvalue())
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}; choose another path") from None


def _print_table(records: list[FileRecord]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mien.cli.common import stdout

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("file", overflow="fold")
    for name in ("face", "box", "expression", "confidence", "runner-up"):
        table.add_column(name, justify="right" if name in ("face", "confidence") else "left", no_wrap=True)
    for record in records:
        file = Text(record.file)
        if not record.faces:
            said = f"{record.left_out} left out" if record.left_out else "" if record.status == "ok" else record.status
            table.add_row(file, "", "", Text(said, style="dim"))
            continue
        for number, face in enumerate(record.faces, 1):
            box = "" if face.box is None else " ".join(f"{value:.0f}" for value in face.box)
            label = Text(face.label) if face.decided else Text(f"{face.label}?", style="dim")
            second = f"{face.runner_up} {100 * face.probabilities[face.runner_up]:.0f} %"
            table.add_row(file, str(number), box, label, f"{100 * face.confidence:.0f} %", second)
    # A file or a pipe has no width to keep to.
    (stdout if stdout.is_terminal else Console(width=1000)).print(table)
