"""How fast recognition is on this machine, and how that compares with the recorded measurement (`mien bench`).

Nothing is downloaded and no picture is needed: the faces are drawn. The recorded figures were measured by this very
module, so the two columns mean the same thing.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mien.errors import InputError, MienError
from mien.store.cpu import cpu_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.bundle import Bundle
    from mien.recognition import Recognizer

BATCH = 64
PHOTO_SIZE = (640, 480)
STEPS = ("decode", "detect", "crop", "classify")
RECORDED = "recorded.json"


@dataclass(frozen=True)
class Measure:
    """One row of the table: what was measured, once per round.

    Args:
        id: ``start``, ``start_cpu``, ``face``, ``faces`` or ``photo``.
        what: the same in words.
        unit: of the values.
        values: one per round; each is the median of many calls, except for ``start``, which is one process.
        budget: what it should reach, None where there is none.
        more_is_better: True for throughput.
        steps: for ``photo``, the milliseconds of each of `STEPS`.
    """

    id: str
    what: str
    unit: str
    values: tuple[float, ...]
    budget: float | None = None
    more_is_better: bool = False
    steps: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(map(float, self.values)))
        if not self.values or not all(value > 0 for value in self.values):
            raise InputError(f"measure {self.id!r} needs values above 0, one per round; got {self.values}")

    @property
    def median(self) -> float:
        """Over the rounds."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the budget; None without one."""
        if self.budget is None:
            return None
        return self.median >= self.budget if self.more_is_better else self.median <= self.budget

    def speed_over(self, other: Measure) -> float:
        """How many times as fast as ``other`` this is; above 1 is faster, whatever the unit.

        Example:
            >>> here, there = Measure("face", "one face", "ms", (0.4,)), Measure("face", "one face", "ms", (0.6,))
            >>> round(here.speed_over(there), 2)
            1.5
        """
        return self.median / other.median if self.more_is_better else other.median / self.median

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; median and range stand there for readers and are not read back."""
        digits = 5
        plain = asdict(self) | {"values": [round(value, digits) for value in self.values]}
        plain["steps"] = {name: round(value, digits) for name, value in self.steps.items()}
        spread = {"median": self.median, "min": min(self.values), "max": max(self.values)}
        return plain | {name: round(value, digits) for name, value in spread.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Measure:
        """The inverse of `to_json`."""
        try:
            return cls(**{name: value[name] for name in cls.__dataclass_fields__})
        except (KeyError, TypeError) as error:
            raise InputError(f"this is no recorded measure ({error}); write the file again with make bench") from None


def measure(
    model: str | Path | Bundle | None = None,
    *,
    rounds: int = 5,
    seconds: float = 0.4,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Measure]:
    """Measure recognition on this machine; one round takes about three times ``seconds`` and one process start.

    The rounds go through all rows in turn, so that a slow minute of the machine hits all of them.

    Args:
        model: a bundle or its path; by default the one inside the package.
        rounds: values per row.
        seconds: how long the calls of one row and round go on.
        on_progress: called with (done, rounds).

    Returns:
        ``start``, ``start_cpu``, ``face``, ``faces``, ``photo``, in this order.

    Raises:
        InputError: for fewer than one round.
        BundleError: if the model cannot be used.
    """
    from mien.recognition import Recognizer

    if rounds < 1 or seconds <= 0:
        raise InputError(f"a benchmark needs at least 1 round of more than 0 seconds, not {rounds} of {seconds}")
    one = Recognizer(model, detector=None, threads=1)
    all_cores = Recognizer(model)
    crops, photo = drawn_crops(BATCH), drawn_photo()
    if not len(all_cores.predict(photo)):
        raise MienError("the detector finds no face on the drawn picture; run `mien doctor`")
    one.warm_up()
    all_cores.warm_up()
    path = None if model is None else _path_of(model)
    values: dict[str, list[float]] = {name: [] for name in ("start", "start_cpu", "face", "faces", "photo")}
    steps: dict[str, list[float]] = {step: [] for step in STEPS}
    for done in range(rounds):
        if path is not None or model is None:
            wall, cpu = first_answer(path)
            values["start"].append(wall)
            values["start_cpu"].append(cpu)
        values["face"].append(1e3 * typical(lambda: one.classify(crops[:1]), seconds))
        values["faces"].append(BATCH / typical(lambda: all_cores.classify(crops), seconds))
        values["photo"].append(1e3 * typical(lambda: all_cores.predict(photo), seconds))
        for step, value in photo_steps(all_cores, photo, seconds).items():
            steps[step].append(value)
        if on_progress is not None:
            on_progress(done + 1, rounds)
    cores = cpu_count()
    width, height = PHOTO_SIZE
    table = [
        ("start", "process start to first answer", "s", 0.6, False),
        ("start_cpu", "process start to first answer, processor time", "s", None, False),
        ("face", "one face, classifier, one core", "ms", 0.5, False),
        ("faces", f"{BATCH} faces, classifier, {cores} {'core' if cores == 1 else 'cores'}", "faces/s", 4000.0, True),
        ("photo", f"picture {width}×{height}, one face, end to end", "ms", 20.0, False),
    ]
    middle = {step: median(found) for step, found in steps.items()}
    return [
        Measure(name, what, unit, tuple(values[name]), budget, more, middle if name == "photo" else {})
        for name, what, unit, budget, more in table
        if values[name]
    ]


def recorded() -> tuple[dict[str, Any], list[Measure]]:
    """The recorded measurement that this version of mien came with.

    Returns:
        What it was measured with (``date``, ``mien``, ``commit``, ``bundle``, ``machine``), and its rows.

    Raises:
        MienError: if the file is not there or cannot be read.
    """
    try:
        found = json.loads(files("mien.bench").joinpath(RECORDED).read_text(encoding="utf-8"))
        return {key: found[key] for key in found if key != "rows"}, [Measure.from_json(row) for row in found["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise MienError("this installation of mien lacks its recorded benchmark; reinstall mien") from None


def machine() -> dict[str, Any]:
    """What a speed depends on: processor, cores, features, system, versions. Nothing that names the machine."""
    from mien.bench.doctor import diagnose

    found = diagnose()
    cpu, packages = found["cpu"], found["packages"]
    return {
        "processor": cpu["name"],
        "cores": cpu["threads"],
        "features": cpu["features"],
        "python": found["python"],
        "versions": {name: packages[name] for name in ("numpy", "onnxruntime", "pillow")},
    }


def typical(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of one call, over as many calls as fit into ``seconds`` and at least three.

    Example:
        >>> 0.001 < typical(lambda: time.sleep(0.002), seconds=0.01) < 1
        True
    """
    work()  # whatever was asleep or pushed out of the cache by another row
    end = time.perf_counter() + seconds
    taken: list[float] = []
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken)


