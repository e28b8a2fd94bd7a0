"""bf16 is computed where it is a gain; elsewhere fp32, and the run says so."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import tiny
import torch

from mien.datasets import FaceSet
from mien.errors import InputError
from mien.evaluation.subjects import subject_of
from mien.training import Progress
from mien.training.compute import precision
from mien.training.compute.parallel import fabric_of


@pytest.mark.parametrize(("has", "computed"), [(True, "bf16"), (False, "fp32")])
def test_bf16_on_a_cpu_depends_on_the_processor(monkeypatch: pytest.MonkeyPatch, has: bool, computed: str) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: has)
    assert precision.computed("bf16", "cpu") == computed
    assert precision.computed("bf16", "cuda") == "bf16"
    assert precision.computed("fp32", "cpu") == precision.computed("fp32", "cuda") == "fp32"
    with fabric_of("cpu", "bf16").autocast():
        product = torch.zeros(2, 2) @ torch.zeros(2, 2)
    assert product.dtype is (torch.bfloat16 if has else torch.float32)


@pytest.mark.parametrize("device", ["tpu", "abacus"])
def test_a_device_that_is_not_there_is_refused_in_a_sentence(device: str) -> None:
    with pytest.raises(InputError, match=f"no device is called '{device}'; .*auto, cpu, cuda, mps") as refused:
        fabric_of(device, "fp32")
    assert "\n" not in str(refused.value)


def test_a_cpu_without_bf16_trains_as_in_fp32(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: False)
    steps = [tiny.run(drawn, tmp_path / name, f"precision={name}") for name in ("bf16", "fp32")]
    assert steps[0].recipe.hash != steps[1].recipe.hash
    assert [run.info["environment"]["precision"] for run in steps] == ["fp32", "fp32"]
    assert steps[0].info["weights_sha256"] == steps[1].info["weights_sha256"]
    monkeypatch.setattr(precision, "has_bf16", lambda: True)
    half = tiny.run(drawn, tmp_path / "half", "precision=bf16")
    assert half.info["environment"]["precision"] == "bf16"
    assert half.info["weights_sha256"] != steps[0].info["weights_sha256"]
    # A result says it, too: both have one recipe.
    assert steps[0].recipe.hash == half.recipe.hash
    found = [run.subject().environment for run in (steps[0], half)]
    assert [each["trained_precision"] for each in found] == ["fp32", "bf16"]
    assert [each["precision"] for each in found] == ["fp32", "fp32"], "that of the measurement"
    for run, trained in ((steps[0], "fp32"), (half, "bf16")):
        bundle = run.export(tmp_path / f"{trained}.onnx")
        assert subject_of(bundle).environment["trained_precision"] == trained


def test_a_run_that_goes_on_elsewhere_names_both(
    drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(now: Progress) -> None:
        if now.entry:
            raise KeyboardInterrupt

    monkeypatch.setattr(precision, "has_bf16", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, tmp_path, "precision=bf16", on_progress=stop)
    monkeypatch.setattr(precision, "has_bf16", lambda: False)
    run = tiny.run(drawn, tmp_path, "precision=bf16", resume=True)
    assert [entry["precision"] for entry in run.log] == ["bf16", "fp32", "fp32"]
    assert run.info["environment"]["precision"] == "bf16 and fp32"


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
def test_pytorch_still_tells_what_the_processor_has() -> None:
    """Were the question renamed, every CPU would be taken for one without bf16."""
    assert torch.ops.mkldnn._is_mkldnn_bf16_supported() in (True, False)
    if platform.machine() == "x86_64":
        has = (torch.cpu._is_avx512_bf16_supported(), torch.cpu._is_amx_tile_supported())
        assert precision.has_bf16() == any(has)


def test_avx512_alone_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has vectors of bf16 that PyTorch widens first: a fifth of the speed of fp32."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for has in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert precision.has_bf16.__wrapped__() is has
