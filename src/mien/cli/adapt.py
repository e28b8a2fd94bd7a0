"""``mien adapt``: a bundle that fits your own faces, from some hundred labelled crops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def adapt(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Crops by label: FOLDER/happy/… or FOLDER/happy/PERSON/…"),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="BUNDLE", help="Where the adapted bundle goes.")] = Path(
        "adapted.onnx"
    ),
    model: Annotated[
        str | None,
        typer.Option(metavar="BUNDLE|NAME", help="Start from this bundle instead of the one in the package."),
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Write the bundle even if no gain is shown.")] = False,
    seed: Annotated[int, typer.Option(help="Of the cross-validation.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Adapt a bundle to 50 to 500 labelled crops of your own: temperature, class prior, linear layer; no torch.

    What it brings is measured by cross-validation, and it says what is gained: accuracy, probabilities (NLL) or both.
    If no gain is shown, nothing is written and the exit status is 1.
    """
    from mien.cli.common import complain, print_json, progress, stderr
    from mien.recognition import Recognizer
    from mien.recognition.adaptation import adapt as fit
    from mien.recognition.adaptation import read_crops, read_persons, write

    recognizer = Recognizer(model, detector=None)
    with progress() as bar:
        reading = bar.add_task("reading", total=None)
        crops, labels = read_crops(
            folder, recognizer.label_set, progress=lambda done, of: bar.update(reading, completed=done, total=of)
        )
        fitting = bar.add_task("cross-validating", total=None)
        found = fit(
            recognizer,
            crops,
            labels,
            groups=read_persons(folder, recognizer.label_set),
            seed=seed,
            progress=lambda done, of: bar.update(fitting, completed=done, total=of),
        )
    written = found.gain or anyway
    if written:
        write(found, recognizer.bundle, out)
    if as_json:
        print_json({**found.to_json(), "out": str(out) if written else None})
    else:
        stderr.print(str(found), soft_wrap=True, highlight=False, markup=False)
        for sentence in found.warnings():
            stderr.print(sentence, soft_wrap=True, highlight=False, markup=False)
        if written:
            stderr.print(f"wrote {out}", soft_wrap=True, highlight=False, markup=False)
        else:
            complain("nothing was written: the crops show no gain; give more of them, or --anyway")
    if not written:
        raise typer.Exit(1)
