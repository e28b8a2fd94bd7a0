"""The bundle that the recogniser uses when it is given none: it lies in this package and its SHA-256 is pinned."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files

from mien.bundle import Bundle, read_bundle
from mien.errors import BundleError

MODEL = "default.onnx"
PIN = "default.json"
"""``{"sha256": hash of the whole file}``, written when the bundle is released. While one bundle takes the place of
another, ``replaces`` holds the hash of the old one, so that at no moment the pin fits neither file."""
_REPAIR = "reinstall mien, or give another bundle: mien.Recognizer(model='bundle.onnx')"


def default_bundle() -> Bundle:
    """The default bundle, after its SHA-256 was compared with the pinned one.

    Raises:
        BundleError: if the file is missing or is not the one that was released.
    """
    here = files("mien.recognition")
    try:
        model = here.joinpath(MODEL).read_bytes()
        pin = json.loads(here.joinpath(PIN).read_text(encoding="utf-8"))
        pinned = (pin["sha256"], pin.get("replaces"))
    except OSError:
        raise BundleError(f"this installation of mien lacks its default bundle ({MODEL}, {PIN}); {_REPAIR}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleError(f"this installation of mien has a damaged {PIN}; {_REPAIR}") from None
    if hashlib.sha256(model).hexdigest() not in pinned:
        raise BundleError(f"the default bundle of this installation is not the released file (SHA-256); {_REPAIR}")
    return read_bundle(model)
