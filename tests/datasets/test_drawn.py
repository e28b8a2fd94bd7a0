from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.datasets import load_dataset
from mien.datasets.drawn import draw_face, drawn_faces
from mien.errors import InputError
from mien.labels import FER2013


@pytest.fixture(scope="module")
def drawn():  # type: ignore[no-untyped-def]
    return drawn_faces(count=700, seed=1)


def test_equal_seeds_give_equal_faces(drawn) -> None:  # type: ignore[no-untyped-def]
    small = load_dataset("drawn", count=140, seed=1)
    assert small.fingerprint == drawn_faces(140, 1).fingerprint
    assert small.fingerprint != drawn_faces(140, 2).fingerprint
    assert drawn.image_shape == (48, 48)


def test_splits_share_no_person_and_classes_are_equally_frequent(drawn) -> None:  # type: ignore[no-untyped-def]
    assert [len(drawn.train), len(drawn.selection), len(drawn.test)] == [560, 70, 70]
    assert set(drawn.train.counts().values()) == {80}
    assert set(drawn.selection.counts().values()) == {10}
    people = np.arange(700) // 7
    for one, other in ((drawn.train, drawn.selection), (drawn.train, drawn.test), (drawn.selection, drawn.test)):
        assert not set(people[one.rows]) & set(people[other.rows])
    assert len(np.unique(drawn.groups)) == 700


def test_faces_are_pictures_and_differ(drawn) -> None:  # type: ignore[no-untyped-def]
    images = drawn.train.images
    assert images.std(axis=(1, 2)).min() > 5, "no blank face"
    assert 90 < images.mean() < 165
    assert images.mean(axis=(1, 2)).std() > 10, "light and skin vary"


def test_a_linear_classifier_learns_them_but_not_all(drawn) -> None:  # type: ignore[no-untyped-def]
    """Ridge regression on standardised pixels: chance is 14 %."""

    def features(split):  # type: ignore[no-untyped-def]
        flat = split.images.reshape(len(split), -1).astype(np.float64)
        return (flat - flat.mean(1, keepdims=True)) / (flat.std(1, keepdims=True) + 1)

    x, targets = features(drawn.train), np.eye(7)[drawn.train.labels]
    kernel = x @ x.T
    weights = np.linalg.solve(kernel + 800 * np.eye(len(x)), targets)
    right = (features(drawn.selection) @ x.T @ weights).argmax(1) == drawn.selection.labels
    assert 0.27 < right.mean() < 0.9


def test_too_few_faces_and_unknown_expressions_are_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        drawn_faces(count=69)
    with pytest.raises(InputError, match="did you mean 'happy'"):
        draw_face("hapy")


@pytest.mark.parametrize("size", [24, 97])
def test_one_face_in_colour(size: int) -> None:
    pictures = [draw_face(expression, size=size) for expression in FER2013.labels]
    assert all(picture.shape == (size, size, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 7
    np.testing.assert_array_equal(draw_face("sad", size=size), draw_face("sad", size=size))
    assert not np.array_equal(draw_face("sad", size=size, person=1), draw_face("sad", size=size))
    at_rest = [draw_face(expression, size=size, strength=0.0) for expression in ("sad", "happy")]
    np.testing.assert_array_equal(*at_rest)


@pytest.mark.parametrize("size", [0, -1, 10_000, 2.5])
def test_a_face_of_no_such_size_is_refused(size: Any) -> None:
    with pytest.raises(InputError, match="a side of 1 to 4,096 px"):
        draw_face("happy", size=size)


@pytest.mark.full
def test_a_small_network_learns_them() -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    faces = drawn_faces(2100, 2)

    def tensors(split):  # type: ignore[no-untyped-def]
        images = torch.tensor(split.images).float()[:, None]
        images = (images - images.mean((2, 3), keepdim=True)) / (images.std((2, 3), keepdim=True) + 1)
        return images, torch.tensor(split.labels).long()

    net = nn.Sequential(
        *[nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()],
        *[nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()],
        *[nn.Conv2d(32, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.ReLU(), nn.Flatten(), nn.Linear(48 * 36, 7)],
    )
    images, labels = tensors(faces.train)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    for _ in range(8):
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    net.eval()
    images, labels = tensors(faces.selection)
    accuracy = (net(images).argmax(1) == labels).float().mean().item()
    assert accuracy > 0.5


def test_drawn_faces_are_kept_and_the_oldest_go(mien_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.datasets import drawn_kept, load_dataset

    first = load_dataset("drawn", count=504, seed=1)
    assert first.fingerprint == drawn_faces(504, 1).fingerprint
    monkeypatch.setattr(drawn_kept, "drawn_faces", lambda **options: pytest.fail("drawn anew"))
    assert load_dataset("drawn", count=504, seed=1).fingerprint == first.fingerprint
    monkeypatch.undo()
    monkeypatch.setenv("MIEN_CACHE", str(mien_cache))
    monkeypatch.setattr(drawn_kept, "SETS", 1)
    load_dataset("drawn", count=504, seed=2)
    assert [folder.name[:6] for folder in (mien_cache / "datasets" / "drawn").glob("5*")] == ["504-2-"]
    load_dataset("drawn", count=70)
    assert len(list((mien_cache / "datasets" / "drawn").glob("[0-9]*"))) == 1, "few faces are drawn sooner than read"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.datasets import load_dataset

    (tmp_path / "file").touch()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "file"))
    assert len(load_dataset("drawn", count=504, seed=1)) == 504
