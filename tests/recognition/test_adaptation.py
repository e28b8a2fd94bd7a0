from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import standin
from mien.bundle import read_bundle
from mien.cli import main
from mien.errors import BundleError, InputError
from mien.labels import FER2013
from mien.recognition import Recognizer, adaptation
from mien.recognition.adaptation import Adaptation, Gain, _folds, _gain, adapt, read_crops, read_persons, write
from mien.recognition.correction import correct_logits
from mien.recognition.logistic import Correction, fit_correction
from mien.recognition.network import Network
from mien.results.metrics import softmax


def crops(count: int, seed: int, *, dim: float = 1.0, rolled: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy faces of the stand-in; ``dim`` makes them hard to tell, ``rolled`` moves each label's strip."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 7, count)
    faces = np.stack([standin.face(FER2013[(label + rolled) % 7]) for label in labels]) * dim
    return np.clip(faces + draw.normal(100, 60, faces.shape), 0, 255).astype(np.uint8), labels


BLANK = Adaptation("prior", None, 60, {}, Gain(0, 0, 0, 0), Gain(0, 0, 0, 0), {"one": 1.0}, 0.5, Correction.none(7))


@pytest.fixture
def recognizer(bundle_path: Path) -> Recognizer:
    return Recognizer(bundle_path, detector=None, threads=1)


def test_a_linear_layer_learns_what_the_bundle_gets_wrong(recognizer: Recognizer, tmp_path: Path) -> None:
    faces, labels = crops(200, 0, dim=0.3, rolled=1)  # every label looks like the next one
    found = adapt(recognizer, faces, labels)
    assert found.method == "linear"
    assert found.gain
    assert found.accuracy.before < 0.1
    assert found.accuracy.after > 0.8
    assert found.accuracy.low > 0.6
    assert found.gained == ("accuracy", "nll")
    assert str(found).startswith(
        "a gain in accuracy and NLL (linear, 200 crops, cross-validated, 97.5 % intervals): accuracy "
    )

    adapted = Recognizer(write(found, recognizer.bundle, tmp_path / "a.onnx"), detector=None)
    fresh, truth = crops(300, 1, dim=0.3, rolled=1)
    after = (adapted.classify(fresh).ids == truth).mean()
    assert after == pytest.approx(found.accuracy.after, abs=0.1)  # as cross-validation said
    card = adapted.card
    assert (card.name, dict(card.results)) == ("standin-adapted", {})
    assert card.extra_data == ("200 labelled crops (adaptation)",)
    assert card.notes["adaptation"]["from"] == recognizer.card.sha256 != card.sha256
    assert read_bundle(tmp_path / "a.onnx").card == card


def test_the_written_graph_computes_the_correction(recognizer: Recognizer, tmp_path: Path) -> None:
    faces, labels = crops(60, 2, dim=0.3, rolled=1)
    found = adapt(recognizer, faces, labels)
    once = Recognizer(write(found, recognizer.bundle, tmp_path / "1.onnx"), detector=None)
    wanted = recognizer.logits(faces) + recognizer.embed(faces) @ found.correction.weight + found.correction.bias
    np.testing.assert_allclose(once.logits(faces), wanted, atol=1e-4)
    np.testing.assert_array_equal(once.embed(faces), recognizer.embed(faces))
    assert once.classify(faces, views="flip").probabilities.shape == (60, 7)
    again = adapt(once, faces, labels)  # adapting an adapted bundle
    if again.correction.weight is None:
        again = found
    twice = Recognizer(write(again, once.bundle, tmp_path / "2.onnx"), detector=None)
    wanted = once.logits(faces) + once.embed(faces) @ again.correction.weight + again.correction.bias
    np.testing.assert_allclose(twice.logits(faces), wanted, atol=1e-4)


def test_a_bias_alone_and_a_graph_without_an_output() -> None:
    bias = np.arange(7, dtype=np.float32)
    plain, shifted = (Network(read_bundle(standin_bundle(model)), 1) for model in (GRAPH, correct_logits(GRAPH, bias)))
    inputs = np.random.default_rng(0).normal(size=(3, 1, 48, 48)).astype(np.float32)
    np.testing.assert_allclose(shifted.logits(inputs), plain.logits(inputs) + bias, atol=1e-5)
    scale = np.linspace(0.5, 2, 7, dtype=np.float32)
    scaled = Network(read_bundle(standin_bundle(correct_logits(GRAPH, bias, scale=scale))), 1)
    np.testing.assert_allclose(scaled.logits(inputs), plain.logits(inputs) * scale + bias, atol=1e-5)
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(onnx.load_from_string(correct_logits(GRAPH, bias, np.ones((8, 7), np.float32))))
    with pytest.raises(BundleError, match="no node of the graph computes 'logits'"):
        correct_logits(GRAPH.replace(b"logits", b"lagits"), bias)


def test_without_an_embedding_the_linear_layer_is_left_out(tmp_path: Path) -> None:
    path = standin.write(tmp_path / "b.onnx", standin.graph(embedding=False))
    faces, labels = crops(80, 3)
    labels = np.minimum(labels, 3)  # four labels, the last of them in four cases of seven
    assert adapt(Recognizer(path, detector=None), faces, labels).method in ("temperature", "prior")


def test_chance_is_no_gain(recognizer: Recognizer) -> None:
    shown = 0
    for seed in range(3):
        faces, _ = crops(60, seed)
        labels = np.random.default_rng(seed + 50).permutation(60) % 7
        found = adapt(recognizer, faces, labels, seed=seed)
        shown += found.accuracy.shown
        assert found.accuracy.after < 0.4
    assert shown <= 1


@pytest.mark.parametrize("count", [50, 200])
def test_without_a_true_gain_chance_claims_one_in_at_most_5_of_100(count: int) -> None:
    """Before and after are exchangeable, so nothing is gained; either figure may claim it all the same.

    With two intervals of 90 % the same draws claim a gain more often than that.
    """
    draw, trials = np.random.default_rng(1), 200
    claimed = dict.fromkeys((adaptation.LEVEL, 0.9), 0)
    for _ in range(trials):
        p = draw.beta(2, 1, (2, count))  # of the true label, before and after
        p[1] = np.where(draw.random(count) < 0.6, p[0], p[1])  # most answers stay
        right, loss = (p > 0.5).astype(float), -np.log(np.maximum(p, 1e-7))
        for level in claimed:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(adaptation, "LEVEL", level)
                sides = [_gain(of, np.arange(count), better=sign) for of, sign in ((right, 1), (loss, -1))]
            found = replace(BLANK, accuracy=sides[0], nll=sides[1])
            claimed[level] += found.gain
    assert claimed[adaptation.LEVEL] / trials <= 0.05
    assert claimed[0.9] / trials > 0.05  # so the test can tell


def test_what_is_gained_is_said() -> None:
    better, same, worse = Gain(0.67, 0.70, 0.01, 0.05), Gain(0.67, 0.671, -0.01, 0.01), Gain(0.7, 0.6, -0.1, -0.02)
    said = {
        (better, better): (("accuracy", "nll"), "a gain in accuracy and NLL"),
        (better, same): (("accuracy",), "a gain in accuracy, none in NLL"),
        (same, better): (("nll",), "a gain in NLL alone: better calibrated, not more accurate"),
        (same, same): ((), "no gain is shown"),
        (worse, better): ((), "less accurate, so no gain is shown"),
        (better, worse): ((), "worse probabilities, so no gain is shown"),
    }
    for (accuracy, nll), (gained, verdict) in said.items():
        found = replace(BLANK, accuracy=accuracy, nll=nll)
        assert found.gained == gained
        assert found.gain == bool(gained)
        assert str(found).startswith(verdict)
        assert found.to_json()["gained"] == list(gained)


def test_a_good_bundle_is_left_alone(bundle_path: Path) -> None:
    recognizer = Recognizer(bundle_path, detector=None)
    faces = np.random.default_rng(5).integers(0, 256, (120, 48, 48), np.uint8)
    faces = np.clip(faces * 0.2 + 100 + 20 * np.random.default_rng(6).normal(size=(120, 1, 48)), 0, 255).astype(
        np.uint8
    )
    probabilities = recognizer.classify(faces).probabilities
    draw = np.random.default_rng(7)
    labels = np.array([draw.choice(7, p=p / p.sum()) for p in probabilities.astype(float)])
    found = adapt(recognizer, faces, labels)  # the labels follow its own probabilities: nothing is to be gained
    assert not found.accuracy.shown
    assert found.nll.high < 0.1


def test_frames_of_one_person_do_not_stand_for_others(recognizer: Recognizer) -> None:
    """Each person has an odd look and one odd label: learnt by heart, it says nothing about other persons."""
    draw = np.random.default_rng(3)
    looks = draw.integers(0, 256, (12, 48, 48))
    persons = np.repeat(np.arange(12), 10)
    labels = (draw.permutation(12) % 7)[persons]
    faces = np.clip(looks[persons] + draw.normal(0, 5, (120, 48, 48)), 0, 255).astype(np.uint8)
    apart, together = adapt(recognizer, faces, labels), adapt(recognizer, faces, labels, groups=persons)
    assert apart.accuracy.shown
    assert not together.accuracy.shown
    assert together.accuracy.after < apart.accuracy.after - 0.3
    assert any("show the same person" in sentence for sentence in apart.warnings())
    assert not any("show the same person" in sentence for sentence in together.warnings())
    with pytest.raises(InputError, match="one for each of the 120"):
        adapt(recognizer, faces, labels, groups=persons[:5])
    with pytest.raises(InputError, match="of 3 persons"):
        adapt(recognizer, faces, labels, groups=persons % 3)


def test_groups_are_joined_along_chains() -> None:
    one, other = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 1, 2, 3, 4])
    found = adaptation._joined(one, other)
    assert len(set(found[:4].tolist())) == 1
    assert len(set(found.tolist())) == 3


