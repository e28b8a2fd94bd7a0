"""``mien predict``: photographs in; a table, JSON, CSV or annotated images out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.labels import LabelSet
    from mien.recognition.files import FileRecord


def predict(
    files: Annotated[list[str], typer.Argument(metavar="FILES…", help="Images; - reads one from standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list with one object per file.")] = False,
    csv: Annotated[
        str | None, typer.Option(metavar="PATH|-", help="Write one row per face; - is standard output.")
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write an annotated PNG of each image into this folder.")
    ] = None,
    detector: Annotated[
        str, typer.Option(help="centerface, yunet:PATH, or none: each image is one face.")
    ] = "centerface",
    min_confidence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Leave out faces whose expression is less certain.")
    ] = 0.0,
    model: Annotated[Path | None, typer.Option(help="A bundle (.onnx) instead of the one in the package.")] = None,
    views: Annotated[str, typer.Option(help="one, or another view that the bundle was calibrated for.")] = "one",
) -> None:
    """Recognise the expressions of the faces on photographs, offline.

    A photograph without a face is no error. A file that is no image is named on standard error; the others are done
    all the same and the exit status is 2.
    """
    import sys

    from mien.cli.common import complain, print_json, stderr
    from mien.errors import InputError
    from mien.recognition import Recognizer
    from mien.recognition.files import DrawingFolder, is_input, recognize_files

    if as_json and csv == "-":
        raise InputError("--json and --csv - both want standard output; give --csv a path")
    if csv is not None and csv != "-" and is_input(csv, files):
        raise InputError(f"--csv {csv} would overwrite one of the images; choose another path")
    recognizer = Recognizer(model, detector=None if detector == "none" else detector, views=views)
    folder = None if draw is None else DrawingFolder(draw, files)
    records: list[FileRecord] = []
    failed = False
    for record in recognize_files(recognizer, files, min_confidence=min_confidence, stdin=sys.stdin.buffer):
        if record.status == "error":
            complain(record.message)
            failed = True
        if folder is not None and (path := folder.save(record)) is not None:
            stderr.print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)
        records.append(record.without_image())
    if csv is not None:
        _write_csv(csv, records, recognizer.label_set)
    if as_json:
        print_json([record.to_dict() for record in records])
    elif csv != "-":
        _print_table(records)
    if failed:
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
            table.add_row(file, "", "", Text("" if record.status == "ok" else record.status, style="dim"))
            continue
        for number, face in enumerate(record.faces, 1):
            box = "" if face.box is None else " ".join(f"{value:.0f}" for value in face.box)
            label = Text(face.label) if face.decided else Text(f"{face.label}?", style="dim")
            second = f"{face.runner_up} {100 * face.probabilities[face.runner_up]:.0f} %"
            table.add_row(file, str(number), box, label, f"{100 * face.confidence:.0f} %", second)
    # A file or a pipe has no width to keep to.
    (stdout if stdout.is_terminal else Console(width=1000)).print(table)
