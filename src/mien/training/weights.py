"""Weights on disk: safetensors only, loaded whole or not at all, hashed by content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mien.errors import RunError
from mien.store import atomic_file
from mien.systems.weights import load_strictly

__all__ = ["hash_weights", "load_strictly", "load_tensors", "save_tensors"]

if TYPE_CHECKING:
    State = Mapping[str, Tensor]


def hash_weights(state: State) -> str:
    """SHA-256 (hex) over names, types, shapes and values; the order of the entries does not matter."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def save_tensors(path: str | Path, tensors: State, metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as out:
        out.write(save(plain, metadata=dict(metadata)))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; anything else raises `RunError`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: no readable safetensors file ({error}); train again or restore it") from None
