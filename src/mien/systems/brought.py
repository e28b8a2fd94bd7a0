"""Systems that a caller brings along: a `Card` of his own, or a Python file that holds one.

A card is known by its id in this process from then on, like one of ours. Where it came from a file, path and hash of
that file are noted; in another process the run asks for the file, which has to be the same.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.errors import InputError, RunError
from mien.systems.card import Card

_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<id>[^/\\:]+))?", re.IGNORECASE | re.DOTALL)
_cards: dict[str, Card] = {}
_sources: dict[str, dict[str, str]] = {}


def is_file(system: str) -> bool:
    """Whether it names a Python file, ``tiny.py`` or ``tiny.py:ID``, and no id.

    Example:
        >>> is_file("tiny.py:tiny"), is_file("compact")
        (True, False)
    """
    return bool(_FILE.fullmatch(system))


def bring(system: str | Path | Card) -> str:
    """The id of a system that is given by its id, as a card, or as a file, which is run: give only what you trust.

    Args:
        system: an id; a card; or the path of a file with ``CARDS``, with ``:ID`` behind it where that holds several.

    Raises:
        InputError: none of these, a file of several systems, or one that takes the id of another system.
    """
    if isinstance(system, Card):
        # A card that was loaded from a file before keeps it: it may come from `mien.systems.elsewhere.find`.
        known = _sources.get(system.id) if _cards.get(system.id) is system else None
        return _known(system, known or {"class": f"{system.module.__module__}.{system.module.__qualname__}"})
    if not isinstance(system, str | Path):
        raise InputError(f"a system is given by its id, as a Card or as a file, not as a {type(system).__name__}")
    found = _FILE.fullmatch(str(system))
    if found is None:
        return str(system)
    return _from_file(Path(found["file"]), found["id"])


def brought(name: str) -> Card | None:
    """The card that was brought under an id; None where none was."""
    return _cards.get(name)


def source(name: str) -> dict[str, str]:
    """What a run notes of a system that was brought: ``file`` and ``sha256``, or ``class``; empty for all others."""
    return dict(_sources.get(name, {}))


def check_brought(name: str, noted: Mapping[str, Any], run: str | Path) -> None:
    """Make sure that the system of a run is known, if it is none of mien. Nothing that a run folder names is executed.

    Args:
        name: id of the system.
        noted: the ``source`` of its ``run.json``.
        run: its folder, for messages.

    Raises:
        RunError: it was trained from a card or a file that was not given.
    """
    if not noted:
        return
    if "file" not in noted:
        if name not in _cards:
            raise RunError(
                f"{run} is a run of {name!r}, which was given as a Card ({noted.get('class', 'of no known class')}); "
                "give that card again: mien.Run.open(FOLDER, system=CARD)"
            )
        return
    have = _sources.get(name, {})
    if have.get("sha256") == noted.get("sha256"):
        return
    path = Path(str(noted["file"]))
    if have:
        raise RunError(
            f"{run} was trained with the {name!r} of {path} ({str(noted.get('sha256', ''))[:12]}…), and another one "
            "goes by that id here; open it in a process of its own"
        )
    # A run folder may be a stranger's, and what it names would be run: whoever opens it has to name the file.
    raise RunError(
        f"{run} was trained with the system in {path.name}, a Python file, which opening a run does not execute; name "
        f"it if you trust it: --system {path.name}, which `mien evaluate` and `mien export` take, or in Python "
        f"mien.Run.open(FOLDER, system={path.name!r})"
    )


def check_own_id(card: Card) -> None:
    """Refuse a card of somebody else that takes the id of a system of mien or of a plug-in (`InputError`)."""
    from mien import systems
    from mien.systems.elsewhere import installed, load_installed, origin

    if card.id in systems.names():
        ours = systems.card(card.id)
        # Its own file run a second time makes another class of the same source.
        again = card.module is not ours.module and _place(card) == _place(ours)
        if card != ours and not again:
            raise InputError(f"the id {card.id!r} is that of a system of mien; give yours another one")
    elif (points := installed().get(card.id)) and load_installed(card.id) is not card:
        raise InputError(
            f"the id {card.id!r} is that of a plug-in of {' and '.join(map(origin, points))}; give yours another one"
        )


def _from_file(path: Path, only: str | None) -> str:
    from mien.systems.elsewhere import find

    path = path.resolve()
    # Of what is executed and noted alike, should the file change in between.
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    cards = find(str(path), only=only, sha256=sha256)
    if len(cards) > 1:
        names = [card.id for card in cards]
        raise InputError(f"{path} holds {len(cards)} systems ({', '.join(names)}); name one: {path.name}:{names[0]}")
    return _known(cards[0], {"file": str(path), "sha256": sha256})


def _place(card: Card) -> str:
    """The file that holds its class; empty for one that was typed in."""
    try:
        return str(Path(inspect.getfile(card.module)).resolve())
    except (OSError, TypeError):
        return ""


def _known(card: Card, source: Mapping[str, str]) -> str:
    from mien.systems import names
    from mien.systems.elsewhere import installed

    check_own_id(card)
    if card.id not in names() and card.id not in installed():
        _cards[card.id], _sources[card.id] = card, dict(source)
    return card.id
