"""How settings are read, checked, compared and written: plain values to frozen dataclasses and back.

A field that was added after recipes were first recorded is declared with `later`: while it has its default it is
left out of the plain form, and so of the TOML and of the hash. Recipes that do not use it keep the hash that their
results name; as soon as it differs from its default it counts like any other field.
"""

from __future__ import annotations

import hashlib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Self

from mien.errors import BundleError, InputError, RecipeError
from mien.registry import suggestion
from mien.store.toml import MAX_BYTES, parse_toml, toml_lines

_LATER = "mien.later"
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text in quotes"}


class Checked:
    """Whoever makes a setting, in code or in a file, gets equal values of equal types, and so equal hashes."""

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(type(self)).items():
            object.__setattr__(self, name, _convert(hint, getattr(self, name), name))


class Written(Checked):
    """A recipe of any kind: its plain form, its hash and its TOML."""

    name: str
    system_id: str

    @property
    def hash(self) -> str:
        """SHA-256 over every field, as hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values without later fields that have their default; tuples become lists, as in TOML."""
        tree: dict[str, Any] = plain(self)
        return tree

    def to_toml(self) -> str:
        """The recipe as TOML; `from_toml` reads it back to an equal recipe."""
        return "\n".join(toml_lines(self.to_dict())) + "\n"

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; missing keys take their defaults, unknown ones raise `RecipeError`."""
        return typing.cast(Self, build(cls, value))

    @classmethod
    def from_toml(cls, source: str | Path) -> Self:
        """Read a recipe from a TOML file, or from TOML text that contains a line end."""
        return cls.from_dict(_values(source))


def check_recipe_system(source: str | Path, system: str) -> None:
    """Refuse the file of a recipe of another system (`InputError`), before its fields are held against this one.

    Args:
        source: the TOML file.
        system: id of the system to be trained.
    """
    found = _values(source).get("system_id", system)
    if found != system:
        raise InputError(f"{source} is a recipe of {found!r}, not of {system!r}; give one of that system")


def _values(source: str | Path) -> dict[str, Any]:
    try:
        return parse_toml(source if isinstance(source, str) and "\n" in source else _short_text(Path(source)))
    except OSError as error:
        raise RecipeError(f"{source}: {error.strerror}; give a recipe file (.toml)") from None
    except ValueError as error:
        raise RecipeError(f"{source if len(str(source)) < 200 else 'the recipe'} is no TOML: {error}") from None


def _short_text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(4 * MAX_BYTES).decode()


def assigned(assignment: str, example: str) -> tuple[str, Any]:
    """Key and value of ``key=value``; the value is read as in TOML, bare words are strings."""
    key, equals, text = assignment.partition("=")
    if not equals:
        raise RecipeError(f"{assignment!r}: write key=value, for example {example}")
    try:
        return key.strip(), parse_toml(f"v = {text}")["v"]
    except ValueError:
        return key.strip(), text


def later(default: Any = None, *, factory: Any = None) -> Any:
    """A field that takes no part in the plain form, and so in the hash, while it has its default."""
    metadata = {_LATER: True}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def plain(value: Any, *, everything: bool = False) -> Any:
    """Nested plain values; tuples become lists, as in JSON and TOML.

    Args:
        value: a dataclass of settings, or what its fields hold.
        everything: with the later fields that have their default.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: plain(getattr(value, f.name), everything=everything)
            for f in fields(value)
            if everything or not (f.metadata.get(_LATER) and getattr(value, f.name) == _default(f))
        }
    if isinstance(value, Mapping):
        return {key: plain(item, everything=everything) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, everything=everything) for item in value]
    return value


def frozen(value: Any) -> Any:
    """Plain values whose lists are tuples, at every depth: equal settings compare equal."""
    if isinstance(value, Mapping):
        return {key: frozen(item) for key, item in value.items()}
    return tuple(frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``, group by group."""
    out = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if nested else value
    return out


def build(cls: type, value: Any, path: str = "") -> Any:
    """A dataclass from nested mappings, each value checked against the field's annotation.

    Args:
        cls: the dataclass.
        value: plain values; missing ones take their defaults.
        path: where it stands, for messages: empty, or ``optim.``.
    """
    if not isinstance(value, Mapping):
        raise RecipeError(f"{path.rstrip('.') or 'a recipe'} is a group of settings, not {value!r}")
    hints = typing.get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    for key in value:
        if key not in known:
            raise unknown_field(path, str(key), known)
    chosen = {key: _convert(hints[key], item, path + key) for key, item in value.items()}
    missing = [
        f.name for f in fields(cls) if f.name not in value and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        lacks = ", ".join(missing[:-1]) + " and " * (len(missing) > 1) + missing[-1]
        raise RecipeError(
            f"{path.rstrip('.') or 'the recipe'} is incomplete: it lacks {lacks}; "
            "a whole one to change is printed by mien systems info ID --recipe NAME"
        )
    try:
        return cls(**chosen)
    except BundleError as error:
        raise RecipeError(f"{path.rstrip('.')}: {error}") from None


def unknown_field(path: str, name: str, known: Iterable[str]) -> RecipeError:
    """The error about a field that a recipe does not have: the nearest of its group, as a person writes them.

    Example:
        >>> unknown_field("optim.", "lrr", ["lr", "name"])
        RecipeError("a recipe has no 'optim.lrr'; did you mean 'optim.lr'?")
    """
    near = re.sub(r"'([^']+)'", rf"'{path}\1'", suggestion(name, known))
    return RecipeError(f"a recipe has no {path + name!r}; {near}")


def _default(f: Field[Any]) -> Any:
    return f.default_factory() if callable(f.default_factory) else f.default


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else build(hint, value, path + ".")
    if origin is tuple:
        arguments = typing.get_args(hint)
        count = None if len(arguments) == 2 and arguments[1] is Ellipsis else len(arguments)
        if not isinstance(value, (list, tuple)) or (count is not None and len(value) != count):
            raise RecipeError(f"{path} = {value!r}: write {count or 'some'} values in brackets")
        return tuple(_convert(arguments[0], item, path) for item in value)
    if origin is not None and not isinstance(origin, types.UnionType):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{path} = {value!r}: expected a group of settings")
        return {key: frozen(item) for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise RecipeError(f"{path} = {value!r}: expected {_KINDS.get(hint, hint.__name__)}")
    return value
