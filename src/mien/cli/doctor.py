"""``mien doctor``: what is installed, what is missing for which verb, and whether the models are intact."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this installation: versions, extras, CPU, cache folder, models, and whether recognition works here.

    Exit status 1 if it is broken. A missing extra breaks nothing; it says what to install for which verb.
    """
    from mien.bench.doctor import diagnose
    from mien.cli import VERBS
    from mien.cli.common import print_json

    found = diagnose(VERBS)
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
    line("processor", f"{cpu['name']}; {cpu['threads']} of {cpu['cores']} cores in use; {' '.join(cpu['features'])}")
    cache = found["cache"]
    state = "writable" if cache["writable"] else "not writable"
    held = f"{cache['bytes'] / 1e6:,.1f} MB" if cache["exists"] else "not made yet"
    line("cache", f"{cache['path']} ({held}, {state})", "" if cache["writable"] else "yellow")
    for name, model in found["models"].items():
        line(name, ("ok: " if model["ok"] else "broken: ") + model["message"], "" if model["ok"] else "bold red")
    for item in found["fetched"]:
        said = "ok: fetched" if item["intact"] else f"damaged: remove {item['path']} and run mien fetch {item['name']}"
        line(item["name"], f"{said} {item['kind']}, {item['bytes'] / 1e6:.1f} MB", "" if item["intact"] else "bold red")
    line("recognition", found["inference"]["message"], "" if found["inference"]["ok"] else "bold red")
    installed = [f"{name} {version}" for name, version in found["packages"].items() if version]
    line("installed", ", ".join(installed))
    ready = [verb for verb, missing in found["verbs"].items() if not missing and verb not in found["broken"]]
    line("ready", ", ".join(ready))
    if found["broken"]:
        line("broken", f"{', '.join(found['broken'])}: see above what recognition lacks", "bold red")
    for verb, missing in found["verbs"].items():
        if missing and verb not in found["broken"]:
            lacking = sorted({name for extra in missing for name in found["extras"].get(extra, ())})
            line(f"mien {verb}", f"needs {', '.join(lacking)}: pip install 'mien[{','.join(missing)}]'", "yellow")
    stdout.print(table)
