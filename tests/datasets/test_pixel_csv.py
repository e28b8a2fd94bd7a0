from __future__ import annotations

import io

import numpy as np
import pytest
from faces_on_disk import Faces
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.datasets import UNLABELLED
from mien.datasets.readers import pixel_csv
from mien.datasets.readers.pixel_csv import CsvFaces, read_pixel_csv
from mien.errors import DataError

FACES = Faces(5)
CSV = FACES.csv()
COLUMNS = ("emotion,pixels,Usage", "emotion, Usage, pixels", "emotion,pixels", "pixels")


def read(data: bytes) -> CsvFaces:
    return read_pixel_csv(io.BytesIO(data), "f.csv")


def assert_same(got: CsvFaces, columns: str = COLUMNS[0]) -> None:
    np.testing.assert_array_equal(got.images, FACES.images)
    labels = FACES.labels if "emotion" in columns else np.full(5, UNLABELLED)
    np.testing.assert_array_equal(got.labels, labels)
    if "Usage" in columns:
        np.testing.assert_array_equal(got.usage, FACES.usage)
    else:
        assert got.usage is None


@pytest.fixture
def only_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a block that is as published took the slow way")

    monkeypatch.setattr(pixel_csv._Rows, "_add_slowly", refuse)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.usefixtures("only_fast")
def test_every_layout_is_read_the_fast_way(columns: str, end: str) -> None:
    assert_same(read(FACES.csv(columns, end)), columns)


@pytest.mark.parametrize("block", [1, 7, 5000, 20_000])
def test_blocks_may_end_anywhere(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_csv, "_READ", block)
    monkeypatch.setattr(pixel_csv, "_PIECE", max(block // 2, 1))
    assert_same(read(CSV if block > 1 else CSV.rstrip(b"\n")))


@pytest.mark.parametrize("columns", COLUMNS)
def test_the_slow_way_agrees(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_csv._Rows, "_add_fast", lambda *_: False)
    assert_same(read(FACES.csv(columns)), columns)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.rstrip("\n"),
        lambda text: "\ufeff" + text,
        lambda text: text + "\n\n",
        lambda text: text.replace("emotion,pixels,Usage", '"emotion","pixels","Usage"'),
        lambda text: text.replace(",Training", ',"Training"'),
        lambda text: text.replace(",PublicTest", ", PublicTest "),
        lambda text: text.replace(" ", "  "),
    ],
)
def test_harmless_differences_are_forgiven(change) -> None:  # type: ignore[no-untyped-def]
    assert_same(read(change(CSV.decode()).encode()))


def test_checksum_and_progress() -> None:
    import hashlib

    seen: list[tuple[int, int]] = []
    got = read_pixel_csv(io.BytesIO(CSV), "f.csv", size=len(CSV), progress=lambda *step: seen.append(step))
    assert got.md5 == hashlib.md5(CSV).hexdigest()
    assert seen[-1] == (len(CSV), len(CSV))


def edited(line: int, old: str, new: str) -> bytes:
    lines = CSV.decode().split("\n")
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    return "\n".join(lines).encode()


def pixel(number: int, value: str) -> tuple[bytes, int]:
    """The file with that pixel (1-based) of line 3 replaced, and the column where it starts."""
    lines = CSV.decode().split("\n")
    label, pixels, usage = lines[2].split(",")
    values = pixels.split(" ")
    column = len(label) + 2 + len(" ".join(values[: number - 1])) + (number > 1)
    values[number - 1] = value
    lines[2] = ",".join([label, " ".join(values), usage])
    return "\n".join(lines).encode(), column


@pytest.mark.parametrize("value", ["300", "256", "299", "999", "1000", "-1", "1.5", "x", "0x1", "٣"])
@pytest.mark.parametrize("number", [1, 1000, 2304])
def test_a_bad_pixel_is_named_by_line_and_column(value: str, number: int) -> None:
    data, column = pixel(number, value)
    with pytest.raises(DataError, match=f"pixel {number:,} is '{value}'.*0 to 255") as caught:
        read(data)
    assert (caught.value.file, caught.value.line, caught.value.column) == ("f.csv", 3, column)
    assert str(caught.value).startswith(f"f.csv, line 3, column {column}: ")


FIRST = CSV.decode().split("\n")[1]
SECOND = CSV.decode().split("\n")[2]


