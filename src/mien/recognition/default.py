"""The bundle that the recogniser uses when it is given none: it lies in this package and its SHA-256 is pinned."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files

from mien.bundle import Bundle, read_bundle
from mien.errors import BundleError

MODEL = "default.onnx"
PIN = "default.json"  # {"sha256": hash of the whole file}; written when the bundle is released
_REPAIR = "reinstall mien, or give another bundle: mien.Recognizer(model='bundle.onnx')"


def default_bundle() -> Bundle:
    """The default bundle, after its SHA-256 was compared with the pinned one.

    Raises:
        BundleError: if the file is missing or is not the one that was released.
    """
    here = files("mien.recognition")
    try:
        model = here.joinpath(MODEL).read_bytes()
        pinned = json.loads(here.joinpath(PIN).read_text(encoding="utf-8"))["sha256"]
    except OSError:
        raise BundleError(f"this installation of mien lacks its default bundle ({MODEL}, {PIN}); {_REPAIR}") from None
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"this installation of mien has a damaged {PIN}; {_REPAIR}") from None
    if hashlib.sha256(model).hexdigest() != pinned:
        raise BundleError(f"the default bundle of this installation is not the released file (SHA-256); {_REPAIR}")
    return read_bundle(model)
