"""Systems that a caller brings along: a `Card` of his own, or a Python file that holds one.

A card is known by its id in this process from then on, like one of ours. Where it came from a file, path and hash of
that file are noted, else the name of its class; in another process the run asks for the same again. An id goes on to
mean the same place: a cell or a file may be run again, changed or not, but another one needs another id.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.errors import InputError, RunError
from mien.systems.card import Card
from mien.systems.elsewhere import file_of, find, installed, load_installed, origin

_cards: dict[str, Card] = {}
_sources: dict[str, dict[str, str]] = {}


def is_file(system: str) -> bool:
    """Whether it names a Python file, ``tiny.py`` or ``tiny.py:ID``, and no id.

    Example:
        >>> is_file("tiny.py:tiny"), is_file("compact")
        (True, False)
    """
    return file_of(system) is not None


def bring(system: str | Path | Card) -> str:
    """The id of a system that is given by its id, as a card, or as a file, which is run: give only what you trust.

    Args:
        system: an id; a card; or the path of a file with ``CARDS``, with ``:ID`` behind it where that holds several.

    Raises:
        InputError: none of these, a file of several systems, or one that takes the id of another system: of mien, of a
            plug-in, or of another file or class that was given in this process.
    """
    if isinstance(system, Card):
        # A card that was loaded from a file before keeps it: it may come from `mien.systems.elsewhere.find`.
        known = _sources.get(system.id) if _cards.get(system.id) is system else None
        return _known(system, known or {"class": _class(system)})
    if not isinstance(system, str | Path):
        raise InputError(f"a system is given by its id, as a Card or as a file, not as a {type(system).__name__}")
    found = file_of(str(system))
    return str(system) if found is None else _from_file(*found)


def brought(name: str) -> Card | None:
    """The card that was brought under an id; None where none was."""
    return _cards.get(name)


def source(name: str) -> dict[str, str]:
    """What a run notes of a system that was brought: ``file`` and ``sha256``, or ``class``; empty for all others."""
    return dict(_sources.get(name, {}))


def identity(source: Mapping[str, Any]) -> str:
    """What tells one source from another: the hash of its file, wherever that lies, or its class; empty for none.

    Example:
        >>> identity({"file": "/here/tiny.py", "sha256": "1a2b"}), identity({"class": "here.Tiny"}), identity({})
        ('1a2b', 'here.Tiny', '')
    """
    return str(source.get("sha256") or source.get("class") or "")


def identity_words(source: Mapping[str, Any]) -> str:
    """The same for people."""
    if not source:
        return "mien or of an installed package"
    if "sha256" in source:
        return f"{Path(str(source.get('file', 'a file'))).name} ({str(source['sha256'])[:12]}…)"
    return f"the class {source.get('class', 'of no known name')}"


def is_source(name: str, noted: Mapping[str, Any]) -> bool:
    """Whether the system that goes by an id here is the one of which a run noted this source.

    A file that has become part of mien or of an installed package since, as it was, is the same.
    """
    have = source(name)
    if bool(have) == bool(noted) and identity(have) == identity(noted):
        return True
    if have or "sha256" not in noted or not _registered(name):
        return False
    from mien import systems

    place = _place(systems.card(name))
    return bool(place) and _hash(Path(place)) == noted["sha256"]


def check_brought(name: str, noted: Mapping[str, Any], run: str | Path) -> None:
    """Make sure that the system of a run is known, if it is none of mien. Nothing that a run folder names is executed.

    Args:
        name: id of the system.
        noted: the ``source`` of its ``run.json``.
        run: its folder, for messages.

    Raises:
        RunError: it was trained from a card or a file that was not given, or something else goes by its id here.
    """
    if is_source(name, noted):
        return
    if (have := source(name)) or _registered(name):
        way = "give the one it was trained with, in a process of its own" if have else "open it where none does"
        raise RunError(
            f"{run} was trained with the {name!r} of {identity_words(noted)}, and that of {identity_words(have)} goes "
            f"by that id here; {way}"
        )
    if "file" not in noted:
        raise RunError(
            f"{run} is a run of {name!r}, which was given as a Card ({noted.get('class', 'of no known class')}); "
            "give that card again: mien.Run.open(FOLDER, system=CARD)"
        )
    file = Path(str(noted["file"])).name
    # A run folder may be a stranger's, and what it names would be run: whoever opens it has to name the file.
    raise RunError(
        f"{run} was trained with the system in {file}, a Python file, which opening a run does not execute; name it "
        f"if you trust it: --system {file}, which `mien evaluate`, `export`, `explain`, `report` and `distill` take, "
        f"or in Python mien.Run.open(FOLDER, system={file!r})"
    )


def check_own_id(card: Card) -> None:
    """Refuse a card of somebody else that takes the id of a system of mien or of a plug-in (`InputError`)."""
    from mien import systems

    if card.id in systems.names():
        theirs, whose = systems.card(card.id), "a system of mien"
    elif points := installed().get(card.id):
        theirs, whose = load_installed(card.id), f"a plug-in of {' and '.join(map(origin, points))}"
    else:
        return
    # Its own file run a second time makes another class of the same source.
    again = card.module is not theirs.module and _place(card) == _place(theirs) != ""
    if card != theirs and not again:
        raise InputError(f"the id {card.id!r} is that of {whose}; give yours another one")


def _from_file(path: Path, only: str | None) -> str:
    path = path.absolute()  # a link stays one: its own name says whether it is a Python file
    sha256 = _hash(path)  # of what is executed and noted alike, should the file change in between
    cards = find(str(path), only=only, sha256=sha256)
    path = path.resolve()
    if len(cards) > 1:
        names = [card.id for card in cards]
        raise InputError(f"{path} holds {len(cards)} systems ({', '.join(names)}); name one: {path.name}:{names[0]}")
    return _known(cards[0], {"file": str(path), "sha256": sha256})


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _registered(name: str) -> bool:
    from mien.systems import names

    return name in names() or name in installed()


def _place(card: Card) -> str:
    """The file that holds its class; empty for one that was typed in."""
    try:
        return str(Path(inspect.getfile(card.module)).resolve())
    except (OSError, TypeError):
        return ""


def _class(card: Card) -> str:
    """The full name of its class; that of a script is the name that others import it by."""
    module = card.module.__module__
    if module in ("__main__", "__mp_main__"):
        main = sys.modules.get(module)
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        module = spec.name if spec is not None else Path(file).stem if file else module  # a notebook has neither
    return f"{module}.{card.module.__qualname__}"


def _known(card: Card, source: Mapping[str, str]) -> str:
    check_own_id(card)
    if _registered(card.id):
        return card.id
    before = _sources.get(card.id)
    if before and identity(before) != identity(source):
        places = {before.get("file") or _place(_cards[card.id]), source.get("file") or _place(card)}
        if "file" not in {*before, *source} or len(places) > 1:
            raise InputError(
                f"the id {card.id!r} is that of {identity_words(before)} in this process, and not of "
                f"{identity_words(source)}; give one of the two another id, or use a process of its own"
            )
    _cards[card.id], _sources[card.id] = card, dict(source)
    return card.id
