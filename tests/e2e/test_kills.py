"""kill -9 in the middle of everything: whoever starts the same command again gets what an undisturbed run makes.

Kills come at random steps and times, from a seed that is printed: MIEN_KILLS_SEED=… repeats them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("optuna")
pytest.importorskip("pyarrow")
pytest.importorskip("av", reason="PyAV, the extra 'video', is not installed")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")

HERE = Path(__file__).parent
SEED = int(os.environ.get("MIEN_KILLS_SEED") or random.SystemRandom().randrange(1 << 32))
SMALL = [
    "compile=false", "precision=fp32", "system.widths=[4, 8]", "system.depths=[1, 1]", "schedule.warmup=0",
]  # fmt: skip
SET = [word for setting in SMALL for word in ("--set", setting)]
FACES = ["--data", "folder", "--path", "../../faces"]


class Zygote:
    """The parent of all children."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self.said.readline() == b"ready\n"

    @property
    def said(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def run(self, folder: Path, words: list[str], **how: Any) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        scratch(folder).mkdir(exist_ok=True)
        environment = {"MIEN_CACHE": str(folder / "cache"), "TMPDIR": str(scratch(folder))}
        request = {"folder": str(folder), "words": words, "environment": environment, **how}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.said.readline())
        return answer


def scratch(folder: Path) -> Path:
    """The system's folder for temporary files of a folder; steps in it count, too."""
    return folder.with_name(f"{folder.name}.tmp")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    assert zygote.process.stdin is not None
    zygote.process.stdin.close()
    zygote.process.wait(timeout=30)
    zygote.said.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of drawn faces in folders, and beside them room for those who work with them."""
    from PIL import Image

    from mien.datasets import load_dataset

    root = tmp_path_factory.mktemp("kills")
    data = load_dataset("drawn", count=140, seed=3)
    for split in (data.train, data.selection):
        for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            folder = root / "faces" / split.role / split.label_set.labels[int(label)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:03d}.png")
    for path in sorted((root / "faces" / "train").rglob("*.png"))[:24]:
        target = root / "photos" / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    write_clip(root / "clip.mp4")
    return root


def write_clip(path: Path) -> None:
    """Half a second of the portrait of the examples, which moves a little."""
    import av
    import numpy as np
    from PIL import Image

    with Image.open(HERE.parents[1] / "examples" / "astronaut.jpg") as portrait:
        image = np.asarray(portrait.convert("RGB").resize((240, 240)))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 240, 240, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(image, number, axis=1)))
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@dataclass(frozen=True)
class Scenario:
    """A command, and what it makes.

    Args:
        words: the command; the first commands of several prepare a folder and are not disturbed.
        outcome: what has to be the same, from the folder.
        prepare: commands before it.
        again: what is given in addition when it is started again.
        steps: kills at random steps; ``times``: at random times. One that met nothing, because less was left to do
            than the draw thought, is made up for by another one.
    """

    words: list[str]
    outcome: Callable[[Path], Any]
    prepare: list[list[str]] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    steps: int = 5
    times: int = 2


def tree(folder: Path) -> dict[str, str]:
    """Every file with its hash."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def leftovers(folder: Path) -> list[str]:
    """Files and folders that nobody who finished would leave."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    strange = [name for name in names if re.search(r"\.(part|old|saving|unfinished)\b|(^|/)(\.|lock$)", name)]
    # Python tries a folder for temporary files by a file of such a name, which a kill right then leaves.
    probe = re.compile(r"[a-z0-9_]{8}")
    return strange + [
        str(path) for path in scratch(folder).iterdir() if path.is_dir() or not probe.fullmatch(path.name)
    ]


def all_files(folder: Path) -> dict[str, str]:
    """Everything but the index of the cache, which holds the path and time of the pictures."""
    files = tree(folder)
    assert files
    return files


def trained(folder: Path) -> Any:
    from mien.training.weights import hash_weights, load_tensors

    [run] = (folder / "runs").iterdir()
    info = json.loads((run / "run.json").read_text())
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {
        "files": sorted(tree(folder)),
        "weights": hash_weights(load_tensors(run / "weights.safetensors")[0]),
        "said": [info[key] for key in ("status", "weights_sha256", "best_epoch", "selection_accuracy", "train_rows")],
        "log": [[entry["loss"], entry["selection_accuracy"]] for entry in log],
    }


def searched(folder: Path) -> Any:
    [study] = (folder / "searches").iterdir()
    found = json.loads((study / "search.json").read_text())
    files = {name for name in tree(study) if "journal" not in name}
    runs = sorted(json.loads(path.read_text())["weights_sha256"] for path in study.glob("trials/*/run.json"))
    return {
        "best": (study / "best.toml").read_text(),
        "made": [[t["params"], t["value"]] for t in found["trials"] if t["state"] == "complete"],
        "weights": runs,
        "files": sorted(files),
    }


def measured(folder: Path) -> Any:
    """At least one result; a kill after the last step may have left one more, just as good."""
    from mien.results import Result
    from mien.results.verification import verify

    kept = folder / "my-results"  # trials on the selection split go there
    checked = verify(kept)
    assert checked.holds, checked.findings
    files = [path.name for path in kept.rglob("*") if path.is_file()]
    paths = sorted(kept.rglob("*.json"))
    results = [Result.load(path) for path in paths]
    assert len(files) == 2 * len(results) + 1, "predictions with each result, and the ledger"
    other = [name for name in tree(folder) if not name.startswith("my-results/")]
    facts = {json.dumps([r.metrics["selection_accuracy"], r.to_json()["predictions_sha256"], r.views]) for r in results}
    return {"results": sorted(facts), "other": other, "bundle": model(folder / "both.onnx")}


def exported(folder: Path) -> Any:
    return {"model": model(folder / "out.onnx"), "files": sorted(tree(folder))}


def model(path: Path) -> str | None:
    """Hash of a bundle without its card, which tells times; reading it compares the hash with what lies there."""
    from mien.bundle import read_bundle

    return read_bundle(path).card.sha256 if path.exists() else None


TRAIN = ["train", "compact", *FACES, *SET, "--set", "epochs=3", "--set", "batch_size=32", "--device", "cpu"]
IMPORT = ["data", "import", "folder", "../../faces"]
SHORT = [*TRAIN, "--set", "epochs=1"]
PREDICT = ["predict", "../../photos", "--recursive", "--crops", "--out"]
DRAWS = ["--pruner", "none", "--sampler", "random"]
SCENARIOS = {
    "import": Scenario(IMPORT, all_files, steps=6, times=3),
    "train": Scenario(TRAIN, trained, prepare=[IMPORT], again=["--resume"], steps=8, times=4),
    "csv": Scenario([*PREDICT, "t.csv", "--draw", "drawn"], all_files, steps=8, times=3),
    "jsonl": Scenario([*PREDICT, "t.jsonl"], all_files, steps=5, times=2),
    "parquet": Scenario([*PREDICT, "t.parquet"], all_files, steps=5, times=2),
    "shard": Scenario([*PREDICT, "t.csv", "--shard", "2/3", "--draw", "drawn"], all_files, steps=6, times=2),
    "merge": Scenario(
        ["predict", "--merge", "--out", "t.csv"],
        all_files,
        prepare=[[*PREDICT, "t.csv", "--shard", f"{number}/3"] for number in (1, 2, 3)],
        steps=5,
        times=1,
    ),
    "search": Scenario(
        ["search", "--space", "compact", *FACES, *SET, *DRAWS, "--trials", "2", "--epochs", "1", "--device", "cpu"],
        searched,
        prepare=[IMPORT],
        steps=7,
        times=2,
    ),
    "evaluate": Scenario(
        ["evaluate", "RUN", *FACES, "--split", "selection"], measured, prepare=[SHORT], steps=6, times=2
    ),
    "export": Scenario(
        ["export", "RUN", "--onnx", "out.onnx", "--data", "none"], exported, prepare=[SHORT], steps=3, times=1
    ),
    "int8": Scenario(
        ["export", "RUN", "--onnx", "out.onnx", "--int8", *FACES], exported, prepare=[SHORT], steps=8, times=3
    ),
    "video": Scenario(
        ["video", "../../clip.mp4", "-o", "out.mp4", "--csv", "t.csv", "--timeline", "t.png"],
        all_files,
        steps=4,
        times=3,
    ),
    "ensemble": Scenario(
        ["ensemble", "one.onnx", "two.onnx", *FACES, "--onnx", "both.onnx"],
        measured,
        prepare=[
            SHORT,
            ["export", "RUN", "--onnx", "one.onnx", "--data", "none", "--name", "one"],
            ["train", "compact", *FACES, *SET, "--set", "epochs=1", "--device", "cpu", "--seed", "1", "--out", "runs2"],
            ["export", "RUN2", "--onnx", "two.onnx", "--data", "none", "--name", "two"],
        ],
        steps=5,
        times=2,
    ),
}


def prepared(zygote: Zygote, folder: Path, scenario: Scenario) -> None:
    for words in scenario.prepare:
        done = zygote.run(folder, placed(words, folder))
        assert done["code"] == 0, done["said"]


def placed(words: list[str], folder: Path) -> list[str]:
    runs = {word: sorted((folder / name).glob("*")) for word, name in (("RUN", "runs"), ("RUN2", "runs2"))}
    return [str(runs[word][0].relative_to(folder)) if word in runs else word for word in words]


def disturb(zygote: Zygote, world: Path, name: str, seed: int, steps: int, times: int) -> int:
    """Kill, start again, kill, … until the kills are used up; then let it end and compare."""
    scenario = SCENARIOS[name]
    draw = random.Random(f"{seed} {name}")
    calm = world / name / "calm"
    prepared(zygote, calm, scenario)
    undisturbed = zygote.run(calm, placed(scenario.words, calm))
    assert undisturbed["code"] == 0, undisturbed["said"]
    expected = scenario.outcome(calm)
    print(f"{name}: {undisturbed['steps']} steps in {undisturbed['seconds']:.1f} s")

    def kill(how: str) -> tuple[str, float]:
        until = undisturbed["steps" if how == "step" else "seconds"]
        return how, draw.randint(1, until) if how == "step" else draw.uniform(0, until)

    kills = [kill("step") for _ in range(steps)] + [kill("after") for _ in range(times)]
    draw.shuffle(kills)
    spare = 2 * len(kills)
    count = round_ = 0
    while kills:
        round_ += 1
        folder = world / name / f"killed{round_}"
        prepared(zygote, folder, scenario)
        again: list[str] = []
        # Several kills of one undertaking, now and then only one.
        for _ in range(draw.randint(1, 4)):
            if not kills:
                break
            how, when = kills.pop()
            words = [*placed(scenario.words, folder), *again]
            done = zygote.run(folder, words, **{how: when})
            print(f"  round {round_}: kill at {how} {when:.4g} → {done['code']}")
            assert done["code"] in (-9, 0), done["said"]
            if done["code"] == -9:
                count += 1
            elif spare:
                spare -= 1
                kills.insert(0, kill(how))
            if (folder / "runs").exists():
                again = scenario.again
        done = zygote.run(folder, [*placed(scenario.words, folder), *again])
        assert done["code"] == 0, done["said"]
        assert scenario.outcome(folder) == expected
        assert not leftovers(folder)
        shutil.rmtree(folder)
    return count


SEEN: dict[str, int] = {}
"""Scenario → kills by -9 that it went through."""


@pytest.mark.full
@pytest.mark.parametrize("name", SCENARIOS)
def test_kills_lose_nothing(name: str, zygote: Zygote, world: Path) -> None:
    print(f"MIEN_KILLS_SEED={SEED}")
    scenario = SCENARIOS[name]
    SEEN[name] = 0
    SEEN[name] = disturb(zygote, world, name, SEED, scenario.steps, scenario.times)
    print(f"{name}: {SEEN[name]} kills")
    assert SEEN[name] >= scenario.steps // 2, "too few of the kills met something"


@pytest.mark.full
def test_there_were_fifty_kills() -> None:
    if set(SEEN) != set(SCENARIOS):
        pytest.skip("only some of the scenarios were run")
    print(f"{sum(SEEN.values())} kills in all: {SEEN}")
    assert sum(SEEN.values()) >= 50, f"too few kills met something: {SEEN}"


@pytest.fixture
def disk() -> Iterator[Callable[..., None]]:
    """Small disks in memory; mounted at a folder, changed there, and taken away at the end."""
    mounted: list[Path] = []

    def mount(folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        again = ["remount"] if folder in mounted else []
        words = ["mount", "-t", "tmpfs", "-o", ",".join([*again, *options]), "tmpfs", str(folder)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        except OSError as error:
            pytest.skip(f"no disk of limited size can be mounted here: {error}")
        if done.returncode:
            pytest.skip(f"no disk of limited size can be mounted here: {done.stderr.strip()}")
        if not again:
            mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False, timeout=60)


def one_sentence(done: dict[str, Any]) -> str:
    lines = [line for line in done["said"].splitlines() if line.startswith("mien:")]
    assert done["code"] == 2, done["said"]
    assert "Traceback" not in done["said"]
    assert len(lines) == 1, done["said"]
    return str(lines[0])


@pytest.mark.full
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_full_disk_and_a_read_only_one_lose_nothing(
    name: str, zygote: Zygote, world: Path, disk: Callable[..., None]
) -> None:
    scenario = SCENARIOS[name]
    calm = world / name / "calm-disk"
    prepared(zygote, calm, scenario)
    before = room(calm)
    assert zygote.run(calm, placed(scenario.words, calm))["code"] == 0
    expected, needed = scenario.outcome(calm), room(calm)
    for share in (0.1, 0.5, 0.85):
        folder = world / name / f"full{share}"
        disk(folder, "size=64m")
        prepared(zygote, folder, scenario)
        size = int(before + share * (needed - before)) // 4096 * 4096 + 4096
        disk(folder, f"size={min(size, needed - 4096)}")
        said = one_sentence(zygote.run(folder, placed(scenario.words, folder)))
        print(f"{name}: {share:.0%} of the room → {said}")
        disk(folder, "size=64m", "ro")
        again = scenario.again if (folder / "runs").exists() else []
        said = one_sentence(zygote.run(folder, [*placed(scenario.words, folder), *again]))
        print(f"{name}: read-only → {said}")
        disk(folder, "size=64m", "rw")
        done = zygote.run(folder, [*placed(scenario.words, folder), *again])
        assert done["code"] == 0, done["said"]
        assert scenario.outcome(folder) == expected
        assert not leftovers(folder)


def room(folder: Path) -> int:
    """Bytes that a file system of pages takes."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def test_a_few_kills_lose_nothing(zygote: Zygote, world: Path) -> None:
    """Of what `make test-full` does for everything."""
    print(f"MIEN_KILLS_SEED={SEED}")
    assert disturb(zygote, world, "csv", SEED, 3, 0) >= 1
