"""Measured again: a bundle from its file, a run by training, a bundle by training where that is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mien.datasets import FaceSet
from mien.errors import InputError
from mien.evaluation import evaluate
from mien.results import Result, difference, measured_differs, protocols
from mien.training import Run, reproduce


@pytest.fixture
def ranked(faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol of own data, as if it were about these drawn faces."""
    real = protocols.get
    monkeypatch.setattr(protocols, "get", lambda name: replace(real(name), face_set="drawn"))
    monkeypatch.setattr("mien.training.reproduction.load_dataset", lambda name, path: faces)


def same(recorded: Result, again: Result) -> bool:
    return not measured_differs(difference(recorded, again))


@pytest.mark.usefixtures("ranked")
def test_a_run_is_trained_again_or_taken_from_its_folder(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    recorded = evaluate(trained, faces.test, results=tmp_path)
    from_folder = reproduce(recorded, source=trained.folder, results=tmp_path)
    assert same(recorded, from_folder)
    assert from_folder.weights_sha256 == recorded.weights_sha256
    again = reproduce(recorded, results=tmp_path)
    assert again.weights_sha256 == recorded.weights_sha256  # equal seeds, equal machine: to the last bit
    assert same(recorded, again)
    # Each of them opened the test split, and the ledger says so.
    assert len({recorded.opening, from_folder.opening, again.opening}) == 3


@pytest.mark.usefixtures("ranked")
def test_a_bundle_is_evaluated_again_and_trained_again_on_request(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    path = tmp_path / "small.onnx"
    recorded = evaluate(trained.export(path, data=faces), faces.selection, results=tmp_path)
    assert recorded.kind == "bundle"
    assert same(recorded, reproduce(recorded, source=path, results=tmp_path))
    again = reproduce(recorded, retrain=True, results=tmp_path)
    assert again.kind == "bundle"
    assert same(recorded, again)
    assert again.opening is None


@pytest.mark.usefixtures("ranked")
def test_what_cannot_be_measured_again(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    recorded = evaluate(trained, faces.selection, results=tmp_path)
    with pytest.raises(InputError, match="training again needs no weights"):
        reproduce(recorded, source=trained.folder, retrain=True)
    with pytest.raises(InputError, match="holds other weights"):
        reproduce(replace(recorded, weights_sha256="ab"), source=trained.folder)
    with pytest.raises(InputError, match="neither recipe nor seed"):
        reproduce(replace(recorded, recipe={}))
    with pytest.raises(InputError, match="another bundle than the default one"):
        reproduce(replace(recorded, kind="bundle"))
    with pytest.raises(InputError, match="of kind 'submitted'"):
        reproduce(replace(recorded, kind="submitted"))
