"""An image in whatever form it comes → uint8 (H, W, 3), RGB, upright, bounded before anything is decoded."""

from __future__ import annotations

import importlib
import io
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from mien.errors import DecodeError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    ImageSource: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | NDArray[Any] | Image.Image


@dataclass(frozen=True)
class Limits:
    """What an image may cost. Checked before its pixels are decoded.

    Args:
        bytes: of the file.
        pixels: width × height; the default admits the 108-megapixel photographs of telephones.
    """

    bytes: int = 64 << 20
    pixels: int = 120_000_000


# First bytes (offset, mark) → Pillow's class. Its other formats stay closed: some of them start other programs.
_FORMATS: tuple[tuple[tuple[tuple[int, bytes], ...], str], ...] = (
    (((0, b"\xff\xd8\xff"),), "PIL.JpegImagePlugin:JpegImageFile"),
    (((0, b"\x89PNG\r\n\x1a\n"),), "PIL.PngImagePlugin:PngImageFile"),
    (((0, b"RIFF"), (8, b"WEBP")), "PIL.WebPImagePlugin:WebPImageFile"),
    (((0, b"GIF8"),), "PIL.GifImagePlugin:GifImageFile"),
    (((0, b"BM"),), "PIL.BmpImagePlugin:BmpImageFile"),
    *((((0, mark),), "PIL.TiffImagePlugin:TiffImageFile") for mark in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)

# Python's warning filters belong to the process, not to a thread, so whoever changes them takes turns.
_QUIET = threading.Lock()


def decode(
    source: ImageSource,
    *,
    limits: Limits | None = None,
    name: str | None = None,
    before: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8]:
    """Read one image.

    JPEG, PNG, WebP, BMP, TIFF and GIF; of an animation or a stack the first picture. 16 bits per channel are reduced
    to their upper 8, grey is repeated, CMYK and palettes are converted, what is transparent is laid on white, and the
    orientation that EXIF states is applied. Colour profiles are ignored.

    Args:
        source: a path; the bytes of a file; a binary file object (read from where it stands); a `PIL.Image.Image`; or
            an array uint8 (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA (OpenCV's arrays are BGR: reverse them).
        limits: bounds on bytes and pixels; `Limits()` if not given.
        name: what to call the image in messages; by default the path or the stream's name.
        before: called with width and height as the file states them, before any pixel of it is decoded; it may wait,
            as somebody does who decodes many images at once in bounded memory.

    Returns:
        uint8 (H, W, 3), RGB, contiguous; possibly read-only, possibly the very array that was given.

    Raises:
        DecodeError: no image, an unknown format, a damaged file, or one beyond the limits; names the file.
        InputError: no such file, an array of another shape or type, or an object that is no image at all.

    Example:
        >>> decode(np.zeros((2, 3), np.uint8)).shape
        (2, 3, 3)
        >>> decode(b"GIF, but not quite", name="cat.gif")
        Traceback (most recent call last):
        ...
        mien.errors.DecodeError: cat.gif is no JPEG, PNG, WebP, GIF, BMP or TIFF image; convert it to one of these
    """
    limits = limits or Limits()
    if isinstance(source, np.ndarray):
        return _from_array(source, limits, name or "the array")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(source), limits, name or "the image", before)
    if isinstance(source, (str, os.PathLike)):
        return _from_bytes(_read_path(source, limits, name or str(source)), limits, name or str(source), before)
    if hasattr(source, "read"):
        stream_name = getattr(source, "name", None)
        name = name or (stream_name if isinstance(stream_name, str) else "the stream")
        return _from_bytes(_read_stream(cast("IO[bytes]", source), limits, name), limits, name, before)
    if hasattr(source, "getexif") and hasattr(source, "convert"):
        name = name or getattr(source, "filename", "") or "the image"
        return _from_picture(source, limits, name, before)
    raise InputError(
        f"{type(source).__name__} is no image; give a path, bytes, a binary file object, a uint8 array or a PIL image"
    )


def _read_path(path: str | os.PathLike[str], limits: Limits, name: str) -> bytes:
    if str(path).startswith(("http://", "https://")):
        raise DecodeError(f"{name} is an address, not a file; download it first")
    try:
        with Path(path).open("rb") as file:
            return _read_stream(file, limits, name)
    except IsADirectoryError:
        raise DecodeError(f"{name} is a folder; give the images in it") from None
    except FileNotFoundError:
        raise InputError(f"no such file: {name}; check the path") from None
    except (OSError, ValueError) as error:
        raise DecodeError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _read_stream(stream: IO[bytes], limits: Limits, name: str) -> bytes:
    try:
        data = stream.read(limits.bytes + 1)
    except (OSError, ValueError) as error:
        raise DecodeError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(data, bytes):
        raise InputError(f"{name} was opened as text; open it with mode 'rb'")
    return data


