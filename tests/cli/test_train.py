from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flat_file import flat_file
from mien.bundle import read_bundle
from mien.cli import main
from mien.datasets import DATASETS, DataSet, FaceSet, drawn_faces
from mien.systems.described import described

TINY = ["--data", "drawn", "--set", "epochs=1", "--set", "compile=false", "--set", "system.widths=[4, 8]"]
TINY += ["--set", "system.depths=[1, 1]", "--device", "cpu", "--json"]


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments)])
    return int(stop.value.code or 0)


@pytest.fixture(autouse=True)
def few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS._entries, "drawn", DataSet("drawn", "few", make=few))


def few(count: int = 70, seed: int = 0) -> FaceSet:
    return drawn_faces(count, seed)


@pytest.fixture(autouse=True)
def nothing_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems that one test brings along are not known to the next one."""
    from mien.systems import brought

    monkeypatch.setattr(brought, "_cards", {})
    monkeypatch.setattr(brought, "_sources", {})


def test_train_goes_on_and_distils(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert run("train", "compact", *TINY, "--out", tmp_path) == 0
    first = json.loads(capsys.readouterr().out)
    assert run("train", "compact", *TINY, "--out", tmp_path) == 2
    assert "add --resume" in capsys.readouterr().err
    assert run("train", "compact", *TINY, "--out", tmp_path, "--init", first["folder"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["start"]["weights_sha256"] == first["weights_sha256"]
    teachers = ["--teacher", first["folder"], "--teacher", second["folder"]]
    started = ["--init", first["folder"], "--alpha", "0.5"]
    assert run("distill", *teachers, "--student", "compact", *TINY, "--out", tmp_path, *started) == 0
    student = json.loads(capsys.readouterr().out)
    assert student["start"]["weights_sha256"] == first["weights_sha256"]
    assert [each["weights_sha256"] for each in student["teacher"]] == [r["weights_sha256"] for r in (first, second)]
    bundle = tmp_path / "student.onnx"
    assert run("export", student["folder"], "--onnx", bundle, "--data", "none") == 0
    training = read_bundle(bundle).card.notes["training"]
    assert (training["start"], training["teacher"]) == (student["start"], student["teacher"])
    capsys.readouterr()
    assert run("distill", "--teacher", tmp_path, "--student", "compact", *TINY, "--out", tmp_path) == 2
    assert "is no run folder" in capsys.readouterr().err


def test_a_training_in_another_precision_than_its_recipe_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from mien.training.compute import precision

    told = [argument for argument in TINY if argument != "--json"]
    for has, says in ((False, True), (True, False)):
        monkeypatch.setattr(precision, "has_bf16", lambda has=has: has)
        assert run("train", "compact", *told, "--out", tmp_path / str(has)) == 0
        told_first = capsys.readouterr().err.partition("epoch")[0]
        assert ("computed in fp32: the processor has no fast bf16" in told_first) == says


def without_torch(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.modules['torch'] = None\nfrom mien.cli import main\nmain({arguments!r})"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "vgnet"], "did you mean 'vggnet'?"),
        (["train", "compact", "--data", "fer2031"], "did you mean 'fer2013'?"),
        (["train", "compact", "--fold", "x"], "--fold is all or the number of a fold, not 'x'"),
        (["distill", "--teacher", "runs/x", "--student", "compct"], "did you mean 'compact'?"),
        (["distill", "--teacher", "runs/x", "--student", "compact"], "runs/x is no run folder"),
        (["distill", "--teacher", "defualt", "--student", "compact"], "did you mean 'default'?"),
        (["train", "compact", "--recipe", "mein"], "compact has no recipe 'mein'; did you mean 'mien'?"),
        (["train", "compact", "--recipe", "no.toml"], "no.toml: No such file or directory"),
        (["train", "compact", "--set", "optim.lrr=1"], "a recipe has no 'optim.lrr'; did you mean 'optim.lr'?"),
        (["train", "compact", "--set", "system.width=1"], "has no option 'width'"),
        (["train", "compact", "--set", "system=3"], "'system' is a group of settings; set one of them, for example"),
        (["train", "compact", "--set", "optim=3"], "'optim' is a group of settings; set one of them, for example"),
        (["train", "compact", "--set", "input.resize=48", "--set", "input.size=64"], "no crop of 64 px can be cut"),
        (
            ["train", "compact", "--set", "input.resize=48", "--set", "input.size=64"],
            "takes, compact needs packages that are not installed: pip install 'mien[train]'",
        ),
        (["train", "compact", "--protocol", "fer2013/privat@1"], "did you mean 'fer2013/private@1' or"),
        (["train", "compact", "--extra-images", "no.csv"], "no.csv is no file"),
        (["evaluate", "runs/x"], "runs/x is no run folder"),
        (["evaluate", "runs/x", "--device", "cdua"], "no device is called 'cdua'"),
    ],
)
def test_misspelt_names_are_told_before_torch_is_loaded(arguments: list[str], message: str) -> None:
    done = without_torch(arguments)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_a_recipe_of_another_system_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    """Whatever kinds the two are of; nothing in it is held against the system that it is not about."""
    tomls = {name: next(iter(about.recipes.values()))["toml"] for name, about in described().items()}
    for ours, theirs in (("compact", "vggnet"), ("compact", "turtle"), ("turtle", "compact")):
        path = tmp_path / f"{theirs}.toml"
        path.write_text(tomls[theirs], encoding="utf-8")
        done = without_torch(["train", ours, "--recipe", str(path)])
        assert done.returncode == 2
        told = " ".join(done.stderr.split())
        assert told == f"mien: {path} is a recipe of {theirs!r}, not of {ours!r}; give one of that system"


@pytest.mark.parametrize("verb", [["train", "compact"], ["distill", "--student", "compact"], ["evaluate"]])
def test_a_device_that_is_not_here_is_one_sentence(
    verb: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    from mien.evaluation.devices import device_of

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    given = {"distill": ["--teacher", "default"], "evaluate": ["default"]}.get(verb[0], [])
    assert run(*verb, *given, "--device", "cuda") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert told.startswith("mien: there is no device 'cuda' here (")
    assert told.endswith("); choose auto, for the best there is, or cpu")
    assert device_of("auto") in ("cpu", "mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("auto") == "cuda"
    assert device_of("cuda:1") == "cuda:1"


def test_resume_without_a_run_says_so_and_a_finished_training_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run knows its data set: it is measured and exported on it, and where the result goes is told."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    assert run("train", "compact", *TINY, "--resume") == 0
    output = capsys.readouterr()
    folder = json.loads(output.out)["folder"]
    assert f"--resume found no earlier run of these settings, so this one begins anew: {folder}" in output.err
    assert json.loads(output.out)["data_options"] == {"count": 70, "seed": 0}
    assert run("evaluate", folder, "--split", "test") == 0
    told = capsys.readouterr().out
    assert "compact · own/test@1 · one" in told
    assert "noted in my-results/ledger.jsonl:\nmy-results/own/test@1/compact/" in told
    assert not Path("results").exists()
    assert run("export", folder, "--onnx", "compact.onnx") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "every decision is equal" in told
    assert "of the faces are decided" in told
    assert "{" not in told
    assert run("evaluate", "compact.onnx") == 0
    told = capsys.readouterr().out
    assert "my-results/own/test@1/compact/" in told
    assert "ledger" not in told
    assert run("evaluate", "compact.onnx", "--split", "test", "--no-save") == 0
    told = capsys.readouterr().out
    assert told.endswith("the opening of the test split is noted in my-results/ledger.jsonl\n")
    assert "recorded" not in told
    assert run("export", folder, "--onnx", "x.onnx", "--data", "none", "--int8") == 2
    assert "leave out --data none" in capsys.readouterr().err
    assert run("export", folder, "--onnx", "x.onnx", "--method", "minmax") == 2
    assert "--method says how --int8 is calibrated" in capsys.readouterr().err


def test_a_run_and_its_bundle_are_measured_on_the_very_faces_that_were_drawn_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    import mien
    from mien.training import Recipe

    monkeypatch.chdir(tmp_path)
    settings = [word for word in TINY if "=" in word]
    data = mien.load_dataset("drawn", seed=1)
    assert data.fingerprint != mien.load_dataset("drawn").fingerprint
    recipe = Recipe.of(mien.systems.card("compact")).set(settings)
    made = mien.train("compact", data.train, data.selection, recipe=recipe, device="cpu")
    made.export("compact.onnx")
    capsys.readouterr()
    for subject in (made.folder, "compact.onnx"):
        assert run("evaluate", subject, "--no-save", "--json") == 0
        assert json.loads(capsys.readouterr().out)["data_fingerprint"] == data.fingerprint
    # What a stranger's file says is not obeyed blindly.
    for options, message in (
        (
            {"count": 10**9, "seed": 0},
            "1,000,000,000 drawn faces are behind it; more than 100,000 are not drawn for that",
        ),
        ({"count": "many"}, "it says that it was trained on drawn with the options {'count': 'many'}"),
    ):
        (made.folder / "run.json").write_text(json.dumps({**made.info, "data_options": options}))
        for verb in (["evaluate"], ["export", "--onnx", "x.onnx"]):
            assert run(verb[0], made.folder, *verb[1:]) == 2
            assert message in " ".join(capsys.readouterr().err.split())


def test_a_file_of_a_system_is_refused_where_no_run_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bundle_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flat.py").write_text("raise AssertionError('executed')")
    for arguments in (
        ["evaluate", bundle_path],
        ["evaluate", "default"],
        ["evaluate", "--onnx", "x.onnx", "--adapter", "x.py"],
        ["export", bundle_path, "--web", "page"],
        ["report", "1f3a9c2e"],
    ):
        assert run(*arguments, "--system", "flat.py") == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "--system" in told
        assert re.search("run folder|are for runs", told)


SYSTEM = flat_file(16, recipe='{"epochs": 1, "compile": False}')


def test_a_system_in_a_file_is_trained_and_its_file_is_never_run_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from mien.systems import brought

    monkeypatch.chdir(tmp_path)
    Path("flat.py").write_text(SYSTEM)
    data = ["--data", "drawn", "--device", "cpu"]
    assert run("train", "flat.py:flot", *data) == 2
    assert "holds no system 'flot'; did you mean 'flat'?" in capsys.readouterr().err
    assert run("train", "flat.py", *data, "--json") == 0
    info = json.loads(capsys.readouterr().out)
    assert info["source"]["file"] == str(tmp_path / "flat.py")

    def forget() -> None:  # as another process would begin
        brought._cards.clear()
        brought._sources.clear()

    forget()
    assert run("evaluate", info["folder"], "--no-save") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "a Python file, which opening a run does not execute; name it if you trust it: --system flat.py" in told
    assert run("ensemble", info["folder"], info["folder"]) == 2
    assert "an ensemble takes the bundle that `mien export` writes of it" in " ".join(capsys.readouterr().err.split())
    assert run("evaluate", info["folder"], "--no-save", "--system", "flat.py") == 0
    Path("other.toml").write_text((Path(info["folder"]) / "recipe.toml").read_text().replace('"flat"', '"plain"'))
    assert run("train", "flat.py", *data, "--recipe", "other.toml") == 2
    assert "other.toml is a recipe of 'plain', not of 'flat'" in capsys.readouterr().err
    Path("flat.py").write_text(SYSTEM + "# changed")
    forget()
    assert run("export", info["folder"], "--onnx", "flat.onnx", "--system", "flat.py") == 2
    assert "was begun with another 'flat'" in capsys.readouterr().err
    assert run("train", "flat.py", *data, "--resume") == 2
    assert "was begun with another 'flat'" in capsys.readouterr().err
    Path("moved.py").write_text(SYSTEM)
    from mien.training import Run

    forget()
    assert Run.open(info["folder"], system="moved.py").module().card.title == "Flat"
    forget()
    Path("flat.py").write_text(SYSTEM.replace('"flat"', '"compact"'))
    assert run("train", "flat.py", *data) == 2
    assert "the id 'compact' is that of a system of mien; give yours another one" in capsys.readouterr().err


def test_a_card_is_trained_and_given_again(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import mien
    from mien.errors import InputError, RunError
    from mien.systems import brought

    space: dict[str, object] = {"__name__": "typed_in"}
    exec(SYSTEM, space)
    card = space["CARDS"]["flat"]  # type: ignore[index]
    data = drawn_faces(70)
    made = mien.train(card, data.train, data.selection, out=tmp_path, device="cpu")
    assert made.source == {"class": "typed_in.Flat"}
    result = mien.evaluate(made, data.selection, results=tmp_path)
    assert result.system == "flat"
    brought._cards.clear()
    brought._sources.clear()
    opened = mien.Run.open(made.folder)
    with pytest.raises(
        RunError, match=r"given as a Card \(typed_in.Flat\); give that card again: mien.Run.open\(FOLDER"
    ):
        opened.module()
    assert mien.Run.open(made.folder, system=card).module().card is card
    with pytest.raises(InputError, match=r"the whole face set was given in the place of a split; give data\.train of"):
        mien.train(card, data, data)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"give data\.selection or data\.test of"):
        mien.evaluate(made, data)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a system is given by its id, as a Card or as a file, not as a int"):
        mien.train(3, data.train, data.selection)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a recipe is a name, a file or a Recipe, not a dict"):
        mien.train("compact", data.train, data.selection, recipe={})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a data set is given by its name"):
        mien.load_dataset(data)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a run is opened by its folder"):
        mien.Run.open(made)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="count of drawn faces is a whole number from 1, not '70'"):
        drawn_faces("70")  # type: ignore[arg-type]


def test_a_long_fit_says_what_it_is_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from mien.systems.turtle import Turtle

    def fit(self: object, split: object, *, seed: int, notify: object) -> None:
        for stage in ("features sift", "features sift", "k-means"):
            notify(stage, 0, 1)  # type: ignore[operator]
        raise KeyboardInterrupt

    monkeypatch.setattr(Turtle, "check", lambda self, split, *scored: None)
    monkeypatch.setattr(Turtle, "fit", fit)
    assert run("train", "turtle", "--data", "drawn", "--out", tmp_path) == 130
    assert capsys.readouterr().err.startswith("features sift\nk-means\n")
