"""Which device a training or an evaluation computes on, and what is said where it is not there."""

from __future__ import annotations

from mien.errors import InputError
from mien.registry import suggestion

DEVICES = ("auto", "cpu", "cuda", "mps")
_NAMED = {"gpu": "cuda"}


def check_device(device: str) -> None:
    """Refuse a device that is misspelt or not there (`InputError`).

    torch is loaded only to look for an accelerator.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` (also ``cuda:1``) or ``mps``.

    Example:
        >>> check_device("cpu")
        >>> check_device("cdua")
        Traceback (most recent call last):
        ...
        mien.errors.InputError: no device is called 'cdua'; did you mean 'cuda'? (auto, cpu, cuda, mps)
    """
    device = str(device)  # torch has a type of its own for it
    kind, colon, number = device.partition(":")
    kind = _NAMED.get(kind, kind)
    if kind not in DEVICES or (colon and (kind != "cuda" or not number.isdecimal())):
        close = suggestion(device, DEVICES)
        known = f" ({', '.join(DEVICES)})" if close.startswith("did you mean") else ""
        raise InputError(f"no device is called {device!r}; {close}{known}")
    if kind in ("auto", "cpu"):
        return
    there = _there(kind)
    if int(number or 0) >= there:
        why = f"there are {there}" if there and kind == "cuda" else _why(kind)
        raise InputError(f"there is no device {device!r} here ({why}); choose auto, for the best there is, or cpu")


def device_of(device: str) -> str:
    """The name that torch has for a device that is there: of ``auto`` the best one.

    Example:
        >>> device_of("cpu")
        'cpu'
    """
    check_device(device)
    device = str(device)
    if device == "auto":
        return next((kind for kind in ("cuda", "mps") if _there(kind)), "cpu")
    kind, colon, number = device.partition(":")
    return f"{_NAMED.get(kind, kind)}{colon}{number}"


def _there(kind: str) -> int:
    """How many of them there are."""
    import torch

    if kind == "cuda":
        return torch.cuda.device_count()
    return int(torch.backends.mps.is_available())


def _why(kind: str) -> str:
    import torch

    if kind == "mps":
        return "PyTorch finds no GPU of Apple"
    if torch.version.cuda is None and torch.version.hip is None:
        return "this PyTorch is built without CUDA"
    return "PyTorch finds no GPU of NVIDIA"