def first_answer(model: Path | None = None) -> tuple[float, float]:
    """Start a Python process that recognises one drawn picture.

    Returns:
        Seconds from the start of the process until its answer is read, and its processor seconds until then.
    """
    code = (
        "import sys, time, mien\n"
        "faces = mien.Recognizer(sys.argv[1] or None).predict(sys.stdin.buffer.read())\n"
        "print(len(faces.labels), time.process_time(), flush=True)\n"
    )
    command = [sys.executable, "-c", code, "" if model is None else str(model)]
    photo = drawn_photo()
    start = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(photo)
        process.stdin.close()
        answer = process.stdout.readline().split()
        wall = time.perf_counter() - start
        complaint = process.stderr.read().decode(errors="replace").strip()
    if len(answer) != 2:
        last = complaint.splitlines()[-1] if complaint else "no answer"
        raise MienError(f"a process that recognises one picture failed ({last}); run `mien doctor`")
    return wall, float(answer[1])


def photo_steps(recognizer: Recognizer, photo: bytes, seconds: float) -> dict[str, float]:
    """Milliseconds of each step of `Recognizer.predict` on one encoded image: decode, detect, crop, classify."""
    from mien.faces import crop_faces, decode

    pixels = decode(photo)
    found = recognizer.detect(pixels)
    spec, framing = recognizer.card.input, recognizer.card.framing

    def crop() -> NDArray[np.uint8]:
        return crop_faces(
            pixels, found.boxes, found.landmarks, size=spec.face_size, colour=spec.colour, framing=framing
        )

    crops = crop()
    work: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(photo),
        "detect": lambda: recognizer.detect(pixels),
        "crop": crop,
        "classify": lambda: recognizer.classify(crops),
    }
    return {step: 1e3 * typical(work[step], seconds / len(STEPS)) for step in STEPS}


def drawn_crops(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (count, 48, 48): drawn faces of all expressions, always the same."""
    from mien.datasets import drawn_faces

    images = drawn_faces(count=max(70, 2 * count), seed=seed).train.images
    return images[:count]


def drawn_photo() -> bytes:
    """A JPEG of `PHOTO_SIZE` with one drawn face on a shaded ground; the detector finds it."""
    import numpy as np
    from PIL import Image

    from mien.datasets import draw_face

    width, height = PHOTO_SIZE
    side = 180
    ground = np.linspace(120, 180, width, dtype=np.float32)[None, :, None] + np.zeros((height, 1, 3), np.float32)
    # Grain as of a camera: a ground without any would make a file that decodes faster than a photograph.
    ground += np.random.default_rng(0).normal(0, 4, ground.shape)
    picture = ground.clip(0, 255).astype(np.uint8)
    picture[100 : 100 + side, 230 : 230 + side] = draw_face("happy", size=side, person=1)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=90)
    return out.getvalue()


def _path_of(model: str | Path | Bundle) -> Path | None:
    """None for a bundle in memory, which a new process cannot read."""
    return Path(model) if isinstance(model, (str, Path)) else None
