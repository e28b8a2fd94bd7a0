"""Weights into a network: whole or not at all, and published ones by the names that timm gives them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mien.errors import InputError, RunError

if TYPE_CHECKING:
    from mien.systems.base import System
    from mien.systems.card import Card, Pretrained


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights whose names and shapes all fit; otherwise say which do not and load none (`RunError`)."""
    own, state = (_telling_first(one) for one in (module.state_dict(), state))
    both = [name for name in own if name in state]
    problems = (
        [f"{name} is missing" for name in own if name not in state],
        [f"{name} is not part of the network" for name in state if name not in own],
        [
            f"{name} is {list(state[name].shape)} and the network has {list(own[name].shape)}"
            for name in both
            if state[name].shape != own[name].shape
        ],
        [
            f"{name} is of type {_kind(state[name])} and the network of {_kind(own[name])}"
            for name in both
            if state[name].is_floating_point() != own[name].is_floating_point()
        ],
    )
    count = sum(map(len, problems))
    if count:
        some = [problem for kind in problems for problem in kind[:2]]  # of each kind: names of both sides tell more
        shown = "; ".join(some) + (f"; and {count - len(some)} more" if count > len(some) else "")
        raise RunError(f"the weights of {source} do not fit, nothing was loaded: {shown}")
    module.load_state_dict(state)


def _telling_first(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Counters of batches come last: each batch normalisation has one, and they say nothing of a network."""
    return dict(sorted(state.items(), key=lambda item: item[0].endswith(".num_batches_tracked")))


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def load_trunk(module: System, state: Mapping[str, Tensor]) -> None:
    """Load published weights into ``module.trunk``, all of them but the classifier.

    The classifier tells other classes than expressions apart: its weights are dropped, and where the trunk has one
    of its own, that stays as it is.
    """
    trunk = getattr(module, "trunk", None)
    if not isinstance(trunk, nn.Module):
        raise InputError(f"{module.card.id} has no part called trunk that published weights could go into")
    head = _classifier(module.card)
    if state.keys() == module.state_dict().keys() and state.keys() != trunk.state_dict().keys():
        raise InputError(
            f"these are weights of a whole {module.card.id}, not those published as {published(module.card).model}; "
            "from a run a training goes on with --init RUN"
        )
    kept = {name: value for name, value in state.items() if not name.startswith(head)}
    own = {name: value for name, value in trunk.state_dict().items() if name.startswith(head)}
    load_strictly(trunk, {**kept, **own}, f"what was given as {published(module.card).model}")


def published(card: Card) -> Pretrained:
    """The card's `Pretrained`; `InputError` if it has none."""
    if card.pretrained is None:
        raise InputError(f"{card.id} has no published weights to start from; train it from fresh ones")
    return card.pretrained


def fetch(card: Card, source: str | Path) -> dict[str, Tensor]:
    """Published weights of a system, with timm's names.

    Args:
        card: of the system.
        source: ``timm``, which downloads or takes them from its cache, or a local file: safetensors, or what
            ``torch.save`` wrote of tensors alone (nothing else in it is unpickled).

    Raises:
        InputError: the system has none, they cannot be had, or the file holds no such weights.
    """
    wanted = published(card)
    if str(source) == "timm":
        return _from_timm(wanted.model)
    path = Path(source)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(
            f"{path} {problem}; give --pretrained timm, or a file of the weights {wanted.model}; from a run a training "
            "goes on with --init RUN"
        )
    return _from_file(path, wanted.model)


def _from_timm(model: str) -> dict[str, Tensor]:
    import logging

    import timm

    hub = logging.getLogger("huggingface_hub")
    told = hub.level
    hub.setLevel(logging.ERROR)  # each of its retries is a warning of several lines
    try:
        state: dict[str, Tensor] = timm.create_model(model, pretrained=True).state_dict()
    except Exception as error:  # network, hub and cache raise classes of several libraries
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        said = textwrap.shorten(first, 160, placeholder=" …")
        raise InputError(
            f"timm could not get the weights {model} ({said}); give a local file of them with "
            "--pretrained PATH, or begin with fresh weights: leave --pretrained away, and where the recipe asks for "
            "published ones, add --set start.kind=fresh"
        ) from None
    finally:
        hub.setLevel(told)
    return state


def _from_file(path: Path, model: str) -> dict[str, Tensor]:
    import warnings

    import torch
    from safetensors.torch import load_file

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch guesses aloud about files that it then refuses
            state = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
    except Exception as error:  # a file of a stranger makes the reader fail in many ways; nothing of it was run
        first = (str(error).strip().splitlines() or ["damaged"])[0]
        # What torch says of a pickle is advice about an argument of its own, which would run the file.
        # Of other files it gives a number of its own, or the first byte.
        unknown = first.startswith("Weights only load failed") or first.isdecimal() or "load key" in first
        first = "it is no file of tensors alone" if unknown else first
        first = "it is cut off or damaged" if "zip archive" in first else textwrap.shorten(first, 120, placeholder=" …")
        raise InputError(f"{path} holds no readable weights ({first}); give a file of {model}") from None
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds more or less than named tensors; give a state dict of {model}")
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{path}: {name} holds numbers that are infinite or none; give another file of {model}")
    wrapped = "module."  # so torch names the parts of a network that was trained on several devices
    if all(name.startswith(wrapped) for name in state):
        state = {name.removeprefix(wrapped): value for name, value in state.items()}
    return dict(state)


def _classifier(card: Card) -> tuple[str, ...]:
    """Prefixes of the classifier's names, as timm states them for the published weights."""
    import timm

    known = timm.get_pretrained_cfg(published(card).model, allow_unregistered=False)
    names = known.classifier if known else None
    if not names:
        raise InputError(f"timm does not know the weights {published(card).model!r}, or which part of them classifies")
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
