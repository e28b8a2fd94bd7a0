"""Ten thousand spoiled inputs for everything that reads files of strangers: no crash, no hang, bounded memory.

Each input is made from a good one by a few edits that a seed decides, so that a failure can be repeated: the message
names the reader and the number of the input. A few hundred of each run in every test, all of them in the long ones.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import standin
from mien.bundle import read_bundle
from mien.datasets.readers.pixel_csv import read_pixel_csv
from mien.errors import MienError
from mien.faces.decode import Limits, decode
from mien.labels import FER2013
from mien.recognition.listing import read_boxes, read_names
from mien.results.submission import _read_csv
from mien.store.manifest import read_manifest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="alarms and resource limits")

SECONDS = 5
GROWTH = 400 << 20  # bytes that the process may grow by over all inputs of a reader
COUNTS = [pytest.param(150, id="some"), pytest.param(10_000, id="ten thousand", marks=pytest.mark.full)]
TOKENS = [b",", b";", b'"', b"\n", b"\r", b"\0", b"nan", b"-1", b"1e999", b"9" * 400, b"\xff\xfe", b" ", b"file", b"{}"]


def spoiled(data: bytes, draw: np.random.Generator) -> bytes:
    """``data`` after one to six edits: bytes changed, cut out, doubled, put in, filled with one value, cut off."""
    out = bytearray(data)
    for _ in range(int(draw.integers(1, 7))):
        if not out:
            break
        # Headers are short and decide most: every second edit falls into the first bytes.
        at = int(draw.integers(0, min(len(out), 200) if draw.random() < 0.5 else len(out)))
        length = int(min(2 ** draw.uniform(0, 12), len(out) - at))
        kind = int(draw.integers(0, 8))
        if kind <= 2:
            out[at] = int(draw.integers(0, 256))
        elif kind == 3:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = out[at : at + length]
        elif kind == 5:
            out[at:at] = TOKENS[int(draw.integers(0, len(TOKENS)))]
        elif kind == 6:
            out[at : at + length] = bytes([int(draw.choice([0, 255, 127]))]) * length
        elif draw.random() < 0.3:
            del out[at:]
    return bytes(out)


@contextmanager
def alarm() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def survives(seeds: list[bytes], read: Callable[[bytes], object], count: int) -> tuple[int, int]:
    """Feed ``count`` spoiled inputs to a reader: how many were read, and how many refused by one of mien's errors."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = [0, 0]
    for number in range(count):
        said = ""
        data = spoiled(seeds[number % len(seeds)], np.random.default_rng(number))
        try:
            with alarm():
                read(data)
            done[0] += 1
        except MienError as error:
            done[1] += 1
            said = str(error)
        except Exception as error:
            raise AssertionError(f"input {number}: {type(error).__name__}: {error}") from error
        assert "\n" not in said, f"input {number}: more than a sentence: {said}"
        assert len(said) < 1000, f"input {number}: much more than a sentence: {said}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert grown < GROWTH
    return done[0], done[1]


# Images


def drawn() -> list[bytes]:
    """The same picture in every format, with EXIF where there is any, and in the modes that take roads of their own."""
    face = Image.fromarray(np.stack([standin.face("happy", 64)] * 3, axis=2) // 2 + 60)
    exif = Image.Exif()
    exif[0x0112] = 6
    made: list[tuple[Image.Image, str, dict[str, object]]] = [
        (face, "JPEG", {"exif": exif}),
        (face, "JPEG", {"progressive": True}),
        (face.convert("CMYK"), "JPEG", {}),
        (face, "PNG", {"exif": exif}),
        (face.convert("P"), "PNG", {}),
        (face.convert("LA"), "PNG", {}),
        (Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16), "PNG", {}),
        (face, "WebP", {"exif": exif}),
        (face, "WebP", {"lossless": True}),
        (face, "GIF", {}),
        (face, "BMP", {}),
        (face, "TIFF", {}),
        (face, "TIFF", {"compression": "tiff_lzw"}),
        (face, "TIFF", {"compression": "jpeg"}),
    ]
    seeds = []
    for picture, format, options in made:
        out = io.BytesIO()
        picture.save(out, format, **options)  # type: ignore[arg-type]
        seeds.append(out.getvalue())
    return seeds


