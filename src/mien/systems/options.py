"""Values of a system's options: whether they are of the kind of their defaults, and how they are told.

What else an option takes, its constructor says with one of `check_choice`, `check_count`, `check_stages`,
`check_not_negative`, `check_positive`, `check_stride` and `check_network`, so that each refusal names the option, what
it takes and what it got.
"""

from __future__ import annotations

import difflib
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
    Dropouts and ``drop_path`` are probabilities. Lengths, names and signs are the constructor's business.
    """
    for name, value in options.items():
        default = card.options[name]
        if not _fits(name, value, default):
            raise RecipeError(
                f"{card.id}: {name} = {value!r}: expected {_expected(name, default)}, such as {default!r}"
            )


def check_choice(option: str, value: str, choices: Iterable[str]) -> str:
    """One of a few names, or `RecipeError`.

    Example:
        >>> check_choice("pool", "mean", ("max", "avg"))
        Traceback (most recent call last):
        ...
        mien.errors.RecipeError: pool = 'mean': choose max or avg
    """
    *others, last = choices
    if value not in (*others, last):
        raise RecipeError(f"{option} = {value!r}: choose {', '.join(others)} or {last}")
    return value


def check_count(option: str, values: Sequence[object], count: int, each: str) -> None:
    """A list of ``count`` values, one for each of something (``stage``), or `RecipeError`."""
    if len(values) != count:
        raise RecipeError(f"{option} = {values!r}: give {count} values, one for each {each}, not {len(values)}")


def check_stages(each: str = "stage", /, **lists: Sequence[object]) -> None:
    """Lists of any length from 1 that go together, one value for each stage or whatever ``each`` is, or `RecipeError`.

    Example:
        >>> check_stages(widths=[8, 16], depths=[2])
        Traceback (most recent call last):
        ...
        mien.errors.RecipeError: widths = [8, 16] and depths = [2]: give each one value for each stage, not 2 and 1
    """
    counts = [len(values) for values in lists.values()]
    if min(counts) < 1 or len(set(counts)) > 1:
        told = " and ".join(f"{name} = {values!r}" for name, values in lists.items())
        what = "give each one value" if len(counts) > 1 else "give at least one value, one"
        raise RecipeError(f"{told}: {what} for each {each}, not {' and '.join(map(str, counts))}")


def check_not_negative(**numbers: float) -> None:
    """Numbers of at least 0, or `RecipeError`."""
    for name, number in numbers.items():
        if not number >= 0:  # NaN is none
            raise RecipeError(f"{name} = {number!r}: give a number of at least 0")


def check_positive(**numbers: float) -> None:
    """Numbers above 0, or `RecipeError`."""
    for name, number in numbers.items():
        if not number > 0:  # NaN is none
            raise RecipeError(f"{name} = {number!r}: give a number above 0")


def check_stride(stem_stride: int) -> None:
    """The stride of a first convolution that has 2 as published, or `RecipeError`."""
    if stem_stride not in (1, 2):
        raise RecipeError(f"stem_stride = {stem_stride!r}: the stem reduces faces by 2 (as published) or 1")


def check_network(option: str, name: str, like: Sequence[str]) -> None:
    """The name of one of timm's networks, whose weights are not fetched by it, or `RecipeError`.

    Args:
        option: which holds the name.
        name: of the network.
        like: names that do, for the message.
    """
    import timm

    if timm.is_model(name):
        return
    close = difflib.get_close_matches(name, timm.list_models(), n=3) if name else []
    found = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise RecipeError(f"{option} = {name!r}: give the name of a network of timm, such as {' or '.join(like)}{found}")


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
