"""Recipes: every training choice, frozen, hashed, and readable as TOML.

A recipe is a tree of frozen dataclasses. It starts from the defaults below, takes the nested mapping of a system's
card over them (`card.recipes["mien"]`), and then whatever the caller sets (``optim.lr=0.1``). Every field is part of
the hash, so two results with one recipe hash were trained alike.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from mien.bundle import InputSpec
from mien.errors import BundleError, RecipeError
from mien.registry import suggestion
from mien.systems.card import Card


class _Checked:
    """Whoever makes a recipe, in code or in a file, gets equal values of equal types, and so equal hashes."""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _convert(hint, getattr(self, name), name))


@dataclass(frozen=True)
class Augment(_Checked):
    """How training faces vary; drawn anew for each face at each visit, on the device.

    Args:
        flip: probability of a mirror image.
        vertical_flip: probability of turning the face upside down.
        rotate: rotation in ± degrees, uniform.
        rotate_probability: probability that a face is rotated.
        scale: area of the window that is enlarged to the face, relative to the face, uniform. Above 1 zooms out.
        aspect: aspect ratio of that window, log-uniform.
        translate: shift in ± fractions of the side, in x and in y, uniform.
        translate_probability: probability that a face is shifted.
        brightness: offset in ± fractions of full scale, uniform.
        contrast: gain in 1 ± this, uniform, about mid-grey.
        erase_probability: probability that one rectangle is filled with a random grey (random erasing).
        erase_area: smallest and largest area of the rectangle as a fraction of the face.
        outside: what lies beyond the border of a face: its ``edge`` pixels, repeated, or ``black``.
        crops: how the network's ``size`` is cut from faces of ``resize`` px: ``random``, ``centre``, ``five`` or
            ``ten`` (each face enters the batch that many times).
        mixup: α of mixup's Beta distribution; 0 is off.
        cutmix: α of CutMix's; 0 is off. With both on, each batch draws one of them.
    """

    flip: float = 0.5
    vertical_flip: float = 0.0
    rotate: float = 0.0
    rotate_probability: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    aspect: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0
    translate_probability: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    erase_probability: float = 0.0
    erase_area: tuple[float, float] = (0.02, 0.33)
    outside: str = "edge"
    crops: str = "random"
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True)
class Optim(_Checked):
    """The optimiser: ``sgd``, ``adam``, ``adamw`` or ``radam``.

    ``decay_norms`` also decays biases and normalisation weights, as plain PyTorch does.
    """

    name: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decay_norms: bool = False


@dataclass(frozen=True)
class Schedule(_Checked):
    """The learning rate over time: ``constant``, ``cosine``, ``onecycle``, ``step`` or ``plateau``.

    Args:
        name: see above. ``plateau`` watches the selection accuracy after each epoch.
        warmup: epochs of linear warm-up (not for ``onecycle``).
        final: last learning rate over the first (cosine, onecycle).
        rise: share of the time in which ``onecycle`` rises, from lr / 25.
        factor: by which ``step`` and ``plateau`` multiply.
        patience: epochs without improvement before ``plateau`` multiplies.
        every: epochs between two multiplications of ``step``.
        after: epochs before the first multiplication of ``step``; 0 means ``every``.
    """

    name: str = "cosine"
    warmup: float = 0.0
    final: float = 0.0
    rise: float = 0.3
    factor: float = 0.1
    patience: int = 5
    every: int = 30
    after: int = 0


@dataclass(frozen=True)
class Loss(_Checked):
    """``cross_entropy`` or ``focal``.

    Args:
        name: see above.
        smoothing: label smoothing.
        gamma: exponent of the focal loss.
        class_weights: ``none`` or ``balanced`` (N / (classes · count)).
    """

    name: str = "cross_entropy"
    smoothing: float = 0.0
    gamma: float = 2.0
    class_weights: str = "none"


@dataclass(frozen=True)
class Recipe(_Checked):
    """Every choice of a training.

    Args:
        name: ``faithful``, ``mien``, or the caller's own.
        system_id: the architecture it trains.
        system: its architecture options.
        input: what the network is fed.
        epochs: upper bound on the passes over the training split.
        batch_size: faces per step.
        augment: how faces vary.
        optim: the optimiser.
        schedule: the learning rate over time.
        loss: what is minimised.
        ema: decay per step of the moving average of the weights that is evaluated and kept; 0 is off. Warms up.
        clip: largest norm of the gradient; 0 is off.
        early_stop: stop after this many epochs without a better selection accuracy; 0 is off.
        keep: ``best`` epoch by selection accuracy, or the ``last``.
        precision: ``bf16`` (autocast) or ``fp32``.
        channels_last: memory layout; changes the speed, and results only by rounding.
        compile: ``torch.compile``; likewise.
    """

    name: str
    system_id: str
    input: InputSpec
    system: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 60
    batch_size: int = 128
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    loss: Loss = field(default_factory=Loss)
    ema: float = 0.0
    clip: float = 0.0
    early_stop: int = 0
    keep: str = "best"
    precision: str = "bf16"
    channels_last: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)

    @property
    def hash(self) -> str:
        """SHA-256 over every field, as hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values; tuples become lists, as in JSON and TOML."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def to_toml(self) -> str:
        """The recipe as TOML; `from_toml` reads it back to an equal recipe."""
        return "\n".join(_toml(self.to_dict())) + "\n"

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_dict`; missing keys take their defaults, unknown ones raise `RecipeError`."""
        return typing.cast(Recipe, _build(cls, value, ""))

    @classmethod
    def from_toml(cls, source: str | Path) -> Recipe:
        """Read a recipe from a TOML file, or from TOML text that contains a line end."""
        try:
            text = source if isinstance(source, str) and "\n" in source else Path(source).read_text(encoding="utf-8")
            return cls.from_dict(tomllib.loads(text))
        except OSError as error:
            raise RecipeError(f"{source}: {error.strerror}; give a recipe file (.toml)") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{source if len(str(source)) < 200 else 'the recipe'} is no TOML: {error}") from None

    @classmethod
    def of(cls, card: Card, name: str = "mien") -> Recipe:
        """A named recipe of a system."""
        if name not in card.recipes:
            raise RecipeError(f"{card.id} has no recipe {name!r}; {suggestion(name, card.recipes)}")
        base = cls(name=name, system_id=card.id, input=card.input).to_dict()
        return cls.from_dict(_merge(base, card.recipes[name]))

    def set(self, assignments: Iterable[str]) -> Recipe:
        """A recipe with some fields changed.

        Args:
            assignments: ``key=value`` with dots for nesting and values as in TOML (bare words are strings).

        Example:
            >>> from mien.systems import card
            >>> recipe = Recipe.of(card("compact")).set(["optim.lr=0.2", "loss.name=focal"])
            >>> recipe.optim.lr, recipe.loss.name
            (0.2, 'focal')
        """
        tree = self.to_dict()
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise RecipeError(f"{assignment!r}: write key=value, for example optim.lr=0.1")
            try:
                value = tomllib.loads(f"v = {text}")["v"]
            except tomllib.TOMLDecodeError:
                value = text
            *parents, leaf = key.strip().split(".")
            branch = tree
            for parent in parents:
                _known(parent, branch, key)
                branch = branch[parent]
                if not isinstance(branch, dict):
                    raise RecipeError(f"{key!r}: {parent!r} has no parts")
            if branch is not tree.get("system"):
                _known(leaf, branch, key)
                if isinstance(branch[leaf], dict):
                    raise RecipeError(f"{key!r} is a group; set one of its parts: {', '.join(branch[leaf]) or 'none'}")
            branch[leaf] = value
        return type(self).from_dict(tree)

    def with_(self, **changes: Any) -> Recipe:
        """A copy with top-level fields replaced."""
        return replace(self, **changes)


_CHOICES = {
    ("augment", "crops"): ("random", "centre", "five", "ten"),
    ("augment", "outside"): ("edge", "black"),
    ("optim", "name"): ("sgd", "adam", "adamw", "radam"),
    ("schedule", "name"): ("constant", "cosine", "onecycle", "step", "plateau"),
    ("loss", "name"): ("cross_entropy", "focal"),
    ("loss", "class_weights"): ("none", "balanced"),
    ("keep",): ("best", "last"),
    ("precision",): ("bf16", "fp32"),
}
_RANGES = {
    ("epochs",): (1, 100_000),
    ("batch_size",): (1, 1_000_000),
    ("ema",): (0, 0.999999),
    ("clip",): (0, 1e9),
    ("early_stop",): (0, 100_000),
    ("augment", "flip"): (0, 1),
    ("augment", "vertical_flip"): (0, 1),
    ("augment", "rotate"): (0, 180),
    ("augment", "rotate_probability"): (0, 1),
    ("augment", "translate"): (0, 1),
    ("augment", "translate_probability"): (0, 1),
    ("augment", "brightness"): (0, 1),
    ("augment", "contrast"): (0, 1),
    ("augment", "erase_probability"): (0, 1),
    ("augment", "mixup"): (0, 100),
    ("augment", "cutmix"): (0, 100),
    ("optim", "lr"): (1e-9, 1e3),
    ("optim", "momentum"): (0, 0.9999),
    ("optim", "weight_decay"): (0, 10),
    ("schedule", "warmup"): (0, 1000),
    ("schedule", "final"): (0, 1),
    ("schedule", "rise"): (0.001, 0.999),
    ("schedule", "factor"): (0.001, 1),
    ("schedule", "patience"): (0, 1000),
    ("schedule", "every"): (1, 100_000),
    ("schedule", "after"): (0, 100_000),
    ("loss", "smoothing"): (0, 0.99),
    ("loss", "gamma"): (0, 20),
}


# It names the run's folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


def _check(recipe: Recipe) -> None:
    def at(path: tuple[str, ...]) -> Any:
        value: Any = recipe
        for part in path:
            value = getattr(value, part)
        return value

    if not _NAME.fullmatch(recipe.name):
        raise RecipeError(f"name = {recipe.name!r}: name a recipe with letters, digits, '-', '_', '+' and '.'")
    for path, choices in _CHOICES.items():
        if at(path) not in choices:
            raise RecipeError(f"{'.'.join(path)} = {at(path)!r}: choose one of {', '.join(choices)}")
    for path, (low, high) in _RANGES.items():
        if not low <= at(path) <= high:
            raise RecipeError(f"{'.'.join(path)} = {at(path)!r} lies outside {low:g}–{high:g}")
    for name in ("scale", "aspect", "erase_area"):
        low, high = getattr(recipe.augment, name)
        if not 0 < low <= high <= 10:
            raise RecipeError(f"augment.{name} = [{low:g}, {high:g}]: two numbers above 0, the smaller first")
    if recipe.augment.erase_area[1] > 1:
        raise RecipeError(f"augment.erase_area = {list(recipe.augment.erase_area)}: fractions of the face, up to 1")
    if not all(0 <= beta < 1 for beta in recipe.optim.betas):
        raise RecipeError(f"optim.betas = {list(recipe.optim.betas)}: two numbers from 0 to below 1")
    if recipe.optim.name == "sgd" and recipe.optim.nesterov and not recipe.optim.momentum:
        raise RecipeError("optim.nesterov needs optim.momentum above 0; set one or the other")
    if recipe.augment.crops in ("five", "ten") and not recipe.input.resize:
        raise RecipeError(f"augment.crops = {recipe.augment.crops!r} needs input.resize above input.size")


def _known(key: str, branch: Mapping[str, Any], whole: str) -> None:
    if key not in branch:
        raise RecipeError(f"a recipe has no {whole!r}; {suggestion(key, branch)}")


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merge(out[key], value) if nested else value
    return out


def _build(cls: type, value: Any, path: str) -> Any:
    """A dataclass from nested mappings, each value checked against the field's annotation."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{path.rstrip('.') or 'a recipe'} is a group of settings, not {value!r}")
    hints = _hints(cls)
    known = {f.name for f in fields(cls)}
    for key in value:
        if key not in known:
            raise RecipeError(f"a recipe has no {path + key!r}; {suggestion(key, known)}")
    chosen = {key: _convert(hints[key], item, path + key) for key, item in value.items()}
    try:
        return cls(**chosen)
    except BundleError as error:
        raise RecipeError(f"{path.rstrip('.')}: {error}") from None
    except TypeError as error:
        raise RecipeError(f"{path.rstrip('.') or 'the recipe'} is incomplete: {error}") from None


def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else _build(hint, value, path + ".")
    if origin is tuple:
        arguments = typing.get_args(hint)
        count = None if len(arguments) == 2 and arguments[1] is Ellipsis else len(arguments)
        if not isinstance(value, (list, tuple)) or (count is not None and len(value) != count):
            raise RecipeError(f"{path} = {value!r}: write {count or 'some'} numbers in brackets")
        return tuple(_convert(arguments[0], item, path) for item in value)
    if origin is not None and not isinstance(origin, types.UnionType):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{path} = {value!r}: expected a group of settings")
        return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise RecipeError(f"{path} = {value!r}: expected {hint.__name__}")
    return value


def _toml(tree: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    groups = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            groups.append((key, value))
        else:
            # JSON's strings, numbers, booleans and arrays are TOML's as well.
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in groups:
        yield ""
        yield f"[{prefix}{key}]"
        yield from _toml(value, f"{prefix}{key}.")
