"""Feature matrices: cached, resumable, refused where they are broken."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.datasets import FaceSet
from mien.errors import InputError
from mien.features import (
    SiftGrid,
    assign_words,
    cached_rows,
    dense_sift,
    learn_vocabulary,
    mirror_descriptors,
    network_features,
    read_matrix,
    visual_words,
)
from mien.features.cache import counted
from mien.training import Run

pytest.importorskip("cv2")
pytest.importorskip("faiss")

GRID = SiftGrid(side=48, step=12, patches=(16,))


def test_an_array_is_computed_once(tmp_path: Path) -> None:
    calls = []

    def make(start: int, stop: int) -> Any:
        calls.append(start)
        return np.arange(start, stop)[:, None]

    for _ in range(2):
        found = cached_rows("numbers", {"a": 1}, (5, 1), np.int64, make, block=2, folder=tmp_path)
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert calls == [0, 2, 4]
    cached_rows("numbers", {"a": 2}, (5, 1), np.int64, make, block=5, folder=tmp_path)
    assert calls == [0, 2, 4, 0], "another parameter is another array"


def test_a_stopped_computation_goes_on_after_its_last_block(tmp_path: Path) -> None:
    seen: list[int] = []

    def make(start: int, stop: int) -> Any:
        if start == 4 and 4 not in seen:
            seen.append(4)
            raise KeyboardInterrupt
        seen.append(start)
        return np.arange(start, stop)[:, None]

    with pytest.raises(KeyboardInterrupt):
        cached_rows("numbers", {}, (6, 1), np.int64, make, block=2, folder=tmp_path)
    assert not list(tmp_path.rglob("*.npy")), "nothing unfinished looks finished"
    found = cached_rows("numbers", {}, (6, 1), np.int64, make, block=2, folder=tmp_path)
    assert seen == [0, 2, 4, 4]
    assert found[:, 0].tolist() == list(range(6))
    assert sorted(path.suffix for path in tmp_path.rglob("*.*")) == [".cost", ".npy"]


def test_an_array_from_the_cache_tells_what_it_took(tmp_path: Path) -> None:
    stopped = []

    def make(start: int, stop: int) -> Any:
        time.sleep(0.05)
        if start == 2 and not stopped:
            stopped.append(start)
            raise KeyboardInterrupt
        return np.arange(start, stop)[:, None]

    def ask(**key: int) -> dict[str, Any]:
        with counted() as stages:
            for _ in range(2):  # asked for twice, it still took its time once
                cached_rows("numbers", key, (6, 1), np.int64, make, block=2, folder=tmp_path)
        return stages()

    with pytest.raises(KeyboardInterrupt):
        ask(a=1)
    first = ask(a=1)
    assert first["numbers"]["seconds"] >= 0.15, "the block before the stop counts, too"
    assert ask(a=1) == first
    with counted() as stages:
        for a in (1, 2):
            cached_rows("numbers", {"a": a}, (6, 1), np.int64, make, block=2, folder=tmp_path)
    assert stages()["numbers"]["seconds"] >= first["numbers"]["seconds"] + 0.15
    for note in tmp_path.rglob("*.cost"):
        note.unlink()
    assert ask(a=1) == {"numbers": "unknown"}, "an older cache"


def test_two_at_one_array_compute_it_once(tmp_path: Path) -> None:
    """Whoever comes second waits; a lock on one file keeps threads apart as it does processes."""
    calls: list[int] = []
    started = threading.Event()

    def make(start: int, stop: int) -> Any:
        calls.append(start)
        started.set()
        time.sleep(0.05)
        return np.arange(start, stop)[:, None]

    def ask() -> Any:
        return np.array(cached_rows("numbers", {"b": 1}, (6, 1), np.int64, make, block=2, folder=tmp_path))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask)
        assert started.wait(10)
        second = pool.submit(ask)
        assert first.result().tolist() == second.result().tolist() == [[n] for n in range(6)]
    assert calls == [0, 2, 4]
    assert sorted(path.suffix for path in (tmp_path / "numbers").iterdir()) == [".cost", ".npy"]


def test_features_with_nan_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NaN"):
        cached_rows("bad", {}, (2, 1), np.float32, lambda a, b: np.full((b - a, 1), np.nan), folder=tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


def test_sift_describes_each_place_of_the_grid(faces: FaceSet) -> None:
    described = dense_sift(faces.train.images[:3], GRID, threads=1)
    assert described.shape == (3, len(GRID), 128)
    assert len(GRID) == 16
    lengths = np.linalg.norm(described, axis=2)
    assert np.isclose(lengths[lengths > 0], 1, atol=1e-5).all()
    alone = dense_sift(faces.train.images[1:2], GRID, threads=1)
    assert np.array_equal(alone[0], described[1]), "a face's descriptors do not depend on its company"


def test_places_are_where_the_grid_says() -> None:
    # A single bright dot changes the descriptors of the patches that cover it, and no others.
    blank = np.full((1, 48, 48), 100, np.uint8)
    dot = blank.copy()
    dot[0, 40, 8] = 255
    changed = np.flatnonzero((dense_sift(blank, GRID, 1) != dense_sift(dot, GRID, 1)).any(axis=2)[0])
    nearest = np.linalg.norm(GRID.centres - np.array([8, 40], np.float32) / 48, axis=1).argmin()
    assert nearest in changed
    assert len(changed) < len(GRID) / 2


def test_mirrored_faces_have_mirrored_descriptors(faces: FaceSet) -> None:
    grid = SiftGrid(side=47, step=6, patches=(12, 16))
    images = np.array(faces.train.images[:2])
    own, mirrored = (dense_sift(np.ascontiguousarray(of), grid, 1) for of in (images, images[:, :, ::-1]))
    expected = mirror_descriptors(own)[:, grid.mirrored]
    assert np.abs(mirrored - expected).mean() < 0.01
    assert np.abs(mirrored - own).mean() > 0.03


def test_words_are_the_nearest_of_the_vocabulary(faces: FaceSet, mien_cache: Path) -> None:
    images = np.array(faces.train.images[:20])
    vocabulary = learn_vocabulary(images, GRID, 12, seed=1)
    described = dense_sift(images, GRID, 1)
    words = visual_words(images, GRID, vocabulary)
    apart = np.linalg.norm(described[:, :, None] - vocabulary, axis=3)
    assert np.array_equal(words, apart.argmin(axis=2))
    assert np.array_equal(assign_words(described, vocabulary, 1), words)
    assert np.array_equal(vocabulary, learn_vocabulary(images, GRID, 12, seed=1))
    assert not np.array_equal(vocabulary, learn_vocabulary(images, GRID, 12, seed=2))


def test_a_vocabulary_larger_than_the_descriptors_is_refused(faces: FaceSet, mien_cache: Path) -> None:
    with pytest.raises(InputError, match="larger than the 32 descriptors"):
        learn_vocabulary(np.array(faces.train.images[:2]), GRID, 33)
    assert not mien_cache.exists()


def test_penultimate_features_of_a_run_and_its_bundle_agree(
    trained: Run, faces: FaceSet, tmp_path: Path, mien_cache: Path
) -> None:
    images = np.array(faces.selection.images)
    of_run = network_features(trained, images)
    bundle = trained.export(tmp_path / "small.onnx")
    of_bundle = network_features(bundle, images)
    assert of_run.shape == (len(images), 16)
    np.testing.assert_allclose(of_run, of_bundle, atol=1e-4)
    head = trained.module().head
    scores = trained.subject().logits
    from mien.faces.views import get_view

    logits = get_view("one").scores(images, trained.recipe.input, scores)
    import torch

    with torch.no_grad():
        np.testing.assert_allclose(head(torch.from_numpy(np.array(of_run))).numpy(), logits, atol=1e-4)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(4), r"features are \(faces, D\)"),
        (np.zeros((3, 2)), "3 rows for 4 faces"),
        (np.full((4, 2), np.nan), "row 0 holds NaN"),
        (np.array([["a"]] * 4), "no matrix of numbers"),
    ],
)
def test_broken_matrices_are_refused(array: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", array)
    with pytest.raises(InputError, match=message):
        read_matrix(tmp_path / "own.npy", 4)


def test_what_is_no_matrix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("words")
    for name, message in (("text.npy", "no array of numbers"), ("none.npy", "No such file")):
        with pytest.raises(InputError, match=message):
            read_matrix(tmp_path / name)
