from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.errors import DecodeError, InputError
from mien.faces import Limits, decode


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WebP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("WebP", {"quality": 95}, 24),
    ],
)
def test_formats(gradient: np.ndarray, format: str, options: dict, tolerance: int) -> None:
    pixels = decode(encoded(Image.fromarray(gradient), format, **options))
    assert pixels.dtype == np.uint8
    assert pixels.shape == gradient.shape
    assert pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - gradient).max() <= tolerance


def test_first_frame_of_animations() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    for format in ("GIF", "WebP", "TIFF", "PNG"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        pixels = decode(data)
        assert pixels.shape == (6, 8, 3)
        assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 6, format


def test_grey_and_bilevel() -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    assert (decode(encoded(Image.fromarray(grey), "PNG")) == grey[..., None]).all()
    bilevel = Image.fromarray((grey > 20).astype(np.uint8) * 255).convert("1")
    assert set(decode(encoded(bilevel, "PNG")).ravel().tolist()) == {0, 255}


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = b"".join(chunk(kind, data) for kind, data in extra)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_sixteen_bits() -> None:
    values = np.array([[0, 255, 256, 0x1234, 0xFFFF]], np.uint16)
    upper = (values >> 8).astype(np.uint8)[..., None].repeat(3, 2)
    assert (decode(encoded(Image.fromarray(values), "PNG")) == upper).all()
    assert (decode(encoded(Image.fromarray(values), "TIFF")) == upper).all()
    rgb = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0xFFFF, 0x0000, 0x8000)
    assert decode(png(2, 1, 16, 2, b"\0" + rgb)).tolist() == [[[0x12, 0x56, 0x9A], [0xFF, 0x00, 0x80]]]


def test_alpha_is_laid_on_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    expected = [[[10, 20, 30], [255, 255, 255]]]
    assert decode(encoded(Image.fromarray(rgba), "PNG")).tolist() == expected
    assert decode(rgba).tolist() == expected
    assert decode(Image.fromarray(rgba)).tolist() == expected
    grey_alpha = Image.fromarray(rgba).convert("LA")
    assert decode(encoded(grey_alpha, "PNG"))[0, 1].tolist() == [255, 255, 255]


def test_palette_with_and_without_transparency() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert decode(encoded(palette, "PNG")).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert decode(encoded(palette, "PNG", transparency=1)).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert decode(encoded(palette, "PNG", transparency=b"\xff\x00")).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert decode(encoded(palette, "GIF", transparency=1)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_cmyk(gradient: np.ndarray) -> None:
    cmyk = Image.fromarray(gradient).convert("CMYK")
    for format, tolerance in (("TIFF", 1), ("JPEG", 24)):
        assert np.abs(decode(encoded(cmyk, format)).astype(int) - gradient).max() <= tolerance


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(gradient: np.ndarray, format: str, orientation: int) -> None:
    # Stored so that a reader that applies the tag sees the gradient upright: the inverse of what the tag asks for.
    stored = {
        1: gradient,
        2: gradient[:, ::-1],
        3: gradient[::-1, ::-1],
        4: gradient[::-1],
        5: gradient.transpose(1, 0, 2),
        6: np.rot90(gradient, 1),
        7: gradient.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(gradient, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WebP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(format, {})
    pixels = decode(encoded(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options))
    assert pixels.shape == gradient.shape
    assert np.abs(pixels.astype(int) - gradient).max() <= (8 if format == "JPEG" else 0)


def test_sources(tmp_path: Path, gradient: np.ndarray) -> None:
    path = tmp_path / "gradient.png"
    path.write_bytes(encoded(Image.fromarray(gradient), "PNG"))
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), file, Image.open(path), gradient]
        for source in sources:
            assert (decode(source) == gradient).all()
    assert decode(gradient) is gradient
    assert (decode(gradient[:, ::-1]) == gradient[:, ::-1]).all()
    assert decode(gradient[..., :1]).shape == decode(gradient[..., 0]).shape == gradient.shape


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray) -> None:
    with pytest.raises(InputError):
        decode(array)