@pytest.mark.parametrize(
    ("data", "line", "column", "words"),
    [
        (edited(2, "0,", "7,"), 2, 1, "emotion is '7'.*0 to 6"),
        (edited(2, "0,", "00,"), 2, 1, "emotion is '00'"),
        (edited(2, "0,", ",", ), 2, 1, "emotion is ''"),
        (edited(3, ",Training", ",Trainin"), 3, SECOND.rindex(",") + 2, "Usage is 'Trainin'.*PrivateTest"),
        (edited(3, ",Training", ",Training,1"), 3, len(SECOND) + 2, "4 fields instead of 3"),
        (edited(2, " 9 10 ", " 9 "), 2, FIRST.rindex(",") - 2, "2,303 pixels instead of 2,304"),
        (edited(2, " 9 10 ", " 9 10 11 "), 2, FIRST.rindex(",") + 1 - len(FIRST.split(" ")[-1].split(",")[0]) + 3,
         "more than 2,304 pixels"),
        (CSV[: len(CSV.split(b"\n")[0]) + 400], 2, 400, r"breaks off after \d+ of 2,304 pixels.*truncated"),
        (CSV.rstrip(b"\n")[:-11], 6, None, "Usage is ''|breaks off"),
        (b"", None, None, "empty"),
        (b"emotion,pixels,Usage\n", 1, None, "no face follows"),
        (b"emotion,pixels,Usage", 1, None, "no face follows"),
        (b"name,age\nx,3\n", 1, 1, "header is 'name,age'"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, None, None, "this is no text file"),
        (b"emotion,pixels,Usage\n" + b"1 " * 100_000, 2, None, "no such csv"),
        (bytes(300_000), None, None, "this is no text file"),
        (CSV.replace(b"\n", b"\n\xff\xfe,", 2), 2, 1, "4 fields"),
    ],
)  # fmt: skip
def test_bad_input_is_named(data: bytes, line: int | None, column: int | None, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(data)
    assert caught.value.file == "f.csv"
    assert caught.value.line == line
    if column is not None and "4 fields" not in words:
        assert caught.value.column == column
    assert "Traceback" not in str(caught.value)


TINY = Faces(2)
TINY_CSV = TINY.csv()


@settings(max_examples=60, deadline=None)
@given(
    position=st.integers(0, len(TINY_CSV) - 1),
    length=st.integers(0, 6),
    text=st.text('0123456789 ,\n\r"xT-', max_size=6),
    columns=st.sampled_from(COLUMNS),
)
def test_fast_and_slow_agree_on_damaged_files(position: int, length: int, text: str, columns: str) -> None:
    data = TINY.csv(columns)
    position %= len(data)
    data = data[:position] + text.encode() + data[position + length :]
    outcomes: list[object] = []
    for fast in (pixel_csv._Rows._add_fast, lambda *_: False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pixel_csv._Rows, "_add_fast", fast)
            try:
                got = read(data)
                usage = None if got.usage is None else got.usage.tolist()
                outcomes.append((got.images.tobytes(), got.labels.tolist(), usage))
            except DataError as error:
                outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("position", range(0, 60))
def test_every_early_truncation_is_noticed(position: int) -> None:
    with pytest.raises(DataError):
        read(TINY_CSV[: len(TINY_CSV) // 2 - position * 7])


def test_lines_are_counted_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_csv, "_READ", 3000)
    with pytest.raises(DataError, match="line 6, column 1: the emotion is '9'"):
        read(edited(6, "4,", "9,"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0,0 9 10 ", "0, 9 10 ", "2,303 pixels"),  # a space in the place of the first number
        ("0,0 9 10 ", "0,0  10 ", "2,303 pixels"),
        ("0,0 9 10 ", "0,0:9 10 ", "pixel 1 is '0:9'"),
        ("0,0 9 10 ", "0,0/9 10 ", "pixel 1 is '0/9'"),
        ("0,0 9 10 ", "0,0,9 10 ", "fields instead of"),
        ("0,0 9 10 ", "0,0000 9 10 ", "pixel 1 is '0000'"),
        (" 99 100 ", " 99 0100 ", "pixel 5 is '0100'"),
        (" 99 100 ", " 99\t100 ", r"pixel 4 is '99\\t100'"),
        (" 99 100 ", " 99\x00100 ", r"pixel 4 is '99\\x00100'"),
        (" 99 100 ", " 99 3\x10 ", r"pixel 5 is '3\\x10'"),
    ],
)
@pytest.mark.parametrize("columns", COLUMNS[:3])
def test_what_only_looks_like_a_line_is_refused(old: str, new: str, words: str, columns: str) -> None:
    """The fast way counts spaces and digits; each of these would come out even if it looked at nothing else."""
    text = FACES.csv(columns).decode()
    if columns == COLUMNS[1]:
        old, new = ("0,Training," + part.removeprefix("0,") if part.startswith("0,") else part for part in (old, new))
    assert old in text
    with pytest.raises(DataError, match=words):
        read(text.replace(old, new, 1).encode())
