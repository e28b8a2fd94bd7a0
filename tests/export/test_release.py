"""One default bundle takes the place of another, and may be killed at any moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import standin
from mien.errors import BundleError
from mien.recognition import default

pytest.importorskip("torch")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(default, "files", lambda name: tmp_path)
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
    assert json.loads((folder / default.PIN).read_text()).keys() == {"sha256"}
    assert default.default_bundle().model == old
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
    assert default.default_bundle().model == (old if writes < 2 else new)
    monkeypatch.undo()
    monkeypatch.setattr(default, "files", lambda name: folder)
    release.install(new, folder)
    assert default.default_bundle().model == new
    assert json.loads((folder / default.PIN).read_text()).keys() == {"sha256"}
    (folder / default.MODEL).write_bytes(old)
    with pytest.raises(BundleError, match="not the released file"):
        default.default_bundle()
