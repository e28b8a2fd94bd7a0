"""From a run to a bundle: the same answers, a card that says everything, nothing of the machine that made it."""

from __future__ import annotations

import getpass
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mien
from mien.bundle import BundleCard, Framing, read_bundle
from mien.datasets import FaceSet, copies_of, load_dataset
from mien.errors import InputError, RunError
from mien.evaluation import evaluate, score
from mien.evaluation.scorers import torch_logits
from mien.export import Export, add_results, export_run
from mien.export import bundling as bundling_module
from mien.export.equalisation import equalise
from mien.export.half import to_fp16
from mien.export.onnx import to_onnx
from mien.export.quantisation import to_int8
from mien.faces.inference import open_session
from mien.recognition.network import Network
from mien.results import metrics
from mien.training import Run


@pytest.fixture(scope="module")
def fp32(trained: Run, faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export_run(trained, tmp_path_factory.mktemp("fp32") / "tiny.onnx", data=faces)


@pytest.fixture(scope="module")
def int8(trained: Run, faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export_run(
        trained, tmp_path_factory.mktemp("int8") / "tiny.onnx", data=faces, precision="int8", name="tiny8"
    )


def test_fp32_answers_as_torch_does(trained: Run, faces: FaceSet, fp32: Export) -> None:
    bundle = read_bundle(fp32.path)
    spec, images = trained.recipe.input, faces.train.images
    ours = score(images, spec, Network(bundle, 1).logits)
    theirs = score(images, spec, torch_logits(trained.module()))
    assert (np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max() <= 1e-4
    assert (ours.argmax(1) == theirs.argmax(1)).all()
    assert fp32.report["parity"]["largest_deviation"] <= 1e-4
    embedding = Network(bundle, 1).embedding(np.zeros((2, 1, 48, 48), np.float32))
    with torch.no_grad():
        np.testing.assert_allclose(embedding, trained.module().embed(torch.zeros(2, 1, 48, 48)), atol=1e-4)


def test_the_card_says_everything(trained: Run, faces: FaceSet, fp32: Export) -> None:
    card = read_bundle(fp32.path).card
    assert card == fp32.bundle.card
    assert (card.name, card.system, card.precision) == ("compact", "compact", "fp32")
    assert card.labelset() is faces.label_set
    assert card.input == trained.recipe.input
    assert card.framing == Framing()
    assert card.recipe_hash == trained.recipe.hash
    training = card.notes["training"]
    assert training["recipe"] == trained.recipe.to_dict()
    assert training["weights_sha256"] == trained.info["weights_sha256"]
    assert training["data_fingerprint"] == faces.fingerprint
    assert card.notes["export"] == fp32.report
    assert fp32.report["selection_accuracy"] == pytest.approx(trained.info["selection_accuracy"], abs=1e-6)
    assert BundleCard.from_json(card.to_json()) == card


def test_temperature_and_threshold_are_fitted_on_selection(faces: FaceSet, fp32: Export) -> None:
    card = fp32.bundle.card
    selection = faces.selection
    fit = ~copies_of(selection.groups, faces.train.groups)
    labels = np.asarray(selection.labels)[fit]
    network = Network(fp32.bundle, 1)
    for view in ("one", "flip"):
        scores = score(selection.images, card.input, network.logits, view)[fit]
        assert card.temperatures[view] == metrics.fit_temperature(scores, labels)
    one = score(selection.images, card.input, network.logits)[fit]
    confidence = metrics.softmax(one, card.temperatures["one"])
    decided = confidence.max(1) >= card.threshold
    report = fp32.report["threshold"]
    assert report["coverage"] == pytest.approx(decided.mean(), abs=1e-4)
    if report["reached"]:
        right = (confidence.argmax(1) == labels)[decided]
        assert report["accuracy_when_decided"] == pytest.approx(right.mean(), abs=1e-4)
        assert report["accuracy_when_decided"] >= 0.8 - 1e-4
    else:  # a network that cannot hold the target decides nothing
        assert not decided.any()
        assert report["accuracy_when_decided"] is None


def test_a_vector_of_scales_is_in_the_graph_and_told(
    trained: Run, faces: FaceSet, int8: Export, tmp_path: Path
) -> None:
    made = export_run(trained, tmp_path / "v.onnx", data=faces, precision="int8", name="tiny8", calibration="vector")
    told = made.report["vector_scaling"]
    selection = faces.selection
    fit = ~copies_of(selection.groups, faces.train.groups)
    labels = np.asarray(selection.labels)[fit]
    plain, scaled = (
        score(selection.images, export.bundle.card.input, Network(export.bundle, 1).logits) for export in (int8, made)
    )
    np.testing.assert_allclose(scaled, plain * told["scale"] + told["bias"], atol=1e-4)
    scale, bias = metrics.fit_vector(plain[fit], labels)
    np.testing.assert_allclose(told["scale"], scale, atol=1e-5)
    np.testing.assert_allclose(told["bias"], bias, atol=1e-5)
    assert told["faces"] == fit.sum()
    assert set(told["held_out"]) == {"temperature", "vector"}
    wanted = metrics.accuracy(scaled.argmax(axis=1), np.asarray(selection.labels))
    assert told["selection_accuracy"] == pytest.approx(wanted, abs=1e-6)
    assert evaluate(made.path, selection, results=tmp_path / "r").environment["calibration"] == "vector"
    assert "calibration" not in evaluate(int8.path, selection, results=tmp_path / "r").environment
    # The pull holds it near the temperature; on the faces it was fitted on it cannot be worse.
    one = made.bundle.card.temperatures["one"]
    before = metrics.nll(metrics.softmax(plain[fit], int8.bundle.card.temperatures["one"]), labels)
    assert metrics.nll(metrics.softmax(scaled[fit], one), labels) <= before + 1e-6
    assert made.report["same_decision"] == int8.report["same_decision"]
    assert read_bundle(made.path).card.notes["export"]["vector_scaling"] == told


def test_a_vector_needs_faces_and_a_name_that_exists(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a vector is calibrated on faces"):
        export_run(trained, tmp_path / "v.onnx", calibration="vector")
    with pytest.raises(InputError, match="temperature or vector, not 'platt'"):
        export_run(trained, tmp_path / "v.onnx", calibration="platt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("view", ["one", "flip"])
def test_the_recogniser_gives_what_evaluation_measured(faces: FaceSet, fp32: Export, tmp_path: Path, view: str) -> None:
    result = evaluate(fp32.path, faces.selection, views=view, results=tmp_path)
    seen = mien.Recognizer(model=fp32.path, detector=None, threads=1).classify(faces.selection.images, views=view)
    assert result.selection_scores is not None
    wanted = metrics.softmax(result.selection_scores.astype(np.float64), fp32.bundle.card.temperatures[view])
    np.testing.assert_allclose(seen.probabilities, wanted, atol=1e-2)  # recorded logits are multiples of 1/32
    assert (seen.probabilities.argmax(1) == wanted.argmax(1)).all()
    np.testing.assert_array_equal(seen.decided, seen.confidence >= fp32.bundle.card.threshold)


def test_int8_runs_and_is_small(trained: Run, faces: FaceSet, fp32: Export, int8: Export) -> None:
    card = read_bundle(int8.path).card
    assert (card.name, card.precision) == ("tiny8", "int8")
    assert card.sha256 != fp32.bundle.card.sha256
    assert 0.5 < int8.report["same_decision"] <= 1
    assert int8.report["selection_accuracy_fp32"] == fp32.report["selection_accuracy"]
    seen = mien.Recognizer(model=int8.path, detector=None).classify(faces.selection.images)
    assert len(seen) == len(faces.selection)
    full = score(faces.train.images, card.input, Network(fp32.bundle, 1).logits)
    quantised = score(faces.train.images, card.input, Network(int8.bundle, 1).logits)
    assert np.abs(full - quantised).mean() < 0.1 * full.std()
    import onnx

    operators = {node.op_type for node in onnx.load_from_string(int8.bundle.model).graph.node}
    assert "QuantizeLinear" in operators
    assert "BatchNormalization" not in operators


def test_half_precision_is_half_the_size_and_answers_alike(
    trained: Run, faces: FaceSet, fp32: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling_module, "to_onnx", lambda module, spec: fp32.bundle.model)
    done = export_run(trained, tmp_path / "half.onnx", data=faces, precision="fp16")
    card = read_bundle(done.path).card
    assert card.precision == "fp16"
    assert done.report["bytes"] < 0.75 * fp32.report["bytes"]  # the graph of a tiny network weighs as much
    assert done.report["selection_accuracy_fp32"] == fp32.report["selection_accuracy"]
    assert done.report["same_decision"] > 0.99
    assert 0 < done.report["logit_change"]["mean"] <= done.report["logit_change"]["largest"] < 0.05
    seen = mien.Recognizer(model=done.path, detector=None).classify(faces.selection.images)
    assert seen.probabilities.dtype == np.float32
    embedding = Network(done.bundle, 1).embedding(np.zeros((2, 1, 48, 48), np.float32))
    assert embedding.dtype == np.float32


def test_what_half_precision_cannot_hold_is_refused(fp32: Export) -> None:
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(fp32.bundle.model)
    tensor = next(t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1e8), tensor.name))
    with pytest.raises(RunError, match="export as fp32"):
        to_fp16(proto.SerializeToString())


def test_equalised_channels_compute_the_same(trained: Run, faces: FaceSet, fp32: Export, tmp_path: Path) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, folded = tmp_path / "plain.onnx", tmp_path / "folded.onnx"
    plain.write_bytes(fp32.bundle.model)
    quant_pre_process(str(plain), str(folded))
    inputs = np.random.default_rng(0).normal(size=(32, 1, 48, 48)).astype(np.float32)
    before, after = folded.read_bytes(), equalise(folded.read_bytes(), inputs)
    assert before != after
    for output in ("logits", "embedding"):
        was, now = (open_session(model).run([output], {"input": inputs})[0] for model in (before, after))
        np.testing.assert_allclose(now, was, rtol=1e-3, atol=1e-4 * np.abs(was).max())


def test_the_same_run_exports_to_the_same_graph(trained: Run, faces: FaceSet, fp32: Export, tmp_path: Path) -> None:
    assert export_run(trained, tmp_path / "a.onnx", data=faces).bundle.card == fp32.bundle.card


def test_nothing_of_the_exporting_machine_is_inside(fp32: Export, int8: Export) -> None:
    places = {tempfile.gettempdir(), str(Path.home()), str(Path(mien.__file__).parents[2]), "site-packages", "/mien/"}
    if len(getpass.getuser()) > 4:
        places.add(getpass.getuser())
    for export in (fp32, int8):
        data = export.path.read_bytes()
        assert data == export.bundle.model
        for place in places:
            assert place.encode() not in data, place


def test_results_are_added_without_touching_the_graph(fp32: Export, tmp_path: Path) -> None:
    path = tmp_path / "copy.onnx"
    path.write_bytes(fp32.path.read_bytes())
    add_results(path, {"one": "0123456789abcdef"})
    added = add_results(path, {"flip": "fedcba9876543210"})
    again = read_bundle(path)
    assert again == added
    assert again.card.results == {"one": "0123456789abcdef", "flip": "fedcba9876543210"}
    assert again.card.sha256 == fp32.bundle.card.sha256
    assert replace(again.card, results={}) == fp32.bundle.card


@pytest.fixture
def known_graph(fp32: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's graph without waiting for another export of it."""
    monkeypatch.setattr(bundling_module, "to_onnx", lambda module, spec: fp32.bundle.model)


@pytest.mark.usefixtures("known_graph")
def test_without_data_it_stays_neutral(trained: Run, tmp_path: Path) -> None:
    bundle = trained.export(tmp_path / "plain.onnx", framing=Framing(margin=1.3))
    assert bundle.card.temperatures == {"one": 1.0}
    assert bundle.card.threshold == 0
    assert bundle.card.framing.margin == 1.3


def refused(error: type[Exception], message: str, run: Run, folder: Path, **options: Any) -> None:
    with pytest.raises(error, match=message):
        export_run(run, folder / "x.onnx", **options)
    assert not list(folder.iterdir())


@pytest.mark.usefixtures("known_graph")
def test_refusals_write_nothing(trained: Run, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    refused(InputError, "as fp32, fp16 or int8, not 'int4'", trained, folder, precision="int4")
    refused(InputError, "int8 .* give data=", trained, folder, precision="int8")
    refused(InputError, "trained on other data", trained, folder, data=load_dataset("drawn", count=70))
    refused(
        InputError, "feeds 40 px, but a bundle of compact takes 48", trained, folder, data=faces, views=["tencrop@40"]
    )
    refused(InputError, "did you mean 'flip'", trained, folder, data=faces, views=["flop"])
    refused(InputError, "no calibration method", trained, folder, data=faces, precision="int8", method="best")
    refused(InputError, "target accuracy", trained, folder, data=faces, accuracy_when_decided=2.0)
    classical = replace(trained, recipe=replace(trained.recipe, system_id="local-learning-bow"))
    refused(InputError, "local-learning-bow is no network", classical, folder)
    refused(RunError, "is unfinished; give the", replace(trained, folder=tmp_path), folder)
    for wrong in (lambda model: 1.001, lambda model: np.nan):

        class Off(Network):
            def logits(self, inputs: Any, factor: float = wrong(None)) -> Any:
                return super().logits(inputs) * factor + 0.1

        monkeypatch.setattr(bundling_module, "_graph", lambda model, card: Off(bundling_module.Bundle(card, model), 1))
        refused(RunError, "does not compute what torch computes", trained, folder)


def test_a_graph_takes_any_number_of_faces(trained: Run, fp32: Export) -> None:
    network = Network(fp32.bundle, 1)
    for count in (1, 2, 77):
        assert network.logits(np.zeros((count, 1, 48, 48), np.float32)).shape == (count, 7)


@pytest.mark.full
@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_other_calibrations(trained: Run, faces: FaceSet, method: str) -> None:
    inputs: list[Any] = []

    def keep(images: Any) -> Any:
        inputs.append(images)
        return np.zeros((len(images), 2), np.float32)

    score(faces.train.images, trained.recipe.input, keep)
    quantised = to_int8(to_onnx(trained.module(), trained.recipe.input), np.concatenate(inputs), method=method)
    assert b"QuantizeLinear" in quantised
