"""Systems from elsewhere: a Python file by its path, or installed packages by their entry points.

A package offers systems by entry points of the group ``mien.systems``: the name is the id of a system, the value the
module that holds it in ``CARDS``. Nothing is imported before a system is asked for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from mien.errors import InputError, MissingExtraError, UnknownNameError
from mien.registry import suggestion
from mien.systems.card import Card

GROUP = "mien.systems"
_TORCH = ("torch", "torchvision", "timm")
_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<id>[^/\\:]+))?", re.IGNORECASE | re.DOTALL)


def file_of(what: str) -> tuple[Path, str | None] | None:
    """The file that ``what`` names, and the id behind it (``tiny.py:ID``) or None; None alone where it is an id.

    Whatever looks like a path is one. Any other file in the working folder is, too, unless a system goes by its name.

    Example:
        >>> file_of("my/tiny.py:tiny")[1], file_of("compact")
        ('tiny', None)
    """
    from mien import systems
    from mien.systems.brought import brought

    if found := _FILE.fullmatch(what):
        return Path(found["file"]), found["id"]
    if "/" in what or "\\" in what:
        return Path(what), None
    if not Path(what).is_file() or what in systems.names() or what in installed() or brought(what) is not None:
        return None
    return Path(what), None  # README.md is no misspelt id


def find(what: str, *, only: str | None = None, sha256: str = "") -> list[Card]:
    """The cards of a Python file, or the one of a system by its id, ours or of a plug-in.

    Args:
        what: the path of a Python file, with ``:ID`` behind it for one of its systems; or an id.
        only: leave out all other systems of the file.
        sha256: of the file, which is not run if it is another one.
    """
    from mien import systems

    named = file_of(what)
    if named is None:
        cards = {what: systems.card(what)}
    else:
        path, named_id = named
        if only is not None and named_id not in (None, only):
            raise InputError(f"{what} names one system and {only!r} is another; give one of the two")
        cards, what, only = load_file(path, sha256), str(path), only or named_id
    if only is None:
        return list(cards.values())
    if only not in cards:
        raise UnknownNameError(f"{what} holds no system {only!r}; {suggestion(only, cards)}")
    return [cards[only]]


def installed() -> dict[str, list[EntryPoint]]:
    """Entry points of installed packages by the id that they claim, sorted; more than one per id is a clash."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        found.setdefault(point.name, []).append(point)
    return found


def refuse_clash(name: str) -> None:
    """`InputError` where a package claims the id of a system of ours, which goes by that id in any case."""
    from mien.systems import names

    if name in names() and (points := installed().get(name)):
        packages = " and ".join(map(origin, points))
        raise InputError(f"the plug-in {name!r} of {packages} has the name of a system of mien; have it renamed")


def load_installed(name: str) -> Card:
    """The card of a plug-in.

    Raises:
        UnknownNameError: no package offers it.
        InputError: two packages claim the name, or the module cannot be used; the message names the package.
    """
    points = installed()
    if name not in points:
        raise UnknownNameError(f"no plug-in is called {name!r}; {suggestion(name, points)}")
    if len(points[name]) > 1:
        raise InputError(
            f"two plug-ins are called {name!r}: {' and '.join(map(origin, points[name]))}; uninstall or rename one"
        )
    point = points[name][0]
    where = f"the plug-in {name!r} of {origin(point)}"
    try:
        module = point.load()
    except (Exception, SystemExit) as error:
        raise _unusable(where, error) from error
    cards = _cards(module, where)
    if name not in cards:
        raise InputError(f"{where}: its CARDS hold no {name!r}; {suggestion(name, cards)}")
    return cards[name]


def load_file(path: str | Path, sha256: str = "") -> dict[str, Card]:
    """The cards of a Python file. The file is run: load only what you trust.

    Args:
        path: a file with ``CARDS``, a mapping of ids to cards.
        sha256: if given, the file is run only if this is its hash.

    Raises:
        InputError: there is no such file, it cannot be run, or it holds no cards; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is no file; give the Python file that holds CARDS")
    if path.suffix.lower() != ".py":
        raise InputError(f"{path} is no Python file (.py)")
    source = path.read_bytes()
    if sha256 and hashlib.sha256(source).hexdigest() != sha256:
        raise InputError(f"{path} is no longer what it was ({sha256[:12]}…), so it is not run; put that file back")
    # One name per place: two files of one stem are two modules, and a file loaded again is run again.
    name = f"mien_file_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=SourceFileLoader(name, str(path)))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # These bytes, and no older ones that Python has kept; and without the annotations of the future that are ours.
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
        return dict(_cards(module, str(path)))
    except InputError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _unusable(str(path), error, path) from error


def origin(point: EntryPoint) -> str:
    """The package that offers a plug-in, or its module where the package is not known."""
    return point.dist.name if point.dist is not None else point.value


def _cards(module: Any, where: str) -> Mapping[str, Card]:
    cards = getattr(module, "CARDS", None)
    if not isinstance(cards, Mapping) or not cards:
        raise InputError(f'{where} holds no systems; define CARDS = {{"id": Card(...)}} in it (see CONTRIBUTING.md)')
    for name, card in cards.items():
        if not isinstance(card, Card):
            raise InputError(f"{where}: CARDS[{name!r}] is a {type(card).__name__}, not a mien.systems.Card")
        if card.id != name:
            raise InputError(f"{where}: CARDS[{name!r}] has the id {card.id!r}; give both the same")
    return cards


def _unusable(where: str, error: BaseException, path: Path | None = None) -> Exception:
    """What a person is told of a module that raised while it was imported."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _TORCH:
        return MissingExtraError("a system", "train")
    line = error.lineno if isinstance(error, SyntaxError) else None
    if path is not None and line is None:
        # The innermost line of the file itself, not of what it called.
        frames = traceback.extract_tb(error.__traceback__)
        line = next(
            (frame.lineno for frame in reversed(frames) if Path(frame.filename).resolve() == path.resolve()), None
        )
    told = error.msg if isinstance(error, SyntaxError) else str(error)
    place = f", line {line}" if line else ""
    return InputError(f"{where}{place}: {type(error).__name__}: {told}")
