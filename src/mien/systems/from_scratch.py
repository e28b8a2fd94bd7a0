"""The `mien` recipe of published trunks that are trained here without weights from elsewhere."""

from __future__ import annotations

from typing import Any

MEAN, STD = 0.5077, 0.2550
"""Of FER2013's Training faces, on the 0–1 scale."""


def from_scratch(size: int, *, channels: int = 3, **changes: Any) -> dict[str, Any]:
    """What the `mien` recipes share: small grey faces, widely varied, for many epochs.

    The optimiser is only a beginning: most systems state smaller steps of their own.

    Args:
        size: side in pixels of the faces.
        channels: of the card's input; with 3 the grey values are repeated.
        **changes: fields that differ, at the top level.

    Example:
        >>> from_scratch(48, epochs=100)["epochs"]
        100
    """
    return {
        "epochs": 150,
        "batch_size": 128,
        "input": {"size": size, "resize": 0, "colour": "grey", "mean": [MEAN] * channels, "std": [STD] * channels},
        "augment": {
            "scale": [0.72, 1.32],
            "aspect": [0.85, 1.18],
            "translate": 0.12,
            "rotate": 15.0,
            "brightness": 0.2,
            "contrast": 0.3,
            "erase_probability": 0.5,
            "erase_area": [0.03, 0.2],
            "mixup": 0.2,
        },
        "optim": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
        "schedule": {"name": "cosine", "warmup": 3.0},
        "loss": {"smoothing": 0.1},
        "ema": 0.999,
        "clip": 5.0,
        **changes,
    }
