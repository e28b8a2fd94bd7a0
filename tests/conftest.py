from __future__ import annotations

import hashlib
import ipaddress
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mien.datasets import FaceSet
    from mien.training import Run

ROOT = Path(__file__).parents[1]

LONG = (
    "contract/test_systems.py",
    "training/test_several_processes.py",
    "e2e/test_readme.py",
    "training/test_streaming.py",
    "training/test_stages.py",
    "e2e/test_kills.py",
    "training/test_loop.py",
    "training/test_checkpoints.py",
    "e2e/test_distill_guide.py",
    "systems/test_base.py",
    "site/test_leaderboard_cli.py",
    "contract/test_recorded_results.py",
)
"""Files that take longest. They begin first; the last one to begin would otherwise be all that is left to wait for."""


def pytest_configure() -> None:
    """Whoever starts the tests in the background of a script has them ignore what a terminal's Ctrl-C sends."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in bundle whose answers are known (see standin.py)."""
    import standin

    return standin.write(tmp_path_factory.mktemp("bundle") / "standin.onnx")


@pytest.fixture(scope="session")
def faces() -> FaceSet:
    """Drawn faces: 168 to learn from, 21 to choose on, 21 sealed."""
    from mien.datasets import load_dataset

    return load_dataset("drawn", count=210, seed=5)


@pytest.fixture(scope="session")
def trained(faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run on them."""
    from mien.systems import card
    from mien.training import Recipe, train

    settings = [
        "epochs=6", "batch_size=24", "compile=false", "precision=fp32", "ema=0.8", "system.widths=[8, 16]",
        "system.depths=[1, 1]", "schedule.warmup=0.5", "augment.erase_probability=0", "augment.mixup=0",
        "augment.rotate=0", "augment.scale=[1, 1]", "augment.translate=0.05", "optim.name=adamw", "optim.lr=0.01",
    ]  # fmt: skip
    recipe = Recipe.of(card("compact")).set(settings)
    folder = tmp_path_factory.mktemp("runs")
    return train("compact", faces.train, faces.selection, recipe=recipe, out=folder, device="cpu")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches beyond this machine; one that tries fails and says where it wanted to go."""

    def guard(real: Any) -> Any:
        def connect(self: socket.socket, address: Any, *rest: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(str(address[0])):
                raise AssertionError(f"a test wants to connect to {address}")
            return real(self, address, *rest)

        return connect

    monkeypatch.setattr(socket.socket, "connect", guard(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guard(socket.socket.connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", _guard_lookup(socket.getaddrinfo))


@pytest.fixture
def mien_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for one test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MIEN_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def fer2013_npz() -> Path:
    """The real FER2013 as npz (images, labels, usage, votes), made once per checkout from its packed form.

    The packed form is a PNG strip of the distinct faces with an index; it is looked for where ``MIEN_DATA`` points,
    then in ``shared/data`` beside the checkout. Neither may be there: the test is skipped then.
    """
    folders = [Path(os.environ["MIEN_DATA"])] if os.environ.get("MIEN_DATA") else []
    folders += [ROOT.parent / "shared" / "data", ROOT / "shared" / "data"]
    found = [folder for folder in folders if (folder / "fer2013.index.npz").is_file()]
    if not found:
        pytest.skip("FER2013 is not at hand: set MIEN_DATA to the folder with fer2013.png and fer2013.index.npz")
    return _unpacked(found[0])


def _unpacked(folder: Path) -> Path:
    import numpy as np
    from PIL import Image

    index_bytes = (folder / "fer2013.index.npz").read_bytes()
    target = ROOT / ".cache" / f"fer2013-{hashlib.sha256(index_bytes).hexdigest()[:12]}.npz"
    if not target.is_file():
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            strip = np.asarray(Image.open(folder / "fer2013.png")).reshape(-1, 48, 48)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
        with np.load(folder / "fer2013.index.npz") as index:
            rows, labels, usage, votes = (index[name] for name in ("row", "labels", "usage", "votes"))
        target.parent.mkdir(exist_ok=True)
        part = target.with_name(f"{os.getpid()}.npz")
        np.savez(part, images=strip[rows], labels=labels, usage=usage, votes=votes)
        part.replace(target)
    return target


def _is_loopback(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def _guard_lookup(real: Any) -> Any:
    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and name not in ("0.0.0.0", "::") and not _is_loopback(name):
            raise AssertionError(f"a test wants to look up {name!r}")
        return real(host, *rest, **named)

    return getaddrinfo