def test_folders_below_a_label_are_persons(tmp_path: Path) -> None:
    for name in ("happy/ada/1", "happy/ada/2", "happy/bob/1", "sad/ada/1", "sad/loose", "sad/lone"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    persons = read_persons(tmp_path, FER2013)
    assert persons is not None
    assert len(persons) == len(read_crops(tmp_path, FER2013)[1]) == 6
    assert [persons.tolist().count(person) for person in dict.fromkeys(persons.tolist())] == [3, 1, 1, 1]
    shutil.rmtree(tmp_path / "happy")
    shutil.rmtree(tmp_path / "sad" / "ada")
    assert read_persons(tmp_path, FER2013) is None


def test_equal_crops_stay_together_and_labels_are_spread() -> None:
    labels, groups = np.repeat([0, 1, 1, 2], 10), np.arange(40) // 2
    folds = _folds(labels, groups, 5, 0)
    assert (np.sum(folds, axis=0) == 1).all()
    for fold in folds:
        assert set(groups[fold]) & set(groups[~fold]) == set()
        assert np.bincount(labels[fold], minlength=3).tolist() == [2, 4, 2]


def test_the_optimum_is_found() -> None:
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(150, 12)), draw.integers(0, 4, 150)
    base = draw.normal(size=(150, 4))
    found = fit_correction(base, features, labels, pull=0.1)
    linear = pytest.importorskip("scipy.optimize")
    centred = features - features.mean(0)
    scale = np.sqrt((centred**2).mean())

    def cost(flat: np.ndarray) -> float:
        theta = flat.reshape(13, 4)
        p = softmax(base + theta[0] + centred / scale @ theta[1:])
        fit = -np.log(p[np.arange(150), labels]).mean()
        return float(fit + 0.05 * (theta[1:] ** 2).sum() + 0.5 / 150 * (theta[0] ** 2).sum())

    best = linear.minimize(cost, np.zeros(52), method="L-BFGS-B", options={"maxfun": 10**5}).fun
    assert found.weight is not None
    ours = np.vstack([found.bias + features.mean(0) @ found.weight, found.weight * scale])
    assert cost(ours.ravel()) == pytest.approx(best, abs=1e-6)


