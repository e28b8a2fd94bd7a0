"""The real FER2013, where it is at hand; the rest on the packaged facts alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faces_on_disk import Faces

from mien.datasets import FaceSet, published
from mien.datasets.fer2013 import read_fer2013
from mien.datasets.published import FINGERPRINT, checksums, compare, published_checksums, restore_order
from mien.datasets.readers import FaceTable
from mien.datasets.readers.npz import read_npz
from mien.labels import FER2013
from mien.results import facts

COUNTS = {
    "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}
"""As in the data set's papers; sums 28,709, 3,589 and 3,589."""


def test_the_packaged_checksums_fit_the_packaged_facts() -> None:
    known, sums = facts.load("fer2013"), published_checksums()
    assert (sums.dtype, len(sums)) == (np.dtype(np.uint32), 35_887)
    # One checksum per distinct image: groups and checksums number the same classes.
    pairs = np.unique(np.stack([known.groups.astype(np.int64), sums.astype(np.int64)]), axis=1)
    assert pairs.shape[1] == len(np.unique(sums)) == len(np.unique(known.groups)) == 34_034


def test_published_counts() -> None:
    known = facts.load("fer2013")
    counts = published._counts(known.labels, known.splits, known.split_names)
    assert counts == {split: dict(zip(FER2013.labels, row, strict=True)) for split, row in COUNTS.items()}


def test_a_copy_is_compared_image_by_image(faces: Faces) -> None:
    got = FaceSet.from_arrays(
        "fer2013", FER2013, faces.images, faces.labels, faces.usage, *(("a", "b", "c"), ("train", "selection", "test"))
    )
    assert compare(got).images_differ == 42
    assert not compare(got).official_content
    assert (compare(got).official_file, compare(got, "f8428a1edbd21e88f42c73edd2a14f95").official_file) == (
        None,
        "fer2013.csv",
    )


@pytest.fixture(scope="module")
def table(fer2013_npz: Path) -> FaceTable:
    with fer2013_npz.open("rb") as stream:
        return read_npz(stream, str(fer2013_npz))


def built(table: FaceTable) -> FaceSet:
    return FaceSet.from_arrays(
        "fer2013", FER2013, table.images, table.labels, table.splits, table.split_names, table.roles
    )


def test_the_real_data_set(table: FaceTable) -> None:
    got, known = built(table), facts.load("fer2013")
    assert got.fingerprint == FINGERPRINT
    assert compare(got).official_content
    np.testing.assert_array_equal(checksums(table.images), published_checksums())
    np.testing.assert_array_equal(got.groups, known.groups)
    np.testing.assert_array_equal(got.splits, known.splits)
    assert [tuple(split.counts().values()) for split in (got.train, got.selection)] == list(COUNTS.values())[:2]
    values, weights = np.arange(256) / 255, np.bincount(got.train.images.ravel(), minlength=256)
    mean = float(np.average(values, weights=weights))
    deviation = float(np.average((values - mean) ** 2, weights=weights)) ** 0.5
    assert (round(mean, 4), round(deviation, 4)) == (0.5077, 0.2550)


def test_a_shuffled_copy_finds_its_order_again(table: FaceTable) -> None:
    order = np.random.default_rng(0).permutation(len(table.images))
    shuffled = replace(table, images=table.images[order], labels=table.labels[order], splits=table.splits[order])
    assert built(shuffled).fingerprint != FINGERPRINT
    restored, how = restore_order(shuffled)
    assert built(restored).fingerprint == FINGERPRINT
    assert "checksums" in how


def test_a_merged_test_split_is_told_apart_by_content(table: FaceTable) -> None:
    merged = replace(
        table,
        splits=np.minimum(table.splits, 1),
        split_names=("Training", "Test"),
        roles=("train", "test"),
        notes=("PublicTest and PrivateTest are merged",),
    )
    restored, _ = restore_order(merged)
    assert built(restored).fingerprint == FINGERPRINT
    assert restored.notes == ()


def test_one_changed_image_is_found(table: FaceTable) -> None:
    images = table.images.copy()
    images[17, 3, 3] ^= 1
    changed, how = restore_order(replace(table, images=images))
    assert how == "as in the file"
    comparison = compare(built(changed))
    assert (comparison.official_content, comparison.images_differ) == (False, 1)
    fewer = replace(table, images=images[:-10], labels=table.labels[:-10], splits=table.splits[:-10])
    assert compare(built(fewer)).images_differ == 1


@pytest.mark.full
def test_the_real_csv_files(table: FaceTable, tmp_path: Path) -> None:
    usage = np.array(("Training", "PublicTest", "PrivateTest"))[table.splits]
    pixels = [" ".join(map(str, image.ravel().tolist())) for image in table.images]
    rows = list(zip(table.labels.tolist(), pixels, usage.tolist(), strict=True))
    for name, header, lines in (
        ("fer2013.csv", "emotion,pixels,Usage\n", (f"{label},{face},{use}\n" for label, face, use in rows)),
        ("icml_face_data.csv", "emotion, Usage, pixels\n", (f"{label},{use},{face}\n" for label, face, use in rows)),
    ):
        with (tmp_path / name).open("w", newline="\n") as out:
            out.write(header)
            out.writelines(lines)
        got = read_fer2013(tmp_path / name)
        assert got.fingerprint == FINGERPRINT
        assert got.info["official_file"] == name
        (tmp_path / name).unlink()
