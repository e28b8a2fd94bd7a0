"""Names to entries: one place for look-up, did-you-mean and the refusal of duplicates."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from mien.errors import UnknownNameError

T = TypeVar("T")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The half sentence that helps after a misspelt name.

    Example:
        >>> suggestion("vgnet", ["vggnet", "resemotenet"])
        "did you mean 'vggnet'?"
        >>> suggestion("rmn", ["residual-masking-network", "resnet18"])
        "did you mean 'residual-masking-network'?"
        >>> suggestion("xyz", ["b", "a"])
        'known: a, b'
    """
    known, asked = sorted(known), name.lower()
    # What people call something for short: its initials, or a part of its name.
    initials = [
        one for one in known if len(asked) > 1 and asked == "".join(part[:1] for part in one.lower().split("-"))
    ]
    parts = [one for one in known if len(asked) > 2 and asked in one.lower()]
    alike = difflib.get_close_matches(asked, known, n=3, cutoff=0.6)
    close = list(dict.fromkeys([*initials, *alike, *parts]))[:3]
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return f"known: {shown}" if known else "none is registered"


class Registry(Generic[T]):
    """An ordered mapping of names to entries of one kind.

    Args:
        kind: what the entries are, in the singular; used in messages ("system", "data set").

    Example:
        >>> colours = Registry[int]("colour")
        >>> colours.add("red", 1)
        1
        >>> colours["rad"]
        Traceback (most recent call last):
        ...
        mien.errors.UnknownNameError: no colour is called 'rad'; did you mean 'red'?
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Register ``entry``; a name that is taken is a programming error."""
        if name in self._entries:
            raise ValueError(f"two entries claim the {self.kind} name {name!r}")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(f"no {self.kind} is called {name!r}; {suggestion(name, self)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> Iterable[tuple[str, T]]:
        """Pairs of name and entry, in the order of registration."""
        return self._entries.items()
