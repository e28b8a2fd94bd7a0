"""From faces to scores under a named view, in batches of bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import ProcessError
from mien.evaluation.processes import Processes
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
    processes: Processes | None = None,
) -> NDArray[np.float32]:
    """Scores of all faces under a named view, in batches of bounded memory.

    Several processes share the batches. Each batch is whole and is computed once, by one of them, and nothing is
    padded: the scores are those of one process, to the bit where the machines are alike.

    Args:
        faces: uint8 (N, H, W) grey or (N, H, W, 3) RGB; a memory map is read batch by batch.
        spec: what the network takes.
        logits: float32 (n, channels, S, S) → float32 (n, classes).
        view: name of the view.
        batch: faces per call of ``logits``.
        progress: called with the number of faces done since its last call, by all processes together.
        processes: those that share the work; all of them call this with the same faces.

    Returns:
        float32 (N, classes), in every process.

    Raises:
        ProcessError: a process is lost, or a face was scored twice or by nobody.
    """
    processes = processes or Processes()
    chosen = get_view(view)
    parts = {}
    told = 0
    for start in range(processes.rank * batch, len(faces), processes.count * batch):
        parts[start] = chosen.scores(np.asarray(faces[start : start + batch]), spec, logits)
        if progress:
            done = min(len(faces), start + (processes.count - processes.rank) * batch)
            progress(done - told)
            told = done
    if progress and told < len(faces):
        progress(len(faces) - told)
    return _whole(processes.from_all(parts), len(faces))


def _whole(shares: list[dict[int, NDArray[np.float32]]], count: int) -> NDArray[np.float32]:
    """The batches of all processes in order, each face exactly once."""
    batches = sorted((start, scores) for share in shares for start, scores in share.items())
    if [start for start, _ in batches] != list(np.cumsum([0, *(len(scores) for _, scores in batches)])[:-1]) or (
        sum(len(scores) for _, scores in batches) != count
    ):
        raise ProcessError(
            f"the {len(shares)} processes did not score each of the {count} faces exactly once; start all of them with "
            "the same command, the same version and the same files"
        )
    return np.concatenate([scores for _, scores in batches]) if batches else np.zeros((0, 0), np.float32)


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
        with exact(device, precision), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            out = module(tensor)
        module.train(training)
        scores: NDArray[np.float32] = out.float().cpu().numpy()
        return scores

    return logits


@contextlib.contextmanager
def exact(device: torch.device, precision: str) -> Iterator[None]:
    """Where single precision is asked for, convolutions on a GPU keep its digits; PyTorch would drop thirteen bits."""
    import torch

    if device.type != "cuda" or precision != "fp32":
        yield
        return
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    ):
        yield