def test_messages_name_the_file(tmp_path: Path, gradient: np.ndarray) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.png").write_bytes(encoded(Image.fromarray(gradient), "PNG")[:70])
    (tmp_path / "cut.jpg").write_bytes(encoded(Image.fromarray(gradient), "JPEG")[:-200])
    for name, said in {
        "empty.jpg": "is empty",
        "text.jpg": "convert it",
        "cut.png": "cannot be decoded",
        "cut.jpg": "cannot be decoded",
        "": "is a folder",
    }.items():
        with pytest.raises(DecodeError, match=said) as caught:
            decode(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(InputError, match=r"^no such file: .*missing\.jpg; check the path$") as missing:
        decode(tmp_path / "missing.jpg")
    assert not isinstance(missing.value, DecodeError)  # nothing was there to decode
    with pytest.raises(DecodeError, match="upload"):
        decode(b"", name="upload")
    with pytest.raises(DecodeError, match="download it first"):
        decode("https://example.org/a.jpg")
    with pytest.raises(DecodeError, match="cannot be read"):
        decode("a\0b")
    with pytest.raises(InputError, match="mode 'rb'"):
        decode(io.StringIO("text"))
    with pytest.raises(InputError, match="int is no image"):
        decode(3)
    for mode in ("F", "I"):
        with pytest.raises(DecodeError, match="16 bits"):
            decode(encoded(Image.new(mode, (4, 4)), "TIFF"))


def test_formats_that_stay_closed(gradient: np.ndarray) -> None:
    for format in ("PPM", "PCX", "TGA", "EPS"):
        with pytest.raises(DecodeError, match="no JPEG"):
            decode(encoded(Image.fromarray(gradient), format))


def test_bounds_hold_before_decoding(tmp_path: Path) -> None:
    # 60,000 × 60,000 pixels in a header, hardly any data: whoever decodes first asks for 10 GB.
    bombs = {
        "png": png(60_000, 60_000, 8, 2, b"\0" * 1000),
        "gif": b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0x80, 0, 0) + bytes(6) + b",",
        "bmp": b"BM"
        + struct.pack("<IHHI", 100, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, *[0] * 6),
    }
    for name, bomb in bombs.items():
        with pytest.raises(DecodeError, match=r"pixels|decoded"):
            decode(bomb, name=name)
    with pytest.raises(DecodeError, match=r"60000 × 60000"):
        decode(bombs["png"])
    with pytest.raises(DecodeError, match="40 × 30 pixels"):
        decode(np.zeros((30, 40, 3), np.uint8), limits=Limits(pixels=1199))
    big = tmp_path / "big.png"
    big.write_bytes(encoded(Image.new("L", (64, 64)), "PNG") + bytes(1 << 20))
    with pytest.raises(DecodeError, match="larger than 1 MiB"):
        decode(big, limits=Limits(bytes=1 << 20))


@pytest.mark.skipif(not hasattr(os, "mkfifo") or not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_an_endless_file_ends() -> None:
    with pytest.raises(DecodeError, match="larger than"):
        decode("/dev/zero", limits=Limits(bytes=1 << 16))


def test_the_limit_is_ours_and_not_a_global_of_pillow(gradient: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Image.open would raise for the gradient
    assert (decode(encoded(Image.fromarray(gradient), "PNG")) == gradient).all()


def test_damaged_exif_is_no_reason_to_refuse(gradient: np.ndarray) -> None:
    for exif in (b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 20):
        data = encoded(Image.fromarray(gradient), "JPEG", exif=exif, quality=95)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert decode(data).shape == gradient.shape


def test_threads_leave_the_warning_filters_alone(gradient: np.ndarray) -> None:
    data, before = encoded(Image.fromarray(gradient), "JPEG"), list(warnings.filters)
    threads = [threading.Thread(target=lambda: [decode(data) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


SEEDS = [
    (format, options)
    for format, options in (
        ("JPEG", {}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("WebP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    )
]


def mutations_end_well(seed: tuple[str, dict], edits: list[tuple[int, int]], cut: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.arange(24 * 16 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 24, 3))
    extra = {"exif": exif} if seed[0] in ("JPEG", "PNG", "WebP", "TIFF") else {}
    data = bytearray(encoded(picture, seed[0], **seed[1], **extra))
    for at, value in edits:
        data[at % len(data)] = value
    try:
        pixels = decode(bytes(data[: len(data) - cut]), limits=Limits(pixels=1 << 22), name="mutant")
    except DecodeError as error:
        if not str(error).startswith("mutant "):
            raise
    else:
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3


# Ten thousand of every format: tests/fuzz.
MUTANTS = given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.one_of(st.integers(0, 200), st.integers(0, 1 << 16)), st.integers(0, 255)), max_size=8),
    st.one_of(st.just(0), st.integers(0, 300)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@MUTANTS
def test_mutants(seed: tuple[str, dict], edits: list[tuple[int, int]], cut: int) -> None:
    mutations_end_well(seed, edits, cut)
