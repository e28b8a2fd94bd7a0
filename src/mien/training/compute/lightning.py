"""Fabric: the package `lightning-fabric`, or the part of the package `lightning` that is the same.

`lightning` brings a trainer along. Importing its Fabric imports that, torchmetrics and with it torchvision, none of
which drives a training here, and takes more than twice as long; a machine that has no other falls back on it.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

PACKAGE = "lightning_fabric" if importlib.util.find_spec("lightning_fabric") else "lightning.fabric"

LOGGERS = ("lightning_fabric", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
"""Those that announce devices and processes."""


def fabric_module(name: str = "") -> ModuleType:
    """A module of Fabric by its name behind the package's, such as ``strategies.ddp``; without one, Fabric itself.

    Raises:
        ModuleNotFoundError: neither package is installed.

    Example:
        >>> fabric_module("strategies.ddp").DDPStrategy.__name__
        'DDPStrategy'
    """
    return importlib.import_module(f"{PACKAGE}.{name}" if name else PACKAGE)
