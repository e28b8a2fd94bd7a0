"""One seed, one outcome: whatever interrupts a training, and without a look at the test split."""

from __future__ import annotations

import json
import math
import signal
import sys
from pathlib import Path
from typing import Any

import apart
import numpy as np
import pytest
import tiny
import torch

from mien import systems
from mien.datasets import FaceSet, Split, load_dataset
from mien.errors import InputError, RecipeError, RunError, SealedSplitError
from mien.labels import LabelSet
from mien.results import Ledger
from mien.training import Progress, Run, choosing, loop, train
from mien.training.compute import precision
from mien.training.pipeline import variants


@pytest.fixture(scope="module")
def whole(drawn: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run."""
    return tiny.run(drawn, tmp_path_factory.mktemp("whole"))


def test_a_finished_run_says_what_it_is(whole: Run, drawn: FaceSet) -> None:
    assert whole.finished
    assert Run.open(whole.folder) == whole
    assert {path.name for path in whole.folder.iterdir()} == {
        "run.json", "recipe.toml", "log.jsonl", "weights.safetensors",
    }  # fmt: skip
    assert whole.folder.name == f"compact-mien-{whole.recipe.hash[:8]}-s0"
    assert [entry["epoch"] for entry in whole.log] == [0, 1, 2]
    best = max(whole.log, key=lambda entry: (entry["selection_accuracy"], -entry["epoch"]))
    assert whole.info["best_epoch"] == best["epoch"]
    assert whole.info["data_fingerprint"] == drawn.fingerprint
    cost = whole.info["cost"]
    assert (cost["epochs"], cost["input"]) == (3, [1, 48, 48])
    assert cost["params"] == sum(p.numel() for p in whole.module().parameters())
    # 5×5 from 1 to 4 channels at 24 px; two 3×3 at 24 px; 3×3 from 4 to 8 and from 8 to 8, 1×1 at 12 px; the head.
    assert cost["macs"] == 24**2 * (25 * 4 + 2 * 9 * 4 * 4) + 12**2 * (9 * 4 * 8 + 9 * 8 * 8 + 4 * 8) + 8 * 7
    assert "mien" in whole.info["environment"]["versions"]
    assert str(Path.home()) not in json.dumps(whole.info)


def test_the_same_seed_gives_the_same_weights(whole: Run, drawn: FaceSet, tmp_path: Path) -> None:
    torch.manual_seed(99)  # what the caller did before does not matter, and nothing of it is changed
    state = torch.get_rng_state()
    again = tiny.run(drawn, tmp_path)
    assert again.info["weights_sha256"] == whole.info["weights_sha256"]
    assert torch.equal(torch.get_rng_state(), state)
    for ours, theirs in zip(again.log, whole.log, strict=True):
        assert {**ours, "seconds": 0, "faces_per_second": 0} == {**theirs, "seconds": 0, "faces_per_second": 0}


def test_another_seed_gives_other_weights(whole: Run, drawn: FaceSet, tmp_path: Path) -> None:
    other = tiny.run(drawn, tmp_path, seed=1)
    assert other.info["weights_sha256"] != whole.info["weights_sha256"]
    assert other.folder.name.endswith("-s1")


def test_the_test_rows_make_no_difference(whole: Run, drawn: FaceSet, tmp_path: Path) -> None:
    without = tiny.run(drawn.without_test(), tmp_path)
    assert without.info["data_fingerprint"] != drawn.fingerprint
    assert without.info["weights_sha256"] == whole.info["weights_sha256"]


def test_the_test_split_cannot_be_given(drawn: FaceSet, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    opening = ledger.open_split("own/test@1", "test", "x", "run", "00", "00", "one", drawn.fingerprint)
    for test in (drawn.test, drawn.test.open(opening)):
        for pair in ((test, drawn.selection), (drawn.train, test)):
            with pytest.raises(SealedSplitError, match="never see the test split"):
                train("compact", *pair, out=tmp_path / "runs")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"learn from data\.train"):
        train("compact", drawn.selection, drawn.selection, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def killed(folder: Path, epoch: int, step: int, *changes: str) -> None:
    said = folder.with_name(f"{folder.name}.said")
    assert apart.run(tiny.main, str(folder), str(epoch), str(step), *changes, said=said) == -signal.SIGKILL, (
        said.read_text()
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_run_continues_to_the_same_weights(whole: Run, drawn: FaceSet, tmp_path: Path) -> None:
    killed(tmp_path, 1, 3)
    with pytest.raises(RunError, match=r"exists \(stopped\); add --resume"):
        tiny.run(drawn, tmp_path)
    epochs: list[int] = []
    resumed = tiny.run(drawn, tmp_path, resume=True, on_progress=lambda p: epochs.append(p.epoch))
    assert min(epochs) == 1, "it started anew"
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]
    assert len(resumed.log) == 3


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    "changes",
    [
        ("optim.name=adamw", "optim.lr=0.01"),
        ("optim.name=radam", "ema=0", "precision=bf16"),
        ("channels_last=false", "schedule.name=plateau", "schedule.patience=0", "keep=last"),
        ("optim.momentum=0", "optim.nesterov=false", "schedule.name=onecycle", "schedule.warmup=0"),
        ("compile=true",),
    ],
)
def test_every_kind_of_run_continues(drawn: FaceSet, tmp_path: Path, changes: tuple[str, ...]) -> None:
    reference = tiny.run(drawn, tmp_path / "whole", *changes)
    for epoch, step in ((0, 2), (1, 1), (2, 5)):
        killed(tmp_path / "killed", epoch, step, *changes)
    resumed = tiny.run(drawn, tmp_path / "killed", *changes, resume=True)
    assert resumed.info["weights_sha256"] == reference.info["weights_sha256"]


@pytest.mark.parametrize("name", ["adamw", "radam", "adam"])
def test_optimisers_continue_where_they_were(drawn: FaceSet, tmp_path: Path, name: str) -> None:
    def stop(progress: Progress) -> None:
        if progress.epoch == 1:
            raise KeyboardInterrupt

    changes = (f"optim.name={name}", "optim.lr=0.01", "epochs=2")
    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, tmp_path / "stopped", *changes, on_progress=stop)
    resumed = tiny.run(drawn, tmp_path / "stopped", *changes, resume=True)
    assert resumed.info["weights_sha256"] == tiny.run(drawn, tmp_path / "whole", *changes).info["weights_sha256"]


def test_a_kill_while_the_outcome_is_written(
    whole: Run, drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.Run.save_info

    def save_info(run: Run) -> None:
        if run.finished:
            raise KeyboardInterrupt
        real(run)

    monkeypatch.setattr(loop.Run, "save_info", save_info)
    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, tmp_path)
    monkeypatch.undo()
    resumed = tiny.run(drawn, tmp_path, resume=True)
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]


def test_resuming_a_finished_run_gives_it_back(whole: Run, drawn: FaceSet) -> None:
    before = (whole.folder / "run.json").stat().st_mtime_ns
    assert tiny.run(drawn, whole.folder.parent, resume=True) == whole
    assert (whole.folder / "run.json").stat().st_mtime_ns == before


def test_other_faces_are_not_taken_for_the_runs_own(whole: Run, drawn: FaceSet) -> None:
    """Drawn faces of another seed have the same labels and rows, and other pixels."""
    half = np.arange(len(drawn.train)) % 2 == 0
    other = load_dataset("drawn", count=140, seed=1)
    for splits in (
        (other.train, other.selection),
        (drawn.train.subset(half), drawn.selection),
        (drawn.train, drawn.selection.subset(np.arange(7))),
    ):
        with pytest.raises(RunError, match="trained on other data"):
            train("compact", *splits, recipe=tiny.recipe(), out=whole.folder.parent, resume=True)


def test_choices_are_made_on_the_selection_split_of_the_same_faces(drawn: FaceSet, tmp_path: Path) -> None:
    """Else a selection made of another face set's test rows could steer a training that looks like an official one."""
    other = load_dataset("drawn", count=140, seed=1)
    for selection in (other.selection, drawn.train.subset(np.arange(7))):
        with pytest.raises(InputError, match=r"choose on data\.selection of the same face set"):
            train("compact", drawn.train, selection, recipe=tiny.recipe(), out=tmp_path)
    with pytest.raises(SealedSplitError, match="cannot hold rows of role test"):
        Split(drawn, "test", "train", drawn.rows("test"))


def test_every_face_is_visited_once_per_epoch(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visits: list[list[np.ndarray]] = []
    real = variants.augment

    def watch(faces: torch.Tensor, *rest: Any) -> torch.Tensor:
        visits[-1].extend(face.numpy().tobytes() for face in faces)  # type: ignore[arg-type]
        return real(faces, *rest)

    def begin(progress: Progress) -> None:
        if progress.entry:
            visits.append([])

    monkeypatch.setattr(variants, "augment", watch)
    visits.append([])
    tiny.run(drawn, tmp_path, "batch_size=25", on_progress=begin)  # 112 faces: no multiple of it
    wanted = sorted(face.tobytes() for face in drawn.train.images)
    assert [sorted(epoch) for epoch in visits[:3]] == [wanted] * 3
    assert visits[0] != visits[1], "two epochs came in one order"


def test_two_epochs_see_different_variants(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    real = variants.augment

    def watch(*given: Any) -> torch.Tensor:
        seen.append(real(*given))
        return seen[-1]

    monkeypatch.setattr(variants, "augment", watch)
    one = drawn.train.subset([0])
    train("compact", one, drawn.selection, recipe=tiny.recipe("epochs=2"), out=tmp_path, device="cpu")
    assert not torch.equal(seen[0], seen[1])


def fake_scores(accuracies: list[float], count: int = 14) -> Any:
    """Selection scores that reach the given accuracies, one after the other."""
    queue = list(accuracies)

    def score(faces: np.ndarray, *rest: Any, **named: Any) -> np.ndarray:
        right = round(queue.pop(0) * count)
        labels = np.arange(count) % 7
        out = np.zeros((count, 7), np.float32)
        out[np.arange(count), np.where(np.arange(count) < right, labels, (labels + 1) % 7)] = 1
        return out

    return score


@pytest.mark.parametrize(
    ("keep", "accuracies", "epochs", "best"),
    [
        ("best", [0.5, 1.0, 0.5, 0.5, 0.5, 1.0], 4, 1),
        ("last", [0.5, 1.0, 0.5, 0.5, 0.5, 1.0], 4, 3),
        ("best", [0.5, 0.5, 1.0, 0.5, 1.0], 5, 2),
        ("last", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], 6, 5),
    ],
)
def test_stopping_early_and_what_is_kept(
    drawn: FaceSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: str,
    accuracies: list[float],
    epochs: int,
    best: int,
) -> None:
    weights: list[str] = []
    monkeypatch.setattr(choosing, "score", fake_scores(accuracies))

    def remember(progress: Progress) -> None:
        if progress.entry:
            from safetensors.torch import load_file

            saved = load_file(next(tmp_path.rglob("checkpoint.safetensors")))
            state = {k.removeprefix("average."): v for k, v in saved.items() if k.startswith("average.")}
            weights.append(loop.hash_weights(state))

    changes = ("epochs=6" if len(accuracies) == 6 else "epochs=5", "early_stop=2", f"keep={keep}")
    run = tiny.run(drawn, tmp_path, *changes, on_progress=remember)
    assert len(run.log) == epochs
    assert run.info["best_epoch"] == best
    assert run.info["weights_sha256"] == weights[best]


def test_a_loss_that_is_no_number(drawn: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the (loss|scores) became \w+ in epoch [1-9]; lower optim.lr or set clip"):
        tiny.run(drawn, tmp_path, "optim.lr=1000", "clip=0", "optim.weight_decay=10", "schedule.warmup=0", "epochs=9")
    assert not list(tmp_path.rglob("weights.safetensors"))


def test_mistakes_leave_nothing_behind(drawn: FaceSet, tmp_path: Path) -> None:
    pair, recipe = (drawn.train, drawn.selection), tiny.recipe()
    with pytest.raises(RecipeError, match="did you mean 'widths'"):
        train("compact", *pair, recipe=recipe.set(["system.width=[4, 8]"]), out=tmp_path)
    with pytest.raises(InputError, match="the recipe is one of 'compact', not of 'vggnet'"):
        train("vggnet", *pair, recipe=recipe, out=tmp_path)
    with pytest.raises(RecipeError, match="has no recipe 'main'; did you mean 'mien'"):
        train("compact", *pair, recipe="main", out=tmp_path)
    with pytest.raises(InputError, match="a seed is a whole number from 0"):
        train("compact", *pair, recipe=recipe, seed=-1, out=tmp_path)
    with pytest.raises(InputError, match="is empty"):
        train("compact", drawn.train.subset([]), drawn.selection, recipe=recipe, out=tmp_path)
    rows = drawn.all_rows()
    unknown = FaceSet.from_arrays("own", drawn.label_set, rows.images, rows.labels.copy(), rows.splits)
    labels = np.array(unknown.train.labels)
    labels[3] = 255
    unknown = FaceSet.from_arrays(
        "own", drawn.label_set, drawn.train.images, labels, np.zeros(len(labels), np.uint8), ("train",)
    )
    with pytest.raises(InputError, match="1 faces of the split 'train' have no label"):
        train("compact", unknown.train, drawn.selection, recipe=recipe, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_own_label_sets_survive(drawn: FaceSet, tmp_path: Path) -> None:
    labels, rows = LabelSet("moods", ("low", "high")), drawn.without_test().all_rows()
    own = FaceSet.from_arrays(
        "own", labels, rows.images, (rows.labels > 3).astype(np.uint8), rows.splits, ("train", "selection")
    )
    run = Run.open(tiny.run(own, tmp_path, "epochs=1").folder)
    assert run.label_set == labels
    assert run.module()(torch.zeros(1, 1, 48, 48)).shape == (1, 2)


def test_larger_faces_are_reduced_as_evaluation_reduces_them(drawn: FaceSet, tmp_path: Path) -> None:
    """Faces of 96 px that Pillow reduces to the drawn ones cannot be told from those reduced beforehand."""
    from mien.faces.views import resize_faces

    rows = drawn.without_test().all_rows()
    large = resize_faces(rows.images, 96, "grey")
    hashes = set()
    for name, images in (("large", large), ("small", resize_faces(large, 48, "grey"))):
        own = FaceSet.from_arrays(name, drawn.label_set, images, rows.labels, rows.splits, ("train", "selection"))
        hashes.add(tiny.run(own, tmp_path / name, "epochs=1").info["weights_sha256"])
    assert len(hashes) == 1


def test_bf16_and_five_crops_run(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: True)  # slow where that is untrue, and computed all the same
    changes = ("epochs=1", "precision=bf16", "augment.crops=five", "input.resize=56", "loss.name=focal")
    assert tiny.run(drawn, tmp_path, *changes).finished


def test_damaged_run_folders(whole: Run, tmp_path: Path) -> None:
    import shutil

    def copy(name: str) -> Path:
        return Path(shutil.copytree(whole.folder, tmp_path / name))

    with pytest.raises(RunError, match="is no run folder"):
        Run.open(tmp_path)
    folder = copy("recipe")
    (folder / "recipe.toml").write_text((folder / "recipe.toml").read_text().replace("epochs = 3", "epochs = 4"))
    with pytest.raises(RunError, match=r"recipe\.toml was changed"):
        Run.open(folder)
    (folder / "recipe.toml").unlink()
    with pytest.raises(RunError, match=r"recipe\.toml: .*; restore it"):
        Run.open(folder)
    folder = copy("schema")
    (folder / "run.json").write_text('{"schema": "other"}')
    with pytest.raises(RunError, match="not of schema"):
        Run.open(folder)
    folder = copy("weights")
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(data)
    with pytest.raises(RunError, match=r"does not hold the weights that run\.json names"):
        Run.open(folder).module()
    (folder / "weights.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RunError, match="no readable safetensors"):
        Run.open(folder).module()
    (folder / "weights.safetensors").unlink()
    with pytest.raises(RunError, match="is unfinished; give the `mien train` command"):
        Run.open(folder).module()


def test_weights_load_whole_or_not_at_all(whole: Run) -> None:
    from mien.training.weights import hash_weights, load_strictly

    module, state = whole.module(), dict(whole.module().state_dict())
    before = hash_weights(state)
    wrong = {("x" if name == "head.bias" else name): value * 2 for name, value in state.items()}
    wrong["head.weight"] = torch.zeros(2, 2)
    with pytest.raises(RunError, match=r"head.bias is missing; x is not part .* head.weight is \[2, 2\]"):
        load_strictly(module, wrong, "a file")
    assert hash_weights(module.state_dict()) == before


def test_hash_of_weights() -> None:
    from mien.training.weights import hash_weights

    a, b = torch.arange(6.0).reshape(2, 3), torch.ones(2, dtype=torch.int64)
    known = hash_weights({"a": a, "b": b})
    assert hash_weights({"b": b, "a": a.clone()}) == known
    assert hash_weights({"a": a.t().contiguous().t(), "b": b}) == known  # layout is no content
    others = [
        {"a": a.reshape(3, 2), "b": b},
        {"a": a.double(), "b": b},
        {"b": a, "a": b},
        {"a": a},
        {"a": a + 1, "b": b},
    ]
    assert known not in {hash_weights(other) for other in others}
    assert hash_weights({"e": torch.zeros(0)}) != hash_weights({})


@pytest.mark.parametrize(("changes", "told"), [(("augment.cutmix=0", "augment.mixup=0"), 0), ((), 5)])
def test_systems_are_told_the_faces_before_mixing(
    drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...], told: int
) -> None:
    from mien.systems.compact import Compact

    seen: list[tuple[bool, bool]] = []
    monkeypatch.setattr(
        Compact, "before_mixing", lambda self, images: seen.append((self.training, torch.is_grad_enabled()))
    )
    tiny.run(drawn, tmp_path, "epochs=1", *changes)
    assert seen == [(True, False)] * told


def test_the_average_moves_every_so_many_steps(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    real = loop.MovingAverage.update

    def update(self: Any, step: int) -> None:
        moved.append(step)
        real(self, step)

    monkeypatch.setattr(loop.MovingAverage, "update", update)
    tiny.run(drawn, tmp_path, "epochs=2", "ema_every=4")  # five steps each
    assert moved == [0, 1]


@pytest.mark.parametrize("cut", [1e-4, 0.0])
def test_single_numbers_of_the_gradient_are_cut(drawn: FaceSet, tmp_path: Path, cut: float) -> None:
    """Under plain descent no weight goes further than the rate times the cut, in each of the steps."""
    plain = ("optim.name=sgd", "optim.lr=0.1", "optim.momentum=0", "optim.nesterov=false", "optim.weight_decay=0")
    once = ("schedule.name=constant", "schedule.warmup=0", "epochs=1", "ema=0", "clip=0", f"clip_value={cut}")
    run = tiny.run(drawn, tmp_path, *plain, *once)
    torch.manual_seed(run.seed)
    start = systems.create("compact", classes=7, channels=1, **run.recipe.system)
    ended = dict(run.module().named_parameters())
    moved = max(float((ended[name] - value).abs().max().detach()) for name, value in start.named_parameters())
    furthest = 0.1 * 1e-4 * math.ceil(len(drawn.train) / 24)
    assert 0.9 * furthest < moved < 1.001 * furthest + 1e-7 if cut else moved > 2 * furthest
