"""Ensembles: averaged, chosen on the selection split only, and merged into one graph that computes the same."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import mien
from mien.bundle import Bundle, BundleCard, InputSpec, read_bundle, write_bundle
from mien.cli import application
from mien.datasets import FaceSet, copies_of
from mien.ensembles import choose, ensemble_of_results, export_ensemble, make, named_members, network_ensemble
from mien.ensembles.again import rebuild
from mien.errors import InputError, ResultError, SealedSplitError, UnknownNameError
from mien.evaluation import score, subject_of
from mien.evaluation.data_choice import data_for, notes_of
from mien.labels import FER2013, LabelSet
from mien.recognition.network import Network
from mien.results import Ledger, Result, metrics, protocols, verify
from mien.results.averages import check_average
from mien.systems.named_ensembles import CARDS

PRIVATE = protocols.get("fer2013/private@1")


def _invented(folder: Path, **changes: Any) -> Result:
    found = importlib.util.spec_from_file_location("invented", Path(__file__).parents[1] / "results" / "conftest.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    made: Result = module.invented_result(folder, **changes)
    return made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    folder = tmp_path_factory.mktemp("members")
    return [_invented(folder, seed=seed, skill=skill) for seed, skill in ((0, 0.7), (1, 0.7), (2, 0.3))]


# Recorded results


def test_the_mean_of_independent_members_is_more_likely_than_each(results: list[Result], tmp_path: Path) -> None:
    together = ensemble_of_results(results[:2], name="pair", test=True, folder=tmp_path)
    assert together.kind == "ensemble"
    assert together.views == "members"
    calibrated = [metrics.softmax(r.test_scores, r.metrics["temperature"]) for r in results[:2]]
    expected = (calibrated[0] + calibrated[1]) / 2
    assert together.test_scores is not None
    np.testing.assert_allclose(metrics.softmax(together.test_scores), expected, atol=1.2e-2)
    members = together.recipe["members"]
    assert [m["result"] for m in members] == [r.id for r in results[:2]]
    assert [m["weight"] for m in members] == [0.5, 0.5]
    assert together.trained == {"members": [{"commit": None, "dirty": None}] * 2}  # as invented results say of theirs
    noted = [replace(r, trained={"commit": f"{n}f", "dirty": bool(n)}) for n, r in enumerate(results[:2])]
    said = ensemble_of_results(noted, name="pair").trained
    assert said == {"members": [{"commit": "0f", "dirty": False}, {"commit": "1f", "dirty": True}]}
    assert together.metrics["nll"] < min(r.metrics["nll"] for r in results)


def test_its_number_about_the_test_split_is_an_opening(results: list[Result], tmp_path: Path) -> None:
    quiet = ensemble_of_results(results, folder=tmp_path)
    assert quiet.test is None
    assert not (tmp_path / "ledger.jsonl").exists()
    together = ensemble_of_results(results, name="trio", test=True, folder=tmp_path)
    assert Ledger(tmp_path / "ledger.jsonl").counts() == {"trio": 1}
    together.save(tmp_path)
    # Its members prove it: where they are not recorded, it does not hold.
    assert "is not among the results that hold" in verify(tmp_path, systems=["vggnet"]).findings[0].message


def test_verify_recomputes_an_ensemble_from_its_members(tmp_path: Path) -> None:
    members = [_invented(tmp_path, seed=seed, extra_data=["ImageNet-1k"]) for seed in (0, 1)]
    for member in members:
        member.save(tmp_path)
    options: dict[str, Any] = {"systems": ["vggnet", "trio"], "ensembles": {"trio": ["vggnet:0", "vggnet:1"]}}
    ensemble_of_results(members, name="trio", test=True, folder=tmp_path).save(tmp_path)
    assert verify(tmp_path, **options).holds
    assert "called like the system" in verify(tmp_path, systems=["vggnet", "trio"]).findings[0].message
    for name, changes, message in (
        ("other", {}, "not the mean of its members"),
        ("clean", {"extra_data": []}, "learnt from ImageNet-1k, which its extra_data does not name"),
    ):
        folder = tmp_path / name
        members = [_invented(folder, seed=seed, extra_data=["ImageNet-1k"]) for seed in (0, 1)]
        for member in members:
            member.save(folder)
        recipe = ensemble_of_results(members, folder=folder).recipe
        made = {"kind": "ensemble", "views": "members", "seed": 7, "recipe": recipe, "extra_data": ["ImageNet-1k"]}
        _invented(folder, system="forged", **{**made, **changes}).save(folder)
        assert [message in finding.message for finding in verify(folder, **options).findings] == [True]


def test_a_strangers_predictions_are_no_member_and_no_system_is_replaced(results: list[Result], tmp_path: Path) -> None:
    stranger = replace(results[1], kind="submitted", system="stranger")
    with pytest.raises(InputError, match="is submitted; an ensemble consists of what was measured here"):
        ensemble_of_results([results[0], stranger], how="weights", test=True, folder=tmp_path)
    for name in ("vggnet", "residual-masking-seven"):
        with pytest.raises(InputError, match="is the name of a system, and this ensemble is not it"):
            ensemble_of_results(results, name=name, test=True, folder=tmp_path)
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize("how", ["greedy", "weights"])
def test_a_choice_prefers_the_members_that_help(results: list[Result], how: str, tmp_path: Path) -> None:
    chosen = ensemble_of_results(results, how=how, folder=tmp_path)
    weights = [m["weight"] for m in chosen.recipe["members"]]
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    assert weights[2] < min(weights[:2])
    answers = PRIVATE.selection
    assert answers is not None
    members = [metrics.softmax(result.selection_scores) for result in results]
    assert choose(members, answers, PRIVATE, how).nll < choose(members, answers, PRIVATE).nll


def test_a_choice_minds_no_copies_of_training_faces(results: list[Result]) -> None:
    answers = PRIVATE.selection
    assert answers is not None
    random = np.random.default_rng(0)
    honest = metrics.softmax(np.eye(7)[answers.labels] + random.normal(0, 1, (len(answers), 7)))
    parrot = np.full((len(answers), 7), 1 / 7)
    parrot[~answers.fit] = np.eye(7)[answers.labels[~answers.fit]]
    assert choose([honest, parrot], answers, PRIVATE, "greedy").weights.tolist() == [1, 0]
    assert choose([honest, parrot], answers, PRIVATE).faces == int(answers.fit.sum())


def test_choosing_on_the_test_split_is_refused(results: list[Result], faces: FaceSet) -> None:
    probabilities = [metrics.softmax(r.test_scores) for r in results]
    test = PRIVATE.test
    with pytest.raises(SealedSplitError, match="chosen on PublicTest"):
        choose(probabilities, test, PRIVATE, "greedy")
    # Neither another name for it, nor some of its rows among those of the selection split.
    with pytest.raises(SealedSplitError):
        choose(probabilities, replace(test, split="PublicTest"), PRIVATE, "greedy")
    selection = PRIVATE.selection
    assert selection is not None
    mixed = selection.rows.copy()
    mixed[0] = test.rows[0]
    with pytest.raises(SealedSplitError):
        choose(probabilities, replace(selection, rows=mixed), PRIVATE, "weights")
    with pytest.raises(SealedSplitError, match="never on 'test'"):
        network_ensemble(["a.onnx", "b.onnx"], faces.test)
    with pytest.raises(SealedSplitError, match="never on 'train'"):
        network_ensemble(["a.onnx", "b.onnx"], faces.train)


def test_members_that_do_not_belong_together_are_refused(results: list[Result], tmp_path: Path) -> None:
    def refused(members: list[Result], message: str, **options: Any) -> None:
        with pytest.raises(InputError, match=message):
            ensemble_of_results(members, folder=tmp_path, **options)
        assert not (tmp_path / "ledger.jsonl").exists()

    folder = tmp_path / "members"
    one = results[0]
    refused([one], "at least 2")
    refused([one, one], "the same network")
    refused([one, replace(results[1], data_fingerprint="ab" * 32)], "fingerprints differ")
    refused([one, _invented(folder, protocol="ferplus/majority@1")], "measured under")
    refused([one, _invented(folder, seed=5, test_scores=None)], "not measured on the test split", test=True)
    refused([one, _invented(folder, seed=6, kind="classical", scores_kind="clusters")], "no probabilities")
    refused([one, results[1]], "chosen by all, greedy, weights", how="gready")


def test_margins_are_averaged_over_a_fitted_temperature(results: list[Result], tmp_path: Path) -> None:
    kernel = _invented(tmp_path, seed=7, skill=0.7, kind="classical", scores_kind="margins")
    assert "temperature" not in kernel.metrics
    together = ensemble_of_results([results[0], kernel], name="mixed", test=True, folder=tmp_path)
    answers, scores = kernel.selection, kernel.selection_scores
    assert answers is not None
    assert scores is not None
    fitted = metrics.fit_temperature(scores[answers.fit], answers.labels[answers.fit])
    assert together.recipe["members"][1]["temperature"] == pytest.approx(fitted)
    assert together.metrics["nll"] < results[0].metrics["nll"]
    recorded = {result.id: result for result in (results[0], kernel)}
    check_average(together, recorded)
    other = {**together.recipe["members"][1], "temperature": 1.2 * fitted}
    recipe = {**together.recipe, "members": [together.recipe["members"][0], other]}
    with pytest.raises(ResultError, match="temperature of its member"):
        check_average(replace(together, recipe=recipe), recorded)


# Named ensembles


def test_a_named_ensemble_names_all_its_missing_members(results: list[Result]) -> None:
    with pytest.raises(InputError, match="lacks 8 of its 8 members under view flip: pramerdorfer-vgg seed 0, "):
        named_members("pramerdorfer-eight", results)
    with pytest.raises(UnknownNameError, match="pramerdorfer-eight"):
        named_members("pramerdorfer-eigth", results)


def test_a_named_ensemble_is_made_of_what_is_recorded(tmp_path: Path) -> None:
    for member in CARDS["residual-masking-seven"].options["members"]:
        system, _, seed = member.partition(":")
        _invented(tmp_path, system=system, seed=int(seed), views="rot8").save(tmp_path)
    made, bundle = make(["residual-masking-seven"], results=tmp_path, split="test")
    assert bundle is None
    assert made.system == "residual-masking-seven"
    assert len(made.recipe["members"]) == 7
    with pytest.raises(InputError, match="hold scores, no graphs"):
        make(["residual-masking-seven"], results=tmp_path, onnx=tmp_path / "all.onnx")


def test_members_lie_in_either_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for member in CARDS["pramerdorfer-eight"].options["members"]:
        system, _, seed = member.partition(":")
        folder = Path("my-results" if seed == "0" else "results")
        _invented(folder, system=system, seed=int(seed)).save(folder)
    made, _ = make(["pramerdorfer-eight"], views="one")
    assert len(made.recipe["members"]) == len(CARDS["pramerdorfer-eight"].options["members"])
    assert rebuild(made, "results").metrics == made.metrics


def test_a_named_ensemble_is_a_system_that_is_not_trained(faces: FaceSet, tmp_path: Path) -> None:
    assert mien.systems.card("pramerdorfer-eight").kind == "ensemble"
    with pytest.raises(InputError, match="mien ensemble pramerdorfer-eight"):
        mien.train("pramerdorfer-eight", faces.train, faces.selection, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# Networks


def _bundle(path: Path, spec: InputSpec, seed: int, fingerprint: str, labels: LabelSet = FER2013) -> Path:
    """A linear network on an 8 × 8 mean of its input."""
    from onnx import TensorProto, helper, numpy_helper

    side = spec.size // 8
    weights = np.random.default_rng(seed).normal(0, 1.5, (64 * spec.channels, 7)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
    ]
    shape = ["N", spec.channels, spec.size, spec.size]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 7]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 64 * spec.channels]),
        ],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    card = BundleCard(
        name=path.stem,
        system="strips",
        label_set=labels.name,
        labels=labels.labels,
        input=spec,
        opset=18,
        notes={"training": {"seed": seed, "data_fingerprint": fingerprint, "cost": {"params": 10}}},
    )
    write_bundle(path, model.SerializeToString(), card)
    return path


GREY = InputSpec(48, 1, "grey", (0.5,), (0.25,))
SPECS = {
    "crop": InputSpec(40, 1, "grey", (0.5,), (0.3,), resize=48),
    "large": InputSpec(96, 3, "grey", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "large-crop": InputSpec(64, 3, "rgb", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), resize=72),
}


@pytest.fixture(scope="module")
def bundles(faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    specs = {"plain": GREY, "plain2": GREY, **SPECS}
    return {
        name: _bundle(folder / f"{name}.onnx", spec, seed, faces.fingerprint)
        for seed, (name, spec) in enumerate(specs.items())
    }


def test_bundles_are_measured_together(bundles: dict[str, Path], faces: FaceSet, tmp_path: Path) -> None:
    both = network_ensemble([bundles["plain"], bundles["plain2"]], faces.selection, how="all")
    result = mien.evaluate(both, faces.test, views="members", results=tmp_path)
    assert (result.kind, result.views, result.seed) == ("ensemble", "members", None)
    assert Ledger(tmp_path / "ledger.jsonl").counts() == {"ensemble": 1}
    expected = 0
    for path, member in zip((bundles["plain"], bundles["plain2"]), both.members, strict=True):
        logits = score(faces.selection.images, GREY, Network(read_bundle(path), 1).logits)
        assert member.temperature is not None
        expected = expected + metrics.softmax(logits, member.temperature) / 2
    np.testing.assert_allclose(metrics.softmax(result.selection_scores), expected, atol=1.2e-2)
    with pytest.raises(InputError, match="knows the view members"):
        mien.evaluate(both, faces.selection, results=tmp_path)


@pytest.mark.parametrize("others", [["plain2"], ["crop"], ["large"], ["large-crop"], ["plain2", *SPECS]])
def test_one_graph_computes_what_its_members_do(
    bundles: dict[str, Path], faces: FaceSet, tmp_path: Path, others: list[str]
) -> None:
    chosen = network_ensemble([bundles[name] for name in ("plain", *others)], faces.selection, name="merged")
    chosen = replace(chosen, weights=np.linspace(1, 2, len(others) + 1) / np.linspace(1, 2, len(others) + 1).sum())
    bundle = export_ensemble(chosen, tmp_path / "merged.onnx", faces)
    assert bundle.card.notes["export"]["parity"]["largest_difference"] < 1e-4
    said = bundle.card.notes["export"]["threshold"]
    assert said["threshold"] == bundle.card.threshold
    fit = ~copies_of(faces.selection.groups, faces.train.groups)
    logits = score(faces.selection.images[fit], bundle.card.input, Network(bundle, 1).logits)
    confidence = metrics.softmax(logits, bundle.card.temperatures["one"]).max(axis=1)
    assert said["coverage"] == pytest.approx((confidence >= bundle.card.threshold).mean(), abs=2e-3)
    assert bundle.card.input.size == 48
    assert bundle.card.input.channels == (3 if "large-crop" in others else 1)
    again = read_bundle(tmp_path / "merged.onnx")
    random = np.random.default_rng(3).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    found = score(random, again.card.input, Network(again, 1).logits)
    np.testing.assert_allclose(metrics.softmax(found), metrics.softmax(chosen.scores(random)), atol=1e-4)
    result = mien.evaluate(again, faces.selection, results=tmp_path)
    assert result.kind == "bundle"
    recognised = mien.Recognizer(model=again).classify(random)
    assert len(recognised) == 5


def test_one_graph_knows_whose_its_members_are_and_their_faces(tmp_path: Path) -> None:
    """Of systems of one's own it is one's own, and drawn faces are drawn again as its members had them."""
    drawn = mien.load_dataset("drawn", count=140, seed=3)
    training = {**notes_of(drawn), "source": {"class": "notebook.Strips"}}
    paths = [_bundle(tmp_path / f"m{seed}.onnx", GREY, seed, drawn.fingerprint) for seed in range(2)]
    for path in paths:
        bundle = read_bundle(path)
        notes = {"training": {**bundle.card.notes["training"], **training}}
        write_bundle(path, bundle.model, replace(bundle.card, notes=notes))
    export_ensemble(network_ensemble(paths, drawn.selection), tmp_path / "both.onnx", drawn)
    merged = read_bundle(tmp_path / "both.onnx")
    assert subject_of(merged).source == {"class": "notebook.Strips"}
    assert data_for([merged]).fingerprint == drawn.fingerprint


def test_members_without_weight_are_left_out(bundles: dict[str, Path], faces: FaceSet, tmp_path: Path) -> None:
    chosen = network_ensemble([bundles["plain"], bundles["plain2"], bundles["crop"]], faces.selection)
    chosen = replace(chosen, weights=np.array([0.5, 0.5, 0.0]))
    small = export_ensemble(chosen, tmp_path / "small.onnx", faces)
    assert b"m2." not in small.model
    assert chosen.subject().cost["members"] == 2


def test_a_graph_that_would_differ_is_not_written(bundles: dict[str, Path], faces: FaceSet, tmp_path: Path) -> None:
    from mien.errors import RunError

    chosen = network_ensemble([bundles["plain"], bundles["plain2"]], faces.selection)
    swapped: tuple[Bundle, ...] = chosen.sources[::-1]
    with pytest.raises(RunError, match="nothing was written"):
        export_ensemble(replace(chosen, sources=swapped, weights=np.array([0.9, 0.1])), tmp_path / "no.onnx", faces)
    assert not (tmp_path / "no.onnx").exists()


def test_networks_that_do_not_belong_together(bundles: dict[str, Path], faces: FaceSet, tmp_path: Path) -> None:
    stranger = _bundle(tmp_path / "stranger.onnx", GREY, 9, "ab" * 32)
    with pytest.raises(InputError, match="trained on other data"):
        network_ensemble([bundles["plain"], stranger], faces.selection)
    turned = LabelSet("turned", FER2013.labels[::-1])
    other = _bundle(tmp_path / "turned.onnx", GREY, 9, faces.fingerprint, turned)
    with pytest.raises(InputError, match="the faces are labelled angry"):
        network_ensemble([bundles["plain"], other], faces.selection)
    with pytest.raises(InputError, match="under view one"):
        export_ensemble(
            network_ensemble([bundles["plain"], bundles["plain2"]], faces.selection, views="flip"),
            tmp_path / "flip.onnx",
            faces,
        )


# The command


def test_the_command_records_and_writes(bundles: dict[str, Path], tmp_path: Path, mien_cache: Path) -> None:
    folder = mien.load_dataset("drawn", count=210, seed=5)
    assert folder.fingerprint
    recorded = [_invented(tmp_path, seed=seed) for seed in (0, 1)]
    for result in recorded:
        result.save(tmp_path)
    run = CliRunner().invoke(
        application(),
        ["ensemble", recorded[0].id, recorded[1].id[:8], "--choose", "weights", "--name", "two", "--json",
         "--results", str(tmp_path)],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    said = json.loads(run.stdout)
    assert said["system"] == "two"
    assert Path(said["path"]).is_file()


def test_what_is_of_own_data_stays_together(
    trained: mien.Run, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results, their average and the ledger lie in one folder, also where nobody names it."""
    monkeypatch.chdir(tmp_path)
    members = []
    for views in ("one", "flip"):
        result = mien.evaluate(trained, faces.test, views=views)
        result.save("my-results")
        members.append(result)
    before = len(Ledger(Path("my-results/ledger.jsonl")).lines())
    paths = [str(result.path("my-results")) for result in members]
    for given in ([result.id for result in members], paths):
        run = CliRunner().invoke(application(), ["ensemble", *given, "--name", "pair", "--split", "test", "--json"])
        assert run.exit_code == 0, (run.output, run.exception)
        assert Path(json.loads(run.stdout)["path"]).parent == Path("my-results/own/test@1/pair")
    assert not Path("results").exists()
    assert len(Ledger(Path("my-results/ledger.jsonl")).lines()) > before
    assert verify("my-results").holds


