"""Values of a system's options: whether they are of the kind of their defaults, and how they are told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from mien.errors import RecipeError

if TYPE_CHECKING:
    from mien.systems.card import Card


def check_values(card: Card, options: Mapping[str, object]) -> None:
    """Refuse values of another kind than the card's defaults (`RecipeError`); the names are known to be right.

    A whole number does for a number, a list for a tuple, and anything where the default is None. Whole numbers whose
    default is positive are sizes and counts, and so at least 1; so are numbers called ``width`` or ``depth`` above 0.
    Dropouts and ``drop_path`` are probabilities. Lengths are the constructor's business.
    """
    for name, value in options.items():
        default = card.options[name]
        if not _fits(name, value, default):
            raise RecipeError(
                f"{card.id}: {name} = {value!r}: expected {_expected(name, default)}, such as {default!r}"
            )


def changed(card: Card, options: Mapping[str, object]) -> list[str]:
    """Names of the options whose values are not the card's defaults; a list equals a tuple."""
    return [name for name, value in options.items() if _frozen(value) != _frozen(card.options[name])]


def told(names: Iterable[str], options: Mapping[str, Any], card: Card) -> str:
    """Options as text, first those whose length is not that of their default, and what that is."""
    likely, others = [], []
    for name in names:
        value, default = options[name], card.options[name]
        if isinstance(default, (list, tuple)) and isinstance(value, (list, tuple)) and len(value) != len(default):
            likely.append(f"{name} = {value!r} (by default {default!r})")
        else:
            others.append(f"{name} = {value!r}")
    return ", ".join([*likely, *others])


def _fits(name: str, value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int):
        return _is_number(value, Integral) and (default < 1 or value >= 1)
    if isinstance(default, Real):
        low, high = _range(name)
        return _is_number(value, Real) and low <= value <= high
    if isinstance(default, str):
        return isinstance(value, str)
    if isinstance(default, (list, tuple)):
        return isinstance(value, (list, tuple)) and all(_fits(name, item, _typical(default)) for item in value)
    return True


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and abs(value) < math.inf  # type: ignore[arg-type]


def _range(name: str) -> tuple[float, float]:
    """Of an option that is a number but need not be whole."""
    if name == "drop_path" or name.rpartition("_")[2] == "dropout":
        return 0.0, 1.0
    return (math.ulp(0.0) if name in ("width", "depth") else -math.inf), math.inf


def _typical(defaults: Sequence[Any]) -> Any:
    """The element that says most about what others may be: None where they are of several kinds, or none are there."""
    if defaults and all(_is_number(item, Real) for item in defaults):
        return min(defaults, key=lambda item: (isinstance(item, int), item))
    return defaults[0] if len({type(item) for item in defaults}) == 1 else None


def _expected(name: str, default: Any, *, several: bool = False) -> str:
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, (list, tuple)):
        inner = _expected(name, _typical(default), several=True)
        return f"{'lists' if several else 'a list'} of {inner}"
    if isinstance(default, int):
        what = "whole numbers" if several else "a whole number"
        return what + (" of at least 1" if default > 0 else "")
    if isinstance(default, Real):
        low, high = _range(name)
        what = "numbers" if several else "a number"
        return what + (" from 0 to 1" if high == 1 else " above 0" if low > 0 else "")
    what = "name" if isinstance(default, str) else "value"
    return f"{what}s" if several else f"a {what}"
