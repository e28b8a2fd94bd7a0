"""One inference session per bundle and thread count, made when first needed and shared by all recognisers."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.bundle import Bundle
from mien.errors import BundleError, InputError
from mien.faces.inference import open_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_lock = threading.Lock()
_shared: weakref.WeakValueDictionary[tuple[str, int, int], Network] = weakref.WeakValueDictionary()


def shared_network(bundle: Bundle, threads: int) -> Network:
    """The network of ``bundle`` with ``threads`` threads; equal bundles share it as long as somebody holds it.

    A forked process gets its own: a session's threads do not survive the fork.
    """
    key = (bundle.card.sha256, threads, os.getpid())
    with _lock:
        network = _shared.get(key)
        if network is None:
            network = _shared[key] = Network(bundle, threads)
        return network


class Network:
    """A bundle's graph, ready to run on the CPU. Safe to use from several threads.

    Args:
        bundle: read with `mien.bundle.read_bundle`, which has checked the graph.
        threads: threads of one run.

    Raises:
        BundleError: if the graph cannot be loaded or does not fit its card.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        try:
            self._session = open_session(bundle.model, threads=threads)
        except InputError as error:
            raise BundleError(f"bundle {bundle.card.name!r}: {error}") from None
        _check_interface(self._session, bundle)
        self.has_embedding = any(output.name == "embedding" for output in self._session.get_outputs())

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, channels, size, size) → float32 (N, classes), before any temperature."""
        return self._run("logits", inputs)

    def embedding(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, channels, size, size) → float32 (N, D), the penultimate features."""
        return self._run("embedding", inputs)

    def _run(self, output: str, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            found: NDArray[np.float32] = self._session.run([output], {"input": inputs})[0]
        except Exception as error:  # onnxruntime's own classes: a shape or an amount of memory that cannot be
            reason = str(error).strip().splitlines()[0][:160]
            raise BundleError(f"the network cannot be run on {len(inputs)} faces ({reason}); get it again") from None
        if not np.isfinite(found).all():
            raise BundleError(f"the network answered with NaN or infinite numbers ({output}); the bundle is unusable")
        return found


def _check_interface(session: Any, bundle: Bundle) -> None:
    card, spec = bundle.card, bundle.card.input
    inputs = {i.name: i for i in session.get_inputs()}
    outputs = {o.name: o for o in session.get_outputs()}
    if set(inputs) != {"input"} or "logits" not in outputs:
        raise BundleError(
            f"{card.name!r} is no bundle for this recogniser: it needs one input 'input' and an output 'logits', "
            f"and has {sorted(inputs)} and {sorted(outputs)}"
        )
    wanted = (spec.channels, spec.size, spec.size)
    shape = inputs["input"].shape
    if inputs["input"].type != "tensor(float)" or len(shape) != 4 or not _fits(shape[1:], wanted):
        raise BundleError(f"{card.name!r}: its card says {wanted} but the graph takes {shape[1:]}; export it again")
    if isinstance(shape[0], int):
        raise BundleError(f"{card.name!r} takes exactly {shape[0]} faces at once; export it with a free batch size")
    if not _fits(outputs["logits"].shape[1:], (len(card.labels),)):
        raise BundleError(
            f"{card.name!r}: its card names {len(card.labels)} labels but the graph gives {outputs['logits'].shape}"
        )


def _fits(shape: list[Any], wanted: tuple[int, ...]) -> bool:
    """A free dimension (a name or None) fits every size."""
    return len(shape) == len(wanted) and all(
        not isinstance(s, int) or s == w for s, w in zip(shape, wanted, strict=True)
    )
