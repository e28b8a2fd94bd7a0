"""What comes back from another machine: its size, its ledger from call to call, and what is refused at home."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mien.results import Ledger

ROOT = Path(__file__).parents[2]
ABOUT = ("fer2013/private@1", "PrivateTest", "compact", "run", "recipe", "weights", "one", "data")


@pytest.fixture
def parcel(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import parcel

    return parcel  # type: ignore[no-any-return]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of results at home, whose ledger holds one opening."""
    Ledger(tmp_path / "home" / "results" / "ledger.jsonl").open_split(*ABOUT)
    return tmp_path / "home" / "results"


def call(parcel: ModuleType, out: Path, home: Path, openings: int) -> Path:
    """A call that opens the split so often and packs; its working folder."""
    state: Path = parcel.begin(out, home / "ledger.jsonl")
    for _ in range(openings):
        Ledger(state / parcel.LEDGER).open_split(*ABOUT)
    parcel.pack(state, out)
    return state


@pytest.mark.parametrize("gone", ["nothing", "the working folder", "what came back"])
def test_a_second_call_forgets_no_opening(parcel: ModuleType, tmp_path: Path, home: Path, gone: str) -> None:
    out = tmp_path / "out"
    state = call(parcel, out, home, 3)
    if gone == "the working folder":
        shutil.rmtree(state)
    if gone == "what came back":
        shutil.rmtree(out)
    call(parcel, out, home, 2)
    assert parcel.collect(out, home, tmp_path / "runs") == 0
    assert len(Ledger(home / "ledger.jsonl").openings()) == 6


def test_an_opening_that_was_not_packed_any_more_is_kept(parcel: ModuleType, tmp_path: Path, home: Path) -> None:
    out = tmp_path / "out"
    state = call(parcel, out, home, 1)
    Ledger(state / parcel.LEDGER).open_split(*ABOUT)  # and the machine stops
    call(parcel, out, home, 0)
    assert parcel.collect(out, home, tmp_path / "runs") == 0
    assert len(Ledger(home / "ledger.jsonl").openings()) == 3


def test_what_was_taken_over_is_gone_on_from_at_home(parcel: ModuleType, tmp_path: Path, home: Path) -> None:
    state = call(parcel, tmp_path / "out", home, 2)
    parcel.collect(tmp_path / "out", home, tmp_path / "runs")
    Ledger(home / "ledger.jsonl").open_split(*ABOUT)
    shutil.rmtree(tmp_path / "out")
    (state / "old.log").write_text("an earlier call")
    assert len(Ledger(call(parcel, tmp_path / "out", home, 0) / parcel.LEDGER).openings()) == 4
    assert not (state / "old.log").exists()


def test_ledgers_that_contradict_each_other_are_refused(parcel: ModuleType, tmp_path: Path, home: Path) -> None:
    out = tmp_path / "out"
    call(parcel, out, home, 2)
    Ledger(home / "ledger.jsonl").open_split(*ABOUT[:2], "vggnet", *ABOUT[3:])
    packed = (out / parcel.RESULTS).read_bytes()
    with pytest.raises(SystemExit, match="neither continues the other"):
        parcel.begin(out, home / "ledger.jsonl")
    assert (out / parcel.RESULTS).read_bytes() == packed


def test_a_trial_takes_the_place_of_trials_only(parcel: ModuleType, tmp_path: Path, home: Path) -> None:
    out, ledger = tmp_path / "out", home / "ledger.jsonl"
    state = parcel.begin(out, ledger, trial=True)
    Ledger(state / parcel.LEDGER).open_split(*ABOUT)
    parcel.pack(state, out)
    assert not (parcel.begin(out, ledger, trial=True) / parcel.LEDGER).exists()
    assert (call(parcel, out, home, 0) / parcel.LEDGER).read_bytes() == ledger.read_bytes()
    with pytest.raises(SystemExit, match="another --out"):
        parcel.begin(out, ledger, trial=True)


def test_only_whole_runs_are_gone_on_from(parcel: ModuleType, tmp_path: Path, home: Path) -> None:
    out = tmp_path / "out"
    state = call(parcel, out, home, 0)
    for name, info in (("whole", {"rounded": "float16"}), ("no weights", {"rounded": "float16"}), ("going", {})):
        (state / "runs" / name).mkdir(parents=True)
        (state / "runs" / name / "run.json").write_text(json.dumps(info))
    (state / "runs" / "whole" / parcel.HALF).write_bytes(b"weights")
    (state / "runs" / "going" / parcel.HALF).write_bytes(b"weights")
    parcel.pack(state, out)
    shutil.rmtree(state)
    assert [path.name for path in (parcel.begin(out, home / "ledger.jsonl") / "runs").iterdir()] == ["whole"]
    assert (state / "runs" / "whole" / parcel.HALF).read_bytes() == b"weights"


