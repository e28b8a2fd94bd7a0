from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

import standin
from mien.errors import BundleError, InputError
from mien.labels import FER2013
from mien.recognition import Recognizer, bundles
from mien.recognition.bundles import default_bundle, open_bundle


def put(folder: Path, name: str) -> bytes:
    """A bundle in the place of the default one, packed as that is; the bundle."""
    standin.write(folder / "bundle.onnx", name=name)
    model = (folder / "bundle.onnx").read_bytes()
    (folder / bundles.MODEL).write_bytes(bundles.pack(model))
    return model


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the installed package."""
    monkeypatch.setattr(bundles, "files", lambda name: tmp_path)
    model = put(tmp_path, name="standin")
    digest = hashlib.sha256(model).hexdigest()
    (tmp_path / bundles.PIN).write_text(json.dumps({"sha256": digest}))
    return tmp_path


def test_the_pinned_bundle_is_used(package: Path) -> None:
    assert bundles.default_bundle().card.name == "standin"
    assert Recognizer().card.name == "standin"


@pytest.mark.parametrize("name", [bundles.MODEL, bundles.PIN])
def test_a_missing_file_is_an_error_that_helps(package: Path, name: str) -> None:
    (package / name).unlink()
    with pytest.raises(BundleError, match="reinstall mien"):
        Recognizer()


@pytest.mark.parametrize("pin", ["", "[]", "{}", "null"])
def test_a_damaged_pin(package: Path, pin: str) -> None:
    (package / bundles.PIN).write_text(pin)
    with pytest.raises(BundleError, match="damaged"):
        bundles.default_bundle()


def test_another_bundle_in_its_place_is_refused(package: Path) -> None:
    put(package, name="another")  # a bundle, and intact, but not the released one
    with pytest.raises(BundleError, match="not the released"):
        bundles.default_bundle()


@pytest.mark.parametrize("spoiled", [b"", b"no gzip", bundles.pack(b"x" * 100)[:-9], gzip.compress(b"\0" * 20_000_000)])
def test_what_cannot_be_unpacked_is_refused(package: Path, spoiled: bytes) -> None:
    with pytest.raises(ValueError):
        bundles.unpack(spoiled)
    (package / bundles.MODEL).write_bytes(spoiled)
    with pytest.raises(BundleError, match="not the released"):
        bundles.default_bundle()


def test_a_bundle_that_could_not_be_unpacked_is_not_packed() -> None:
    with pytest.raises(BundleError, match="at most 16,000,000 bytes, not 16,000,001"):
        bundles.pack(b"\0" * 16_000_001)


SHIPPED = Path(bundles.__file__).parent / bundles.MODEL


@pytest.mark.skipif(not SHIPPED.exists(), reason="the default bundle is not in this checkout")
def test_the_shipped_bundle_says_what_it_is() -> None:
    card = bundles.default_bundle().card
    assert SHIPPED.stat().st_size <= 5_000_000
    assert card.labelset() == FER2013
    assert card.licence == "MIT"
    assert 0 < card.threshold < 1
    assert card.results["one"]
    assert card.recipe_hash


@pytest.mark.skipif(not SHIPPED.exists(), reason="the default bundle is not in this checkout")
def test_it_has_a_name_wherever_a_bundle_is_asked_for() -> None:
    assert open_bundle("default").card.sha256 == Recognizer("default").card.sha256 == default_bundle().card.sha256
    with pytest.raises(InputError, match="did you mean 'default'"):
        open_bundle("defualt")


@pytest.mark.skipif(not SHIPPED.exists(), reason="the default bundle is not in this checkout")
def test_the_shipped_bundle_sees_the_astronaut_smile() -> None:
    faces = Recognizer().predict(Path(__file__).parents[2] / "examples" / "astronaut.jpg")
    assert faces.labels == ["happy"]
    assert faces.decided.all()