def test_a_bundle_is_a_member_by_its_name(bundles: dict[str, Path], faces: FaceSet) -> None:
    with pytest.raises(InputError, match="default and default are the same network"):
        network_ensemble(["default", "default"], faces.selection)
    # It is taken for a bundle, and then it learnt from other faces than the other member.
    with pytest.raises(InputError, match="was trained on other data than the first member"):
        make(["default", bundles["plain"]], data="drawn")
    with pytest.raises(InputError, match="give results, or bundles and runs, not both"):
        make(["default", "0123abcd"])


def test_members_of_somebodys_own_make_an_ensemble_of_his_own(tmp_path: Path) -> None:
    mine = _invented(tmp_path, seed=0, system="flat", source={"sha256": "0" * 64})
    both = ensemble_of_results([mine, _invented(tmp_path, seed=1)], name="pair", folder=tmp_path)
    assert both.source == mine.source
    for result in (mine, both):
        result.save(tmp_path)
    told = [finding.message for finding in verify(tmp_path, systems=["vggnet", "compact"], ranked=True).findings]
    assert sum("is of a system in a file or class of its owner's" in message for message in told) == 2


def test_ids_are_looked_up_in_both_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    published = [_invented(Path("results"), seed=seed) for seed in (0, 1)]
    for result in published:
        result.save("results")
    made, _ = make([published[0].id, published[1].id[:6]], split="test")
    Path("my-results").mkdir()
    for path in Path("results").rglob(f"{published[0].id}.*"):  # the same result in both is one
        (Path("my-results") / path.name).write_bytes(path.read_bytes())
    assert make([published[0].id[:6], published[1].id[:6]])[0].recipe["members"] == made.recipe["members"]
    assert made.save("results").is_file()
    with pytest.raises(ResultError, match="no result under results and my-results is called 'abcdef12'"):
        make(["abcdef12", published[0].id])
    with pytest.raises(ResultError, match="no result under my-results is called"):
        make([published[1].id, published[0].id], results="my-results")


def test_networks_are_measured_on_the_data_that_they_were_trained_on(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = []
    for seed in (0, 1):
        path = _bundle(tmp_path / f"{seed}.onnx", GREY, seed, faces.fingerprint)
        bundle = read_bundle(path)
        training = {**bundle.card.notes["training"], "data": "drawn", "data_options": {"count": 210, "seed": 5}}
        write_bundle(path, bundle.model, replace(bundle.card, notes={"training": training}))
        paths.append(path)
    assert make(paths)[0].data_fingerprint == faces.fingerprint
    run = CliRunner().invoke(application(), ["ensemble", *map(str, paths), "--no-save", "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["data_fingerprint"] == faces.fingerprint


def test_mixed_members_are_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not both"):
        make([bundles["plain"], "abcdef12"], results=tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'pramerdorfer-eight'"):
        make(["pramerdorfer-eigth"], results=tmp_path)
