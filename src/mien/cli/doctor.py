"""``mien doctor``: what is installed, what is missing for which verb, and whether the models are intact."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this installation: versions, extras, CPU, cache folder, embedded models. Exit status 1 if it is broken."""
    from mien.bench.doctor import diagnose
    from mien.cli.common import print_json

    found = diagnose()
    if as_json:
        print_json(found)
    else:
        _print(found)
    if not found["ok"]:
        raise typer.Exit(1)


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from mien.cli.common import stdout

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def line(name: str, value: str, style: str = "") -> None:
        table.add_row(name, Text(value, style=style))

    line("mien", f"{found['mien']}, Python {found['python']}, {found['platform']}")
    cpu = found["cpu"]
    line("processor", f"{cpu['name']}; threads in use: {cpu['threads']}; {' '.join(cpu['features'])}")
    cache = found["cache"]
    state = "writable" if cache["writable"] else "not writable"
    line("cache", f"{cache['path']} ({'exists' if cache['exists'] else 'not made yet'}, {state})")
    for name, model in found["models"].items():
        line(name, ("ok: " if model["ok"] else "broken: ") + model["message"], "" if model["ok"] else "bold red")
    installed = [f"{name} {version}" for name, version in found["packages"].items() if version]
    line("installed", ", ".join(installed))
    for verb, missing in found["verbs"].items():
        if missing:
            line(f"mien {verb}", f"needs: pip install 'mien[{','.join(missing)}]'", "yellow")
        else:
            line(f"mien {verb}", "ready")
    stdout.print(table)
