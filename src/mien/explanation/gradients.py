"""Grad-CAM and integrated gradients of a run's network, by captum.

Sources: Selvaraju et al. 2017, "Grad-CAM", section 3; Sundararajan et al. 2017, "Axiomatic Attribution for Deep
Networks", section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, MissingExtraError
from mien.faces.views import get_view

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from mien.bundle import InputSpec
    from mien.systems.base import System

METHODS = ("gradcam", "integrated-gradients")
_STEPS = 32
_CHUNK = 16


def gradient_maps(
    system: System,
    spec: InputSpec,
    faces: NDArray[np.uint8],
    targets: NDArray[np.int64],
    method: str = "gradcam",
) -> NDArray[np.float32]:
    """Which pixels the network's logit of the target depends on.

    Args:
        system: a network in evaluation mode, on the CPU.
        spec: what it is fed.
        faces: uint8 (N, H, W) or (N, H, W, 3).
        targets: int (N,), the expression asked about.
        method: ``gradcam``, at the last convolution that still sees places; or ``integrated-gradients``, from an even
            grey, absolute values over channels.

    Returns:
        float32 (N, F, F), F being `InputSpec.face_size`, each map from 0 to 1; beyond the network's crop it is 0.

    Raises:
        InputError: another method, or a network without a convolution to look at.
        MissingExtraError: without captum.
    """
    try:
        from captum.attr import IntegratedGradients, LayerGradCam
    except ImportError:
        raise MissingExtraError("gradient maps", "explain") from None
    import torch

    if method not in METHODS:
        raise InputError(f"methods are {', '.join(METHODS)}, not {method!r}")
    inputs = torch.from_numpy(_inputs(faces, spec))
    wanted = torch.from_numpy(np.asarray(targets, np.int64))
    maps = []
    layer = last_convolution(system, inputs[:1]) if method == "gradcam" else None
    for start in range(0, len(inputs), _CHUNK):
        part, target = inputs[start : start + _CHUNK].requires_grad_(), wanted[start : start + _CHUNK]
        if layer is not None:
            found: Any = LayerGradCam(system, layer).attribute(part, target, relu_attributions=True)
            found = torch.nn.functional.interpolate(found, part.shape[-2:], mode="bilinear", align_corners=False)
            found = found.sum(dim=1)
        else:
            found = IntegratedGradients(system).attribute(
                part, torch.zeros_like(part), target, n_steps=_STEPS, internal_batch_size=_CHUNK
            )
            found = found.abs().sum(dim=1)
        maps.append(found.detach().float().numpy())
    room = spec.face_size - spec.size
    around = (round(room / 2), room - round(room / 2))
    return np.pad(_scaled(np.concatenate(maps)), ((0, 0), around, around))


def last_convolution(system: nn.Module, example: torch.Tensor) -> nn.Module:
    """The last convolution whose output still has at least 3 × 3 places; raises `InputError` if there is none."""
    import torch

    seen: list[nn.Module] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[-2:]) >= 3:
            seen.append(module)

    hooks = [m.register_forward_hook(note) for m in system.modules() if isinstance(m, torch.nn.Conv2d)]
    try:
        with torch.no_grad():
            system(example)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise InputError("this network has no convolution that still sees places; use occlusion")
    return seen[-1]


def _inputs(faces: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """What the view ``one`` feeds the network, float32 (N, C, S, S)."""
    fed: list[NDArray[np.float32]] = []

    def note(images: NDArray[np.float32]) -> NDArray[np.float32]:
        fed.append(images)
        return np.zeros((len(images), 2), np.float32)

    get_view("one").scores(faces, spec, note)
    return np.concatenate(fed)


def _scaled(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    low = maps.min(axis=(1, 2), keepdims=True)
    return np.asarray((maps - low) / np.maximum(maps.max(axis=(1, 2), keepdims=True) - low, 1e-12), np.float32)
