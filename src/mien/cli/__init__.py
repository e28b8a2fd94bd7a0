"""The command line: one file per verb, no logic in any of them."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import typer

import mien
from mien.errors import MienError, StoppedError

app = typer.Typer(
    name="mien",
    help="Facial expression recognition: recognise faces offline; train, evaluate and compare systems honestly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"mien {mien.__version__}")
        raise typer.Exit


@app.callback()
def _global(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what happens to standard error."),
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


# Verb modules import typer and nothing heavy; the work is imported inside their functions.
_COMMANDS = (
    "predict",
    "adapt",
    "video",
    "train",
    "distill",
    "search",
    "evaluate",
    "ensemble",
    "compare",
    "report",
    "leaderboard",
    "export",
    "explain",
    "bench",
    "fetch",
    "serve",
    "live",
    "doctor",
)
_GROUPS = ("data", "systems", "results")

for _name in _COMMANDS:
    _module = importlib.import_module(f"mien.cli.{_name}")
    app.command(_name)(getattr(_module, _name))
for _name in _GROUPS:
    app.add_typer(importlib.import_module(f"mien.cli.{_name}").app, name=_name)


def main(argv: list[str] | None = None) -> Any:
    """Run the command line; a `MienError` becomes one sentence on standard error and exit status 2."""
    try:
        app(argv)
    except MienError as error:
        from mien.cli.common import complain

        complain(str(error))
        sys.exit(143 if isinstance(error, StoppedError) else 2)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()
            sys.exit(141)
        from mien.cli.common import complain

        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}; check the path, the rights and the space on the disk")
        sys.exit(2)
    except KeyboardInterrupt:
        from mien.cli.common import complain

        complain("stopped")
        sys.exit(130)
