from __future__ import annotations

import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from faces_on_disk import USAGES, Faces

from mien.datasets import UNLABELLED, FaceSet, copies_of, duplicate_groups
from mien.datasets.disk import open_face_set, write_face_set
from mien.datasets.faceset import fingerprint
from mien.errors import DataError, InputError, SealedSplitError
from mien.labels import FER2013, FERPLUS
from mien.results import Ledger, Opening

ROLES = ("train", "selection", "test")


def noted(folder: Path, split: str, fingerprint: str) -> Opening:
    """An opening that a ledger in ``folder`` holds."""
    ledger = Ledger(folder / "ledger.jsonl")
    return ledger.open_split("own/test@1", split, "x", "run", "00", "00", "one", fingerprint)


@pytest.fixture
def face_set(faces: Faces) -> FaceSet:
    return FaceSet.from_arrays("fer2013", FER2013, faces.images, faces.labels, faces.usage, USAGES, ROLES)


@pytest.fixture
def stored(face_set: FaceSet, tmp_path: Path) -> FaceSet:
    return write_face_set(face_set, tmp_path / "stored")


def test_splits_partition_the_rows(stored: FaceSet, faces: Faces) -> None:
    splits = [stored.train, stored.selection, stored.test]
    np.testing.assert_array_equal(np.sort(np.concatenate([split.rows for split in splits])), np.arange(len(stored)))
    assert [(split.name, split.role) for split in splits] == list(zip(USAGES, ROLES, strict=True))
    assert stored.train.rows.dtype == np.int64
    np.testing.assert_array_equal(stored.selection.labels, faces.labels[faces.usage == 1])
    assert sum(stored.train.counts().values()) == len(stored.train)


def test_the_test_split_is_sealed_until_the_ledger_notes_it(stored: FaceSet, faces: Faces, tmp_path: Path) -> None:
    sealed = stored.test
    for what in ("images", "labels", "groups"):
        with pytest.raises(SealedSplitError, match=r"mien\.evaluate"):
            getattr(sealed, what)
        assert not hasattr(stored, what) or what == "groups"
    assert (len(sealed), sealed.name, sealed.fingerprint) == (14, "PrivateTest", stored.fingerprint)
    with pytest.raises(SealedSplitError, match="'PublicTest'"):
        sealed.open(noted(tmp_path, "PublicTest", stored.fingerprint))
    with pytest.raises(SealedSplitError, match="opening of the data 000"):
        sealed.open(noted(tmp_path, "PrivateTest", "0" * 64))
    opened = sealed.open(noted(tmp_path, "PrivateTest", stored.fingerprint))
    np.testing.assert_array_equal(opened.labels, faces.labels[faces.usage == 2])
    assert opened.role == "test"


def test_an_opening_that_no_ledger_holds_opens_nothing(stored: FaceSet, tmp_path: Path) -> None:
    real = noted(tmp_path, "PrivateTest", stored.fingerprint)
    by_hand = Opening(**{**asdict(real), "ledger": ""})
    with pytest.raises(SealedSplitError, match="made by hand"):
        stored.test.open(by_hand)
    with pytest.raises(SealedSplitError, match="holds no such line"):
        stored.test.open(replace(real, system="another"))
    with pytest.raises(SealedSplitError, match="holds no such line"):
        stored.test.open(replace(real, ledger=str(tmp_path / "elsewhere.jsonl")))
    path = Path(real.ledger)
    text = path.read_text()
    path.write_text(text.replace('"system":"x"', '"system":"y"'))
    with pytest.raises(SealedSplitError, match="its hash does not match"):
        stored.test.open(real)
    path.write_text("")
    with pytest.raises(SealedSplitError, match="holds no such line"):
        stored.test.open(real)
    path.write_text(text)
    assert len(stored.test.open(real)) == len(stored.test)


def test_all_rows_hides_the_labels_of_test_rows(stored: FaceSet, faces: Faces) -> None:
    rows = stored.all_rows()
    np.testing.assert_array_equal(rows.images, faces.images)
    assert set(rows.labels[faces.usage == 2]) == {UNLABELLED}
    np.testing.assert_array_equal(rows.labels[faces.usage < 2], faces.labels[faces.usage < 2])


def test_contiguous_rows_are_views_of_the_memory_map(stored: FaceSet) -> None:
    images = stored.train.images
    assert np.shares_memory(images, stored._images)
    with pytest.raises(ValueError, match="read-only"):
        images[0, 0, 0] = 1
    scattered = stored.train.subset([0, 2, 5])
    assert not np.shares_memory(scattered.images, stored._images)
    with pytest.raises(ValueError, match="read-only"):
        scattered.images[0, 0, 0] = 1