def test_records_whose_results_the_ledger_lacks_are_refused(
    parcel: ModuleType, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    state = call(parcel, out, home, 1)
    Ledger(state / parcel.LEDGER).record("fer2013/private@1", "compact", "noted")
    parcel.pack(state, out)
    runs = [{"result": None}, {"result": "noted"}]
    (out / "speedrun.json").write_text(json.dumps({"runs": [*runs, {"result": "gone"}]}))
    assert parcel.collect(out, home, tmp_path / "runs") == 1
    assert "(gone)" in capsys.readouterr().err
    (out / "speedrun.json").write_text(json.dumps({"runs": runs}))
    assert parcel.collect(out, home, tmp_path / "runs") == 0


def test_further_files_count_against_what_comes_back(parcel: ModuleType, tmp_path: Path) -> None:
    state, out = tmp_path / "state", tmp_path / "out"
    out.mkdir()
    (out / "speedrun.json").write_bytes(bytes(1000))
    for number in range(8):
        (state / "runs" / str(number)).mkdir(parents=True)
        (state / "runs" / str(number) / parcel.HALF).write_bytes(bytes(parcel.PIECE))
    parcel.pack(state, out)
    assert len(list(out.iterdir())) <= 8
    assert sum(path.stat().st_size for path in out.iterdir()) <= 64 << 20


@pytest.fixture
def left_out(
    parcel: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, int]], list[str]]:
    """Packs runs, name → bytes of weights, into ``out``, at most 350,000 in pieces of 100,000: those without room."""
    monkeypatch.setattr(parcel, "PIECE", 100_000)
    monkeypatch.setattr(parcel, "ALL", 350_000)

    def pack(sizes: dict[str, int]) -> list[str]:
        for name, size in sizes.items():
            (tmp_path / "state" / "runs" / name).mkdir(parents=True)
            (tmp_path / "state" / "runs" / name / "weights.half.safetensors").write_bytes(bytes(size))
        (tmp_path / "out").mkdir()
        without: list[str] = parcel.pack(tmp_path / "state", tmp_path / "out")
        return without

    return pack


def test_what_comes_back_stays_below_the_limit(left_out: Callable[[dict[str, int]], list[str]], tmp_path: Path) -> None:
    assert left_out({str(number): 100_000 for number in range(5)}) == ["2", "3", "4"]
    files = list((tmp_path / "out").iterdir())
    assert 200_000 < sum(file.stat().st_size for file in files) <= 350_000
    assert max(file.stat().st_size for file in files) <= 100_000


def test_small_networks_find_room_before_a_large_one(left_out: Callable[[dict[str, int]], list[str]]) -> None:
    assert left_out({"large": 250_000, "one": 20_000, "two": 20_000}) == ["large"]


def test_rounding_spares_vectors(parcel: ModuleType, tmp_path: Path) -> None:
    import torch

    from mien import systems
    from mien.datasets import load_dataset
    from mien.training import Recipe, train
    from mien.training.weights import load_tensors, save_tensors

    data = load_dataset("drawn", count=70, seed=0)
    recipe = Recipe.of(systems.card("compact")).set(
        ["epochs=1", "compile=false", "system.widths=[4, 8]", "system.depths=[1, 1]"]
    )
    run = train("compact", data.train, data.selection, recipe=recipe, out=tmp_path, device="cpu")
    tensors, metadata = load_tensors(run.folder / "weights.safetensors")
    variance = next(name for name in tensors if name.endswith("running_var"))
    tensors[variance].fill_(1e-9)
    save_tensors(run.folder / "weights.safetensors", tensors, metadata)
    module = parcel.halve(run.folder).module()
    assert torch.equal(module.state_dict()[variance], tensors[variance])
    assert not torch.equal(module.state_dict()["stem.0.weight"], tensors["stem.0.weight"])
    (run.folder / "weights.safetensors").unlink()
    again = parcel.halve(run.folder).module().state_dict()
    assert all(torch.equal(again[name], value) for name, value in module.state_dict().items()), "came back in part"


def packed(parcel: ModuleType, folder: Path, lines: int, before: Path | None = None, system: str = "compact") -> Path:
    """What comes back from a machine that opened the split ``lines`` times."""
    state, out = folder / "state", folder / "out"
    (state / "results").mkdir(parents=True)
    out.mkdir()
    ledger = state / "results" / "ledger.jsonl"
    if before is not None:
        ledger.write_bytes(before.read_bytes())
    for _ in range(lines):
        Ledger(ledger).open_split(*ABOUT[:2], system, *ABOUT[3:])
    parcel.pack(state, out)
    return out


def test_a_ledger_that_continues_ours_is_taken_over(parcel: ModuleType, tmp_path: Path) -> None:
    home = tmp_path / "home" / "results"
    Ledger(home / "ledger.jsonl").open_split(*ABOUT)
    out = packed(parcel, tmp_path / "away", 2, home / "ledger.jsonl")
    assert parcel.collect(out, home, tmp_path / "home" / "runs") == 0
    assert Ledger(home / "ledger.jsonl").counts() == {"compact": 3}


def test_a_ledger_of_its_own_is_refused(parcel: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home" / "results"
    Ledger(home / "ledger.jsonl").open_split(*ABOUT)
    before = (home / "ledger.jsonl").read_bytes()
    out = packed(parcel, tmp_path / "away", 2, system="vggnet")
    assert parcel.collect(out, home, tmp_path / "home" / "runs") == 1
    assert (home / "ledger.jsonl").read_bytes() == before
    assert "does not continue" in capsys.readouterr().err


def test_a_folder_without_anything_packed_is_told(
    parcel: ModuleType, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parcel.collect(tmp_path / "nowhere", home, tmp_path / "runs") == 1
    assert "holds nothing that a queue or a speedrun packed" in capsys.readouterr().err
