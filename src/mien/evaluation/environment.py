"""What a number was measured on: device, precision, versions."""

from __future__ import annotations

import functools
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import mien
from mien.store.launch import processes

_PACKAGES = ("numpy", "onnxruntime", "pillow", "torch", "timm", "lightning-fabric", "lightning", "scikit-learn")


def environment(device: str = "cpu", precision: str = "fp32", threads: int | None = None) -> dict[str, Any]:
    """Device, precision, platform and the versions that can move a number.

    Args:
        device: ``cpu``, or ``cuda`` followed by nothing else; the card's name is looked up.
        precision: of the computation.
        threads: of the computation, where the caller has set them.
    """
    versions = {"mien": mien.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    named = _processor() if device == "cpu" else _accelerator()
    out: dict[str, Any] = {"device": named, "precision": precision, "platform": platform.system(), "versions": versions}
    if threads:
        out["threads"] = threads
    if processes() > 1:
        out["processes"] = processes()
    return out


@functools.cache
def _processor() -> str:
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        except OSError:
            pass
    return platform.processor() or platform.machine()


def _accelerator() -> str:
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "unknown accelerator"
