"""``mien data sdafe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sdafe(
    manifest: Annotated[Path, typer.Argument(help="Manifest of generated images, csv or JSON lines.")],
    data: Annotated[str, typer.Option(help="The data set whose training faces they were made from.")] = "fer2013",
    path: Annotated[Path | None, typer.Option(help="Where it lies, if it is not imported yet.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The manifest to write, of what stays.")] = None,
    min_psnr: Annotated[float, typer.Option(help="Smallest PSNR against the source, in dB.")] = 15.0,
    max_psnr: Annotated[
        float | None, typer.Option(help="From here on an image hardly differs from its source; by default no bound.")
    ] = None,
    min_clip_cos: Annotated[
        float | None, typer.Option(help="Smallest cosine between image and label, from the column clip_cos.")
    ] = None,
    clip: Annotated[bool, typer.Option(help="Ask for CLIP's agreement; --no-clip leaves that filter out.")] = True,
    fill: Annotated[
        bool, typer.Option("--fill", help="Keep no more of a class than it lacks to the most frequent one.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Filter generated images by PSNR against their sources and by CLIP's agreement; show the balance of classes."""
    import math

    from mien.cli.common import print_json, print_table, progress, stdout
    from mien.datasets import load_dataset
    from mien.datasets.sdafe import REASONS
    from mien.datasets.sdafe import sdafe as run
    from mien.errors import InputError

    if min_clip_cos is not None and not clip:
        raise InputError("--min-clip-cos is the bound of the filter that --no-clip leaves out; give one of them")
    with progress() as bar:
        task = bar.add_task("reading images", total=None)
        found = run(
            manifest,
            load_dataset(data, path),
            min_psnr=min_psnr,
            max_psnr=math.inf if max_psnr is None else max_psnr,
            clip=clip,
            min_clip_cos=min_clip_cos,
            fill=fill,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    report = found.to_json()
    written = found.write(out) if out is not None and (found.kept or json) else None
    if json:
        print_json({**report, "written": None if written is None else str(written)})
        return
    columns = ("before", "offered", "kept", "after", *REASONS)
    print_table(
        ("", *(f"dropped:\n{REASONS[name]}" if name in REASONS else name for name in columns)),
        [(row["label"], *(f"{row[name]:,}" for name in columns)) for row in report["balance"]],
        keep=1,
    )
    before, after = (_ratio(report["largest_over_smallest"][end]) for end in ("before", "after"))
    stdout.print(
        f"{report['kept']:,} of {report['offered']:,} images stay; the largest class over the smallest: "
        f"{before} before, {after} after",
        highlight=False,
        soft_wrap=True,
    )
    if out is not None and not found.kept:
        found.write(out)  # says that there is nothing to write, now that it was told why
    if written is not None:
        stdout.print(str(written), soft_wrap=True, highlight=False, markup=False)


def _ratio(value: float | None) -> str:
    return "without bound" if value is None else f"{value:g}"
