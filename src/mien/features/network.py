"""The penultimate layer of a trained network as features: of a bundle (no torch) or of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError
from mien.faces.views import get_view
from mien.features.cache import Advance, cached_rows, faces_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mien.bundle import InputSpec

_BLOCK = 256


def network_features(
    source: Any, images: NDArray[np.uint8], *, device: str = "cpu", advance: Advance | None = None
) -> NDArray[np.float32]:
    """Penultimate features of faces under view ``one``, cached.

    Args:
        source: a `mien.bundle.Bundle` with the output ``embedding``, or a finished run.
        images: uint8 (n, H, W) grey or (n, H, W, 3) RGB.
        device: of a run; bundles run on the CPU.
        advance: told how many faces are done.

    Returns:
        float32 (n, D), memory-mapped.

    Raises:
        InputError: the network has no penultimate features, or answers with NaN.
    """
    embed, spec, identity = _embedder(source, device)
    view = get_view("one")

    def make(start: int, stop: int) -> NDArray[np.float32]:
        return view.scores(np.asarray(images[start:stop]), spec, embed)

    if not len(images):
        raise InputError("there are no faces to take features of; give a split that is not empty")
    width = make(0, 1).shape[1]
    key = {"faces": faces_digest(images), "network": identity}
    return cached_rows("network", key, (len(images), width), np.float32, make, block=_BLOCK, advance=advance)


def _embedder(
    source: Any, device: str
) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], InputSpec, dict[str, Any]]:
    from mien.bundle import Bundle

    if isinstance(source, Bundle):
        from mien.recognition.network import shared_network
        from mien.store.cpu import cpu_count

        network = shared_network(source, cpu_count())
        if not network.has_embedding:
            raise InputError(f"{source.card.name!r} has no output 'embedding'; export it again with this mien")
        return network.embedding, source.card.input, {"bundle": source.card.sha256}
    if not callable(getattr(source, "module", None)):
        raise InputError(f"{source!r:.80} has no features; give a run or a bundle with penultimate features")
    import torch

    module = source.module(device).eval()

    @torch.no_grad()
    def embed(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            found = module.embed(torch.from_numpy(inputs).to(device))
        except NotImplementedError as error:
            raise InputError(f"{error}; take a system that has them") from None
        features: NDArray[np.float32] = found.float().cpu().numpy()
        return features

    spec: InputSpec = source.recipe.input
    return embed, spec, {"run": source.info["weights_sha256"]}
