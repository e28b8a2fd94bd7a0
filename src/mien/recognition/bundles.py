"""Bundles by name: the one in the package, whose SHA-256 is pinned, and fetched ones."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from importlib.resources import files
from pathlib import Path

from mien.bundle import Bundle, read_bundle
from mien.errors import BundleError, InputError

NAME = "default"
MODEL = "default.onnx.gz"
"""A bundle, packed by `pack`: a sixth smaller, for some milliseconds at the start."""
PIN = "default.json"
"""``{"sha256": hash of the unpacked bundle}``, written when it is released. While one bundle takes the place of
another, ``replaces`` holds the hash of the old one, so that at no moment the pin fits neither file."""
LARGEST = 16_000_000
"""Bytes that are unpacked at most."""
_REPAIR = "reinstall mien, or give another bundle: mien.Recognizer(model='bundle.onnx')"


def default_bundle() -> Bundle:
    """The default bundle, after its SHA-256 was compared with the pinned one.

    Raises:
        BundleError: if the file is missing or is not the one that was released.
    """
    here = files("mien.recognition")
    try:
        packed = here.joinpath(MODEL).read_bytes()
        pin = json.loads(here.joinpath(PIN).read_text(encoding="utf-8"))
        pinned = (pin["sha256"], pin.get("replaces"))
    except OSError:
        raise BundleError(f"this installation of mien lacks its default bundle ({MODEL}, {PIN}); {_REPAIR}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleError(f"this installation of mien has a damaged {PIN}; {_REPAIR}") from None
    try:
        model = unpack(packed)
    except ValueError:
        model = b""
    if hashlib.sha256(model).hexdigest() not in pinned:
        raise BundleError(f"the default bundle of this installation is not the released file (SHA-256); {_REPAIR}")
    return read_bundle(model)


def pack(model: bytes) -> bytes:
    """A bundle as it lies in the package: gzip, without the time.

    Raises:
        BundleError: it has more than `LARGEST` bytes, so `unpack` would refuse it.

    Example:
        >>> unpack(pack(b"a bundle"))
        b'a bundle'
    """
    if len(model) > LARGEST:
        raise BundleError(f"a bundle in the package has at most {LARGEST:,} bytes, not {len(model):,}")
    return gzip.compress(model, 9, mtime=0)


def unpack(packed: bytes) -> bytes:
    """What `pack` made small.

    Raises:
        ValueError: it is nothing of that kind, is cut off, or unpacks to more than `LARGEST` bytes.
    """
    reader = zlib.decompressobj(wbits=31)
    try:
        model = reader.decompress(packed, LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not reader.eof:
        raise ValueError(f"cut off, or larger than {LARGEST:,} bytes")
    return model


def is_bundle_name(text: str | Path) -> bool:
    """Whether a bundle goes by that name on this machine and no file does.

    Example:
        >>> is_bundle_name("default"), is_bundle_name("defualt"), is_bundle_name("runs/default")
        (True, False, False)
    """
    from mien.store.fetching import is_fetched

    if Path(text).name != str(text) or Path(text).is_file():
        return False
    return str(text) == NAME or is_fetched(str(text), "bundle")


def open_bundle(model: str | Path) -> Bundle:
    """The bundle at a path; a bare name that is no file is ``default`` or that of a fetched one.

    Args:
        model: path of an .onnx file, ``"default"``, or a name that ``mien fetch`` lists as fetched.

    Raises:
        BundleError: what lies there is no bundle.
        FetchError: the fetched bundle of that name is damaged.
        InputError: there is no file and no bundle of that name; or it is neither a text nor a path.

    Example:
        >>> open_bundle("default").card.system
        'compact'
    """
    if not isinstance(model, str | Path):
        raise InputError(f"a bundle is a path or a name, not a {type(model).__name__}")
    text = str(model)
    if text.endswith(".onnx") or Path(text).name != text or Path(text).is_file():
        return read_bundle(model)
    if text == NAME:
        return default_bundle()
    from mien.store.fetching import fetched

    return read_bundle(fetched(text, "bundle", also=(NAME,)))
