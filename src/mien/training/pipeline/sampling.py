"""Which faces an epoch shows, and in which order."""

from __future__ import annotations

import torch
from torch import Tensor

from mien.datasets.faceset import UNLABELLED


def epoch_rows(labels: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
    """The rows of one epoch in their order.

    Args:
        labels: int64 (N,); a face without a label (`UNLABELLED`) is shown once.
        sampling: ``none``: each row once. ``balanced``: each class as often as the largest one; all its faces as many
            times as fit, and for the rest some of them, drawn without repetition.
        generator: the only source of randomness, on the CPU.

    Returns:
        int64, on the device of ``labels``; N entries, or with ``balanced`` those of the largest class times the
        number of classes that occur.

    Example:
        >>> rows = epoch_rows(torch.tensor([0, 0, 0, 1]), "balanced", torch.Generator().manual_seed(0))
        >>> sorted(rows.tolist())
        [0, 1, 2, 3, 3, 3]
    """
    if sampling == "none":
        return torch.randperm(len(labels), generator=generator).to(labels.device)
    known = labels.cpu()
    counts = torch.bincount(known[known != UNLABELLED])
    largest = int(counts.max())
    parts = [(known == UNLABELLED).nonzero()[:, 0]]
    for label in counts.nonzero()[:, 0]:
        rows = (known == label).nonzero()[:, 0]
        whole, rest = divmod(largest, len(rows))
        parts += [rows.repeat(whole), rows[torch.randperm(len(rows), generator=generator)[:rest]]]
    drawn = torch.cat(parts)
    return drawn[torch.randperm(len(drawn), generator=generator)].to(labels.device)