def _from_bytes(
    data: bytes, limits: Limits, name: str, before: Callable[[int, int], None] | None = None
) -> NDArray[np.uint8]:
    if len(data) > limits.bytes:
        raise DecodeError(f"{name} is larger than {limits.bytes / 2**20:g} MiB; shrink it or raise the limit")
    if not data:
        raise DecodeError(f"{name} is empty")
    plugin = _plugin(data)
    if plugin is None:
        raise DecodeError(f"{name} is no JPEG, PNG, WebP, GIF, BMP or TIFF image; convert it to one of these")
    module, _, class_name = plugin.partition(":")
    opener = getattr(importlib.import_module(module), class_name)
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The class itself, not Image.open: that one judges the size by a global of its own and by warnings.
            picture = opener(io.BytesIO(data))
    except Exception as error:  # Pillow's plugins raise whatever a damaged header makes them stumble over
        raise _damaged(name, error) from None
    return _from_picture(picture, limits, name, before)


def _plugin(data: bytes) -> str | None:
    for marks, plugin in _FORMATS:
        if all(data[at : at + len(mark)] == mark for at, mark in marks):
            return plugin
    return None


def _from_picture(
    picture: Image.Image, limits: Limits, name: str, before: Callable[[int, int], None] | None = None
) -> NDArray[np.uint8]:
    _check_size(picture.width, picture.height, limits, name)
    if before is not None:
        before(picture.width, picture.height)
    try:
        if picture.format == "TIFF":
            with _QUIET, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                picture.load()
        else:
            picture.load()
        _check_size(picture.width, picture.height, limits, name)
        turn = _TURNS.get(_orientation(picture))
        if picture.mode.startswith("I"):
            pixels = _from_integers(picture, name)
            return np.ascontiguousarray(turn(pixels) if turn else pixels)
        pixels = np.asarray(_to_rgb(picture))
        return np.ascontiguousarray(turn(pixels) if turn else pixels)
    except DecodeError:
        raise
    except Exception as error:  # as above: decoders of damaged files
        raise _damaged(name, error) from None


def _check_size(width: int, height: int, limits: Limits, name: str) -> None:
    if width < 1 or height < 1:
        raise DecodeError(f"{name} has no pixels ({width} × {height})")
    if width * height > limits.pixels:
        raise DecodeError(
            f"{name} has {width} × {height} pixels, more than {limits.pixels:,}; shrink it or raise the limit"
        )


def _to_rgb(picture: Image.Image) -> Image.Image:
    from PIL import Image

    mode = picture.mode
    if mode == "RGB" and "transparency" not in picture.info:
        return picture
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or (
        mode in ("P", "L", "RGB", "1") and "transparency" in picture.info
    ):
        if mode in ("La", "RGBa"):
            picture = picture.convert("LA" if mode == "La" else "RGBA")
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    if mode in ("LAB", "F"):
        raise ValueError(f"pixels of kind {mode} have no agreed meaning here; save it with 8 or 16 bits per channel")
    return picture.convert("RGB")


def _from_integers(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """Grey with more than 8 bits; the range is known for 16 bits only."""
    bits = 32 if picture.mode == "I" else 16
    if picture.mode == "I" and picture.format in ("PNG", "PPM"):
        bits = 16
    if bits != 16:
        raise DecodeError(
            f"{name} has 32 bits per pixel, whose range is unknown; save it with 8 or 16 bits per channel"
        )
    grey = (np.asarray(picture).astype(np.uint32).clip(0, 0xFFFF) >> 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation 1–8; a damaged or missing one counts as upright."""
    if not any(key in picture.info for key in ("exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp")):
        # Everything but TIFF, whose orientation Pillow applies while loading, states it in one of these.
        return 1
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(picture.getexif().get(0x0112, 1))
    except Exception:  # EXIF comes from anyone's software; a broken one is no reason to refuse the picture
        return 1


# EXIF 2.3, tag 0x0112: how the stored picture has to be turned to stand upright.
_TURNS: dict[int, Any] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[:, ::-1].transpose(1, 0, 2),
}


def _from_array(array: NDArray[Any], limits: Limits, name: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise InputError(f"{name} is of type {array.dtype}, not uint8; scale it to 0–255 and convert it")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise InputError(f"{name} has shape {array.shape}; give (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA")
    _check_size(array.shape[1], array.shape[0], limits, name)
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    if array.shape[2] == 3:
        return np.ascontiguousarray(array)
    from PIL import Image

    return np.array(_to_rgb(Image.fromarray(np.ascontiguousarray(array))))


def _damaged(name: str, error: Exception) -> DecodeError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return DecodeError(f"{name} cannot be decoded ({reason}); it is damaged or of a kind that Pillow cannot read")
