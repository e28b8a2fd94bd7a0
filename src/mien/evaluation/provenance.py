"""Where a number comes from: versions, device, commit."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import mien

_PACKAGES = ("numpy", "onnxruntime", "pillow", "torch", "timm", "lightning", "scikit-learn")


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
    return out


@functools.cache
def commit() -> tuple[str, bool]:
    """The commit that this package runs from and whether files differ from it; ("", False) outside a checkout."""
    here = Path(mien.__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        root = Path(git("rev-parse", "--show-toplevel"))
        if not (root / "src" / "mien").is_dir():
            return "", False
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", str(here)))
    except (OSError, subprocess.SubprocessError):
        return "", False


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
