"""From faces to scores under a named view, in batches of bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mien.faces.views import get_view

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from mien.bundle import InputSpec

Logits = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]


def score(
    faces: NDArray[np.uint8],
    spec: InputSpec,
    logits: Logits,
    view: str = "one",
    batch: int = 256,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Scores of all faces under a named view, in batches of bounded memory.

    Args:
        faces: uint8 (N, H, W) grey or (N, H, W, 3) RGB; a memory map is read batch by batch.
        spec: what the network takes.
        logits: float32 (n, channels, S, S) → float32 (n, classes).
        view: name of the view.
        batch: faces per call of ``logits``.
        progress: called with the number of faces done since its last call.

    Returns:
        float32 (N, classes).
    """
    chosen = get_view(view)
    parts = []
    for start in range(0, len(faces), batch):
        parts.append(chosen.scores(np.asarray(faces[start : start + batch]), spec, logits))
        if progress:
            progress(len(parts[-1]))
    if not parts:
        return np.zeros((0, 0), np.float32)
    return np.concatenate(parts)


def torch_logits(module: torch.nn.Module, *, precision: str = "fp32", channels_last: bool = True) -> Logits:
    """A network in evaluation mode on the device where it is; bf16 means autocast."""
    import torch

    device = next(module.parameters()).device

    @torch.no_grad()
    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        training = module.training
        module.eval()
        tensor = torch.from_numpy(images).to(device)
        if channels_last:
            tensor = tensor.to(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            try:
                out = module(tensor)
            except RuntimeError:
                _explain(module, images)
                raise
        module.train(training)
        scores: NDArray[np.float32] = out.float().cpu().numpy()
        return scores

    return logits


def _explain(module: torch.nn.Module, images: NDArray[np.float32]) -> None:
    """Raise an `InputError` that names the sides a system takes, if the side of the images is what is wrong."""
    from mien.systems.base import System
    from mien.systems.sides import check_side

    if isinstance(module, System):
        options = {key: value for key, value in module.options.items() if key not in ("classes", "channels")}
        check_side(module.card, images.shape[-1], channels=images.shape[1], options=options)