def test_too_few_and_wrong_labels(recognizer: Recognizer) -> None:
    faces, labels = crops(30, 4)
    for few, said in ((labels[:19], "19 crops"), (np.zeros(30, int), "of 1 labels")):
        with pytest.raises(InputError, match=said):
            adapt(recognizer, faces[: len(few)], few)
    with pytest.raises(InputError, match="lie in 0–6"):
        adapt(recognizer, faces, labels + 3)


# The command line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    faces, labels = crops(70, 0, dim=0.3, rolled=1)
    for number, (face, label) in enumerate(zip(faces, labels, strict=True)):
        path = tmp_path / "crops" / FER2013[label].capitalize() / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(path)
    return tmp_path / "crops"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_a_folder_becomes_a_bundle(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.onnx"
    assert run("adapt", folder, "--model", bundle_path, "-o", out, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["method"], report["crops"], report["out"]) == ("linear", 70, str(out))
    assert run("predict", "--model", out, "--crops", "-r", folder, "--json") == 0
    entries = json.loads(capsys.readouterr().out)
    right = [entry["faces"][0]["label"] == Path(entry["file"]).parent.name.lower() for entry in entries]
    assert np.mean(right) > 0.8


def test_no_gain_is_status_1_and_nothing_is_written(
    folder: Path,
    bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, arguments = tmp_path / "mine.onnx", ["adapt", folder, "--model", bundle_path]
    none = Gain(0.5, 0.52, -0.01, 0.05)
    monkeypatch.setattr(
        adaptation, "adapt", lambda *given, **named: replace(adapt(*given, **named), accuracy=none, nll=none)
    )
    shutil.rmtree(folder / "Happy")
    assert run(*arguments, "-o", out) == 1
    err = capsys.readouterr().err
    assert "no gain is shown (linear" in err
    assert "+2.0 points [-1.0, +5.0]" in err
    assert "no crop of happy: the adapted bundle will hardly ever say so" in err
    assert "nothing was written" in err
    assert not out.exists()
    assert run(*arguments, "-o", out, "--anyway") == 0
    assert out.exists()


def test_folders_that_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        read_crops(tmp_path / "none", FER2013)
    with pytest.raises(InputError, match="holds no crops"):
        read_crops(tmp_path, FER2013)
    (tmp_path / "hapy").mkdir()
    (tmp_path / "hapy" / "a.png").touch()
    with pytest.raises(InputError, match="did you mean 'happy'"):
        read_crops(tmp_path, FER2013)


GRAPH = standin.graph()


def standin_bundle(model: bytes) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return standin.write(Path(folder) / "b.onnx", model).read_bytes()