def test_subsets(stored: FaceSet) -> None:
    train = stored.train
    mask = train.labels == 3
    np.testing.assert_array_equal(train.subset(mask).rows, train.rows[mask])
    np.testing.assert_array_equal(train.subset([3, 1]).labels, train.labels[[3, 1]])
    np.testing.assert_array_equal(train.subset([3, 1]).groups, train.groups[[3, 1]])
    assert len(train.subset([])) == len(train.subset([]).images) == 0
    with pytest.raises(InputError, match="mask for 14 rows"):
        train.subset(np.ones(3, bool))


def test_without_test_keeps_the_rest(face_set: FaceSet) -> None:
    kept = face_set.without_test()
    assert kept.split_names == ("Training", "PublicTest")
    np.testing.assert_array_equal(kept.train.images, face_set.train.images)
    np.testing.assert_array_equal(kept.selection.labels, face_set.selection.labels)
    with pytest.raises(DataError, match="no test split"):
        _ = kept.test


def test_the_fingerprint_covers_everything(faces: Faces) -> None:
    base = (faces.images, faces.labels, faces.usage)
    seen = {fingerprint(*base, FER2013, USAGES)}
    for index in range(3):
        changed = [array.copy() for array in base]
        changed[index].flat[5] ^= 1
        seen.add(fingerprint(*changed, FER2013, USAGES))  # type: ignore[arg-type]
    seen.add(fingerprint(*base, FERPLUS, USAGES))
    seen.add(fingerprint(*base, FER2013, ("a", "b", "c")))
    seen.add(fingerprint(faces.images[::-1], faces.labels, faces.usage, FER2013, USAGES))
    assert len(seen) == 7
    assert fingerprint(np.asfortranarray(faces.images), *base[1:], FER2013, USAGES) in seen


def test_storing_keeps_everything(face_set: FaceSet, stored: FaceSet) -> None:
    assert stored.fingerprint == face_set.fingerprint
    assert (stored.roles, stored.split_names, stored.label_set) == (face_set.roles, USAGES, FER2013)
    np.testing.assert_array_equal(stored.groups, face_set.groups)
    assert isinstance(stored._images.base, np.memmap)
    assert len(pickle.dumps(stored)) < 2000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored)).train.images, face_set.train.images)
    assert pickle.loads(pickle.dumps(face_set)).fingerprint == face_set.fingerprint


@pytest.mark.parametrize("damage", ["meta.json", "images.npy", "labels.npy"])
def test_damaged_files_are_named(stored: FaceSet, damage: str) -> None:
    assert stored._folder is not None
    path = stored._folder / damage
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="import it again"):
        open_face_set(stored._folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": np.zeros((42, 48, 48))}, "images must be uint8"),
        ({"images": np.zeros((42, 48, 48, 4), np.uint8)}, "images must be uint8"),
        ({"labels": np.zeros(41, np.uint8)}, r"labels must be uint8 \(42,\)"),
        ({"labels": np.full(42, 7, np.uint8)}, "label 7 does not exist"),
        ({"splits": np.full(42, 3, np.uint8)}, "split 3 does not exist"),
        ({"split_names": ("a", "b", "c"), "roles": None}, "what the splits"),
        ({"split_names": ("a", "a", "c")}, "name of its own"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(faces: Faces, changes: dict[str, object], words: str) -> None:
    values = {"images": faces.images, "labels": faces.labels, "splits": faces.usage}
    values |= {"split_names": USAGES, "roles": ROLES, **changes}
    with pytest.raises(InputError, match=words):
        FaceSet.from_arrays("fer2013", FER2013, **values)  # type: ignore[arg-type]


def test_colour_faces(faces: Faces) -> None:
    colour = np.repeat(faces.images[..., None], 3, axis=3)
    got = FaceSet.from_arrays("own", FER2013, colour, faces.labels, faces.usage)
    assert got.image_shape == (48, 48, 3)
    assert got.roles == ROLES


@pytest.mark.parametrize("collide", [False, True])
def test_duplicate_groups_against_numpy(collide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if collide:
        monkeypatch.setattr("zlib.crc32", lambda data: sum(bytes(data)) % 3)
    images = np.random.default_rng(0).integers(0, 3, (300, 2, 2), np.uint8)
    groups = duplicate_groups(images)
    assert groups.dtype == np.int32
    _, want = np.unique(images.reshape(300, -1), axis=0, return_inverse=True)
    same = groups[:, None] == groups[None]
    np.testing.assert_array_equal(same, want.ravel()[:, None] == want.ravel()[None])
    first = [int(np.flatnonzero(groups == number)[0]) for number in range(groups.max() + 1)]
    assert first == sorted(first), "numbered by first appearance"
    np.testing.assert_array_equal(copies_of(groups[:50], groups[50:]), [g in groups[50:] for g in groups[:50]])
