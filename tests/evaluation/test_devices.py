"""Devices: what they are called, and which one each of several processes takes."""

from __future__ import annotations

import pytest

from mien.errors import InputError
from mien.evaluation.devices import check_device, device_of
from mien.evaluation.processes import own_device

torch = pytest.importorskip("torch")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("two_gpus")
def test_a_device_has_one_name() -> None:
    assert [device_of(name) for name in ("cpu", "gpu", "cuda:1", "auto")] == ["cpu", "cuda", "cuda:1", "cuda"]
    assert device_of(torch.device("cpu")) == "cpu"
    assert device_of(torch.device("cuda", 1)) == "cuda:1"
    for wrong in ("cuda:", "gpu:", "cpu:", "cpu:0", "cuda:x", ""):
        with pytest.raises(InputError, match=f"no device is called '{wrong}'"):
            device_of(wrong)
    with pytest.raises(InputError, match="there is no device 'cuda:2' here"):
        check_device(torch.device("cuda", 2))


@pytest.mark.usefixtures("two_gpus", "second_process")
def test_each_of_several_processes_has_a_gpu_of_its_own() -> None:
    assert [own_device(name) for name in ("auto", "cuda", "gpu")] == ["cuda:1"] * 3
    assert [own_device(name) for name in ("cuda:0", "cpu")] == ["cuda:0", "cpu"]


@pytest.mark.usefixtures("second_process")
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="there is no device 'cuda:1' here"):
        own_device("auto")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert own_device("auto") == "cpu"


def test_one_process_alone_looks_for_nothing_before_it_has_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle is measured without torch, whatever device is named for runs."""
    monkeypatch.setattr("mien.evaluation.devices._there", lambda kind: pytest.fail("torch was asked"))
    assert own_device("auto") == "auto"
