"""Recognition against its peers: both sides answer the same requests in turn, each in a process and venv of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from mien.bundle import Bundle, Framing, read_bundle
from mien.recognition.bundles import default_bundle
from mien.store.cpu import cpu_count

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers"
VENVS = ROOT / ".venvs"
PHOTO = ROOT / "examples" / "astronaut.jpg"
SIZE = (640, 480)
BATCH = 64

# Peers that cannot be run, and why.
SKIPPED = {
    "deepface": "its expression weights are a download from GitHub that no package carries",
    "rmn": "it downloads its weights from GitHub when it is imported",
}


@dataclass(frozen=True)
class Task:
    """One row of the table that every side can answer."""

    id: str
    what: str
    unit: str
    budget: float | None
    more_is_better: bool = False


TASKS = {
    "size": Task("size", "install on disk", "MB", 250),
    "start": Task("start", "process start to first answer", "s", 0.6),
    "start_cpu": Task("start_cpu", "process start to first answer, processor time", "s", None),
    "face": Task("face", "one face, classifier, one core", "ms", 0.5),
    "batch": Task("batch", f"{BATCH} faces, classifier, all cores", "faces/s", 4000, True),
    "memory": Task("memory", f"peak memory of the process, {BATCH} faces", "MB", None),
    "growth": Task("growth", "peak memory gained by repeating that", "MB", None),
    "photo": Task("photo", "photograph 640×480, one face, end to end", "ms", 20),
}


@dataclass(frozen=True)
class Peer:
    """A side of the comparison.

    Args:
        name: ``mien``, or the peer's name on the package index.
        python: interpreter of its environment.
        script: what runs there.
        model: passed on to the script.
        note: what has to be known about its figures.
    """

    name: str
    python: Path
    script: Path
    model: str = ""
    note: str = ""

    @property
    def has_detector(self) -> bool:
        """Whether it finds faces by itself."""
        return self.name != "hsemotion-onnx"


def compare(
    peers: Sequence[Peer], tasks: Sequence[str], *, rounds: int, seconds: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Run the tasks on every peer, the first of which is ours; one row per task.

    In every round each side answers once, one after the other, so that both meet the machine in the same mood; a ratio
    is the median of the rounds' ratios. Only one side computes at a time.
    """
    found: dict[str, dict[str, list[float]]] = {task: {peer.name: [] for peer in peers} for task in TASKS}
    steps: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        photo, crops = make_inputs(Path(folder))
        if "size" in tasks:
            for peer in peers:
                say(f"size of {peer.name}")
                size = fresh_install() if peer.name == "mien" else disk_use(VENVS / peer.name)
                found["size"][peer.name].append(size / 1e6)
        if "start" in tasks:
            starters = [peer for peer in peers if peer.has_detector]
            for peer in starters:
                first_answer(peer, photo)  # files come from memory from here on
            for number in range(rounds):
                say(f"start, round {number + 1} of {rounds}")
                for peer in starters:
                    wall, cpu = first_answer(peer, photo)
                    found["start"][peer.name].append(wall)
                    found["start_cpu"][peer.name].append(cpu)
        everything = ",".join(map(str, cores()))
        for task, path, core in (
            ("face", crops, str(cores()[0])),
            ("batch", crops, everything),
            ("photo", photo, everything),
        ):
            if task not in tasks:
                continue
            able = [peer for peer in peers if task != "photo" or peer.has_detector]
            with ExitStack() as stack:
                sides = {peer.name: stack.enter_context(serving(peer, core)) for peer in able}
                for number in range(rounds):
                    say(f"{TASKS[task].what}, round {number + 1} of {rounds}")
                    for name, ask in sides.items():
                        answer = ask(do=task, path=str(path), seconds=seconds)
                        found[task][name].append(answer["value"])
                        if task == "batch":
                            found["memory"][name].append(answer["peak_mb"])
                            found["growth"][name].append(answer["peak_mb"] - answer["first_peak_mb"])
                        if task == "photo" and answer["faces"] != 1:
                            say(f"{name} finds {answer['faces']} faces on the photograph, not 1")
                        if name == "mien":
                            for step, value in answer.get("steps", {}).items():
                                steps.setdefault(step, []).append(value)
    rows = []
    for name, wanted in TASKS.items():
        values = {side: taken for side, taken in found[name].items() if taken}
        if values.get("mien"):
            rows.append(row(wanted, values, steps if name == "photo" else {}))
    return rows


