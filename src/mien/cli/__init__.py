"""The command line: one file per verb, no logic in any of them."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from typing import Any

import typer
from typer.main import get_command

import mien
from mien.errors import MienError, StoppedError

VERBS = (
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
    "data",
    "systems",
    "results",
)
_GROUPS = ("data", "systems", "results")
"""Verbs that have verbs of their own."""


@functools.cache
def application(verb: str = "") -> typer.Typer:
    """All verbs, or one alone, which starts a tenth of a second sooner: typer reads the signatures of all it gets."""
    app = typer.Typer(
        name="mien",
        help="Facial expression recognition: recognise faces offline; train, evaluate and compare systems honestly.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global)
    # Verb modules import typer and nothing heavy; the work is imported inside their functions.
    for name in (verb,) if verb else VERBS:
        module = importlib.import_module(f"mien.cli.{name}")
        if name in _GROUPS:
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


@functools.cache
def command_line(verb: str = "") -> Any:
    """The same as the command that is called."""
    return get_command(application(verb))


def _version(show: bool) -> None:
    if show:
        typer.echo(f"mien {mien.__version__}")
        raise typer.Exit


def _global(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what happens to standard error."),
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


def main(argv: list[str] | None = None) -> Any:
    """Run the command line; a `MienError` becomes one sentence on standard error and exit status 2."""
    words = [word for word in (sys.argv[1:] if argv is None else argv) if word not in ("-v", "--verbose")]
    try:
        command_line(words[0] if words and words[0] in VERBS else "")(argv)
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
