"""The bundle format: read and written without onnx, and nothing but arithmetic inside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import standin
from mien.bundle import MAX_CARD_BYTES, BundleCard, Framing, InputSpec, read_bundle, write_bundle
from mien.errors import BundleError
from mien.labels import FER2013


def test_a_bundle_survives_the_disk(tmp_path: Path) -> None:
    card = standin.card(results={"one": "0" * 16}, extra_data=("FER+ labels",), notes={"größe": [1, 2]})
    written = write_bundle(tmp_path / "a.onnx", standin.graph(), card)
    read = read_bundle(tmp_path / "a.onnx")
    assert read == written == read_bundle((tmp_path / "a.onnx").read_bytes())
    assert replace(read.card, sha256="") == card
    assert read.card.labelset() is FER2013
    again = write_bundle(tmp_path / "b.onnx", read.model, replace(card, threshold=0.25))
    assert again.card.sha256 == read.card.sha256
    assert len(again.model) - len(read.model) < 10, "the old card was kept beside the new one"


def test_a_card_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    whole = write_bundle(path, standin.graph(), standin.card())
    for text in ("x" * MAX_CARD_BYTES, "ö" * (MAX_CARD_BYTES * 5 // 8)):  # the bound is of bytes, not of letters
        with pytest.raises(
            BundleError, match=r"its card would have 1,\d+ KiB, and at most 1,024 KiB can be read again"
        ):
            write_bundle(path, whole.model, replace(whole.card, notes={"groups": text}))
        assert path.read_bytes() == whole.model
    write_bundle(path, whole.model, replace(whole.card, notes={"groups": "x" * (MAX_CARD_BYTES - 4096)}))
    assert len(read_bundle(path).card.notes["groups"]) == MAX_CARD_BYTES - 4096


def test_onnx_reads_it_as_an_ordinary_model(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    bundle = write_bundle(tmp_path / "a.onnx", standin.graph(), standin.card())
    model = onnx.load_from_string(bundle.model)
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["mien.bundle"])["labels"] == list(FER2013.labels)


def test_foreign_metadata_are_kept(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(standin.graph())
    model.metadata_props.add(key="author", value="somebody")
    bundle = write_bundle(tmp_path / "a.onnx", model.SerializeToString(), standin.card())
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(bundle.model).metadata_props}
    assert set(metadata) == {"author", "mien.bundle"}


@pytest.fixture(scope="module")
def whole(bundle_path: Path) -> bytes:
    return bundle_path.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_noticed(whole: bytes, data: Any) -> None:
    """A changed byte or a missing end is an error of ours, or (inside the card's free text) still a whole card."""
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        broken = whole[:at]
    else:
        broken = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    try:
        read = read_bundle(broken)
    except BundleError:
        return
    assert read.card.sha256 == read_bundle(whole).card.sha256


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nothing\.onnx: No such file .*give the path of an exported bundle"):
        read_bundle(tmp_path / "nothing.onnx")
    with pytest.raises(BundleError, match="is no ONNX model"):
        read_bundle(b"")
    with pytest.raises(BundleError, match="is no ONNX model"):
        read_bundle(b"\xff" * 100)
    with pytest.raises(BundleError, match="but no bundle: it has no card"):
        read_bundle(standin.graph())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "mien-bundle@9"}, "a newer mien may read it"),
        ({"treshold": 0.5}, "unknown fields: treshold"),
        ({"labels": ["a", "a"]}, "names each of its labels once"),
        ({"threshold": 1.0}, "no probability below 1"),
        ({"temperatures": {"flip": 1.0}}, "for view 'one'"),
        ({"temperatures": {"one": 0.0}}, "temperature above 0"),
        ({"input": {"size": 48}}, "incomplete or malformed"),
        ({"framing": {"margin": 9.0}}, "margin lies in"),
        ({"framing": {"align": "eyes"}}, "align is none or roll"),
    ],
)
def test_cards_are_read_strictly(change: dict[str, Any], message: str) -> None:
    value = {**json.loads(json.dumps(standin.card().to_json())), **change}
    with pytest.raises(BundleError, match=message):
        BundleCard.from_json(value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((48, 2, "grey", (0.0,), (1.0,)), "1 or 3 channels"),
        ((48, 1, "rgb", (0.0,), (1.0,)), "an rgb input has 3 channels"),
        ((48, 3, "rgb", (0.0,), (1.0,)), "one value per channel: 3 each, not 1 and 1; set them together"),
        ((48, 1, "grey", (0.0,), (1.0, 1.0)), "one value per channel: 1 each, not 1 and 2; set them together"),
        ((48, 1, "grey", (0.0,), (0.0,)), "needs a std from 1e-6 to 1000, not 0$"),
        ((48, 3, "rgb", (0.0,) * 3, (1.0, float("nan"), 1.0)), "needs a std from 1e-6 to 1000, not nan$"),
        ((48, 1, "grey", (0.0,), (float("inf"),)), "needs a std from 1e-6 to 1000, not inf$"),
        ((48, 1, "grey", (float("nan"),), (1.0,)), "has a mean from -1000 to 1000 .*, not nan$"),
        ((48, 1, "grey", (1e30,), (1.0,)), "has a mean from -1000 to 1000 .*, not 1e\\+30$"),
        ((4, 1, "grey", (0.0,), (1.0,)), "outside 8–1024"),
        ((48, 1, "grey", (0.0,), (1.0,), 40), "hold no crop of 48"),
    ],
)
def test_input_specs_are_checked(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        InputSpec(*values)


def test_defaults() -> None:
    assert InputSpec(40, 1, "grey", (0,), (1,), 48).face_size == 48
    assert InputSpec(40, 1, "grey", (0,), (1,)).face_size == 40
    assert Framing() == Framing(align="none")
