"""One default bundle takes the place of another, and may be killed at any moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import standin
from mien.errors import BundleError, InputError
from mien.recognition import bundles

pytest.importorskip("torch")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundles, "files", lambda name: tmp_path)
    return tmp_path


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_no_moment_leaves_a_bundle_that_does_not_open(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    from mien.export import release

    other = tmp_path_factory.mktemp("other")
    old = standin.write(other / "old.onnx").read_bytes()
    new = standin.write(other / "new.onnx", name="newer").read_bytes()
    release.install(old, folder)
    assert json.loads((folder / bundles.PIN).read_text()).keys() == {"sha256"}
    assert bundles.default_bundle().model == old
    done = 0

    def counted(real):
        def write(*arguments):
            nonlocal done
            if done == writes:
                raise KeyboardInterrupt
            done += 1
            return real(*arguments)

        return write

    monkeypatch.setattr(release, "atomic_file", counted(release.atomic_file))
    monkeypatch.setattr(release, "write_text", counted(release.write_text))
    if writes < 3:
        with pytest.raises(KeyboardInterrupt):
            release.install(new, folder)
    else:
        release.install(new, folder)
    assert bundles.default_bundle().model == (old if writes < 2 else new)
    monkeypatch.undo()
    monkeypatch.setattr(bundles, "files", lambda name: folder)
    release.install(new, folder)
    assert bundles.default_bundle().model == new
    assert json.loads((folder / bundles.PIN).read_text()).keys() == {"sha256"}
    (folder / bundles.MODEL).write_bytes(bundles.pack(old))
    with pytest.raises(BundleError, match="not the released file"):
        bundles.default_bundle()
    (folder / bundles.MODEL).write_bytes(b"damaged")
    with pytest.raises(BundleError, match="at most"):
        release.install(b"x" * (bundles.LARGEST + 1), folder)
    release.install(new, folder)
    assert bundles.default_bundle().model == new


def report(**changes: float) -> dict[str, Any]:
    """Of an export whose rounding and calibration cost nothing."""
    of = {"equal": 0.995, "fp32": 0.7, "int8": 0.7, "nll": 0.87, "accuracy": 0.68} | changes
    held_out = {
        "temperature": {"nll": 0.88, "accuracy": 0.68},
        "vector": {"nll": of["nll"], "accuracy": of["accuracy"]},
    }
    rounded = {"same_decision": of["equal"], "selection_accuracy_fp32": of["fp32"], "selection_accuracy": of["int8"]}
    return {**rounded, "vector_scaling": {"held_out": held_out}}


def test_what_costs_little_is_released() -> None:
    from mien.export.release import check_cost

    check_cost(report())
    check_cost(report(int8=0.698, accuracy=0.678))
    check_cost({"selection_accuracy": 0.7})  # fp32 and one temperature


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"equal": 0.98}, "98.00% equal decisions"),
        ({"int8": 0.69}, "1.00% lost"),
        ({"nll": 0.88}, "NLL 0.880 instead of 0.880"),
        ({"accuracy": 0.67}, "accuracy 67.00% instead of 68.00%"),
    ],
)
def test_what_costs_too_much_is_not_released(changes: dict[str, float], message: str) -> None:
    from mien.export.release import check_cost

    with pytest.raises(InputError, match=message):
        check_cost(report(**changes))