def photographs() -> list[bytes]:
    """Real ones, where they are at hand; the smaller ones, for the time it takes."""
    root = Path(__file__).parents[2]
    folders = [Path(os.environ["MIEN_DATA"])] if os.environ.get("MIEN_DATA") else []
    folders += [root.parent / "shared" / "data", root / "examples"]
    files = [path for folder in folders for path in (*folder.glob("photos/*.jpg"), *folder.glob("*.jpg"))]
    return [path.read_bytes() for path in sorted(files) if path.stat().st_size < 100_000]


@pytest.mark.parametrize("count", COUNTS)
def test_images(count: int) -> None:
    def read(data: bytes) -> None:
        pixels = decode(data, limits=Limits(pixels=4 << 20), name="mutant")
        assert pixels.dtype == np.uint8
        assert pixels.shape[2:] == (3,)

    read_, refused = survives(drawn() + (photographs() if count > 1000 else []), read, count)
    assert read_ > 0.02 * count
    assert refused > 0.2 * count


# Tables


def in_a_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def inner(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return inner


BOXES = b"file,status,x1,y1,x2,y2,label\n" + b"".join(
    b'"a, %d.jpg",ok,%d.5,2,%d,9.25,happy\n' % (n, n, n + 7) for n in range(30)
)


@pytest.mark.parametrize("count", COUNTS)
def test_boxes(count: int, tmp_path: Path) -> None:
    seeds = [BOXES, BOXES.replace(b",", b";"), b"\xef\xbb\xbf" + BOXES.replace(b"\n", b"\r\n")]
    counted = survives(seeds, in_a_file(tmp_path / "boxes.csv", read_boxes), count)
    assert min(counted) > 0.05 * count


@pytest.mark.parametrize("count", COUNTS)
def test_names(count: int, tmp_path: Path) -> None:
    counted = survives([BOXES], in_a_file(tmp_path / "names.csv", lambda path: list(read_names(path))), count)
    assert min(counted) > 0.02 * count


@pytest.mark.parametrize("count", COUNTS)
def test_pixel_tables(count: int) -> None:
    pixels = b" ".join(b"%d" % (value % 256) for value in range(48 * 48))
    rows = b"".join(b"%d,%s,%s\n" % (n % 7, pixels, (b"Training", b"PublicTest")[n % 2]) for n in range(3))
    seeds = [b"emotion,pixels,Usage\n" + rows, b"emotion,pixels\n" + rows.replace(b",Training", b"")]
    _, refused = survives(seeds, lambda data: read_pixel_csv(io.BytesIO(data), "mutant.csv"), count)
    assert refused > 0.2 * count


@pytest.mark.parametrize("count", COUNTS)
def test_predictions(count: int, tmp_path: Path) -> None:
    header = b"row," + b",".join(label.encode() for label in FER2013.labels) + b"\n"
    seed = header + b"".join(b"%d,0.1,0.2,0.1,0.3,0.1,0.1,0.1\n" % n for n in range(40))
    survives([seed], in_a_file(tmp_path / "p.csv", lambda path: _read_csv(path, FER2013.labels)), count)


# Models and manifests


@pytest.mark.parametrize("count", COUNTS)
def test_bundles(count: int, bundle_path: Path) -> None:
    _, refused = survives([bundle_path.read_bytes()], read_bundle, count)
    assert refused > 0.9 * count


@pytest.mark.parametrize("count", COUNTS)
def test_manifests(count: int, tmp_path: Path) -> None:
    seed = (Path(__file__).parents[2] / "src" / "mien" / "store" / "manifest.json").read_bytes()
    survives([seed], in_a_file(tmp_path / "m.json", read_manifest), count)