def row(task: Task, values: dict[str, list[float]], steps: dict[str, list[float]]) -> dict[str, Any]:
    """One row for the record: every side's spread, and how many times better ours is."""
    ours = values["mien"]
    out: dict[str, Any] = {
        "id": task.id,
        "what": task.what,
        "unit": task.unit,
        "budget": task.budget,
        "more_is_better": task.more_is_better,
        "sides": {name: spread(taken) for name, taken in values.items()},
    }
    if task.id != "growth":
        pairs = {name: zip(ours, taken, strict=True) for name, taken in values.items() if name != "mien"}
        out["ratios"] = {
            name: spread([a / b if task.more_is_better else b / a for a, b in pair]) for name, pair in pairs.items()
        }
    if steps:
        out["steps"] = {step: spread(taken) for step, taken in steps.items()}
    return out


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range of one value per round."""
    return {
        "median": round(median(values), 5),
        "min": round(min(values), 5),
        "max": round(max(values), 5),
        "rounds": len(values),
    }


@contextmanager
def serving(peer: Peer, core_list: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """A living process of ``peer`` on these cores; what it gives is called with a request and returns the answer."""
    command = [str(peer.python), str(peer.script), "--cores", core_list, "--model", peer.model]
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            command, env=environment(peer), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        wanted, answers = process.stdin, process.stdout

        def read() -> dict[str, Any]:
            line = answers.readline()
            if not line:
                complaints.seek(0)
                raise SystemExit(f"{peer.name} gave up:\n{complaints.read()[-2000:]}")
            return dict(json.loads(line))

        def ask(**request: Any) -> dict[str, Any]:
            print(json.dumps(request), file=wanted, flush=True)
            return read()

        try:
            read()
            yield ask
        finally:
            wanted.close()
            process.wait()
            answers.close()


def first_answer(peer: Peer, photo: Path) -> tuple[float, float]:
    """Wall seconds from the start of a process to its answer, and its processor seconds until then."""
    command = [str(peer.python), str(peer.script), "--once", str(photo), "--model", peer.model]
    start = time.perf_counter()
    with subprocess.Popen(
        command, env=environment(peer), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        wall = time.perf_counter() - start
    if not line:
        raise SystemExit(f"{peer.name} gave no answer; run it by hand: {' '.join(command)}")
    return wall, float(json.loads(line)["cpu"])


def environment(peer: Peer) -> dict[str, str]:
    """Peers get a home of their own (their caches lie there) and none of our paths."""
    if peer.name == "mien":
        return dict(os.environ)
    home = VENVS / peer.name / "home"
    home.mkdir(exist_ok=True)
    return {**os.environ, "HOME": str(home), "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def make_inputs(folder: Path) -> tuple[Path, Path]:
    """The photograph at 640×480 as JPEG, and 64 grey crops of 48 px of its face, each cut a little differently."""
    from mien.faces import crop_faces, open_detector

    width, height = SIZE
    picture = Image.open(PHOTO).convert("RGB")
    # Scaled to the full width; the face is in the upper part.
    picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture = picture.crop((0, 0, width, height))
    photo = folder / "photo.jpg"
    picture.save(photo, quality=90)
    pixels = np.asarray(picture)
    box = open_detector("centerface").detect(pixels).boxes[0]
    random = np.random.default_rng(0)
    sides = np.tile(box[2:] - box[:2], (BATCH, 2))
    boxes = box + random.uniform(-0.08, 0.08, (BATCH, 4)).astype(np.float32) * sides
    crops = folder / "crops.npy"
    np.save(crops, crop_faces(pixels, boxes, None, size=48, colour="grey", framing=Framing()))
    return photo, crops


def bundle(model: str) -> Bundle:
    """The bundle at this path; the default one for an empty path."""
    return read_bundle(model) if model else default_bundle()


def ours(model: str) -> Peer:
    """mien itself, in the environment that this runs in."""
    return Peer("mien", Path(sys.executable), PEERS / "ours.py", str(Path(model).resolve()) if model else "")


def peer(name: str, say: Callable[[str], None]) -> Peer | str:
    """A peer in its own environment, made when it is not there; or the reason why it cannot be run."""
    if name in SKIPPED:
        return SKIPPED[name]
    requirements, script = PEERS / f"{name}.txt", PEERS / f"{name.replace('-', '_')}_peer.py"
    if not requirements.is_file():
        known = sorted({path.stem for path in PEERS.glob("*.txt")} | set(SKIPPED))
        return f"no peer is called that; there are {', '.join(known)}"
    folder = VENVS / name
    python = folder / "bin" / "python"
    done = folder / ".done"
    if not done.is_file() or done.read_text() != requirements.read_text():
        say(f"making {folder.relative_to(ROOT)}; this can take many minutes and gigabytes")
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            return f"it cannot be installed: {(made.stderr.strip() or 'pip failed').splitlines()[-1]}"
        done.write_text(requirements.read_text())
    note = ""
    if name == "hsemotion-onnx":
        weights = folder / "home" / ".hsemotion" / "enet_b0_8_best_vgaf.onnx"
        mark = weights.with_suffix(".random")
        if not weights.is_file():
            weights.parent.mkdir(parents=True, exist_ok=True)
            made = subprocess.run(
                [sys.executable, str(PEERS / "random_hsemotion.py"), str(weights)],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                return "its weights are a download from GitHub, and the stand-in could not be made: pip install timm"
            mark.touch()
        note = "random weights in its own architecture: speed only; no detector" if mark.is_file() else "no detector"
    return Peer(name, python, script, note=note)


def fresh_install() -> int:
    """Bytes on disk of a new environment with nothing but this package and what it needs, pip included."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        command = [str(Path(folder) / "bin" / "python"), "-m", "pip", "install", "--quiet", str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"mien cannot be installed into a fresh environment:\n{done.stderr[-2000:]}")
        return disk_use(Path(folder))


def disk_use(folder: Path) -> int:
    """Bytes of blocks taken below a folder; a file with several names counts once, a link not at all."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if path.is_symlink() or not path.is_file():
            continue
        seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def cores() -> list[int]:
    """The cores this process may use, as many as its quota pays for."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(cpu_count()))
    return allowed[: cpu_count()]
