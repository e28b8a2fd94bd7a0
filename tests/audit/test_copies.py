from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mien.audit import Pictures, audit, content, copies, from_face_set
from mien.audit.alignment import aligned_correlation
from mien.audit.embedding import embed, unit_faces
from mien.audit.geometry import placement
from mien.audit.neighbours import correlated_pairs, nearest
from mien.audit.photographs import photographs
from mien.datasets import FaceSet
from mien.labels import FER2013
from mien.results import facts


def brute_force(images: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    vectors = unit_faces(images)
    mirrored = unit_faces(np.ascontiguousarray(images[:, :, ::-1]))
    best = np.maximum(vectors @ vectors.T, vectors @ mirrored.T)
    return {(a, b) for a, b in zip(*np.nonzero(best >= threshold), strict=True) if a < b}


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_no_pair_is_missed(drawn, threshold):
    images = drawn.all_rows().images
    pairs = correlated_pairs(images, threshold)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found == brute_force(images, threshold)
    assert len(found) > 3


def test_pairs_say_which_are_mirrored(drawn):
    images = drawn.all_rows().images[:3].copy()
    images[1] = images[0, :, ::-1]
    pairs = correlated_pairs(images, 0.999)
    assert (pairs.first.tolist(), pairs.second.tolist(), pairs.mirrored.tolist()) == ([0], [1], [True])


def test_blank_images_resemble_nothing(drawn):
    images = drawn.all_rows().images[:4].copy()
    images[:2] = 128
    assert len(correlated_pairs(images[:2], 0.1)) == 0
    assert not embed(images[:2]).any()
    assert np.allclose(np.linalg.norm(embed(images[2:]), axis=1), 1, atol=1e-5)


def test_nearest_ranks_and_never_names_the_face_itself(drawn):
    images = drawn.all_rows().images[:30]
    found = nearest(images, images, [placement(), placement(mirrored=True)], 3, themselves=True)
    assert not (found.references == np.arange(30)[:, None]).any()
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert nearest(images[:2], images[:1], [placement()], 5).references.shape == (2, 1)


def test_alignment_finds_a_turned_and_cut_face_and_no_other(drawn):
    images = drawn.all_rows().images[:40]
    changed = np.stack(
        [
            np.asarray(Image.fromarray(image).rotate(6, Image.Resampling.BILINEAR).resize((48, 48), box=(2, 1, 46, 47)))
            for image in images
        ]
    )
    start = np.repeat(placement(4)[None], 40, 0)
    assert aligned_correlation(changed, images, start).min() > 0.97
    assert aligned_correlation(changed, np.roll(images, 20, axis=0), start).max() < 0.97


def test_exact_copies_and_conflicts(make, drawn):
    images = drawn.all_rows().images[:8].copy()
    images[7], images[5], images[1] = images[0], images[0], images[0]
    labels = np.array([0, 3, 0, 0, 0, 0, 0, 6], np.uint8)
    report = audit(make(images, labels))
    assert report.finding("exact-copies").id_lines() == ["0\t1\t5\t7"]
    assert report.finding("copies-across-splits").counts == {"groups": 1}
    # Row 7 lies in the sealed split, so its label is not known; rows 0 and 1 disagree anyway.
    assert report.finding("conflicting-labels").id_lines() == ["0\t1\t5\t7"]
    assert [row[-1] for row in report.table("exact-copies-by-split").rows] == [2, 1, 1]
    assert report.found
    assert any("sealed" in note for note in report.notes)


def test_sealed_labels_make_no_conflict(make, drawn):
    images = drawn.all_rows().images[:8].copy()
    images[7] = images[0]
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 6], np.uint8)
    assert audit(make(images, labels)).finding("conflicting-labels").entries == ()


def test_recut_copies_are_found_and_marked_as_leak(make, drawn):
    images = drawn.all_rows().images[:40].copy()
    picture = Image.fromarray(images[2]).resize((48, 48), Image.Resampling.BICUBIC, box=(4, 0, 48, 44))
    images[38] = np.asarray(picture)[:, ::-1]
    report = audit(make(images))
    recut = report.finding("recut-copies")
    assert recut.id_lines() == ["2\t38"]
    assert recut.entries[0].note == "mirrored"
    assert recut.weight == "leak"
    assert report.finding("near-copies").entries == ()


def test_constant_and_faint_images(make, drawn):
    images = drawn.all_rows().images[:8].copy()
    images[3], images[6] = 7, 100
    images[6, 0, 0] = 101
    constant, faint = content.blank(from_face_set(make(images)))
    assert constant.id_lines() == ["3"]
    assert faint.id_lines() == ["6"]


def test_a_clean_set_is_clean(drawn):
    report = audit(drawn)
    assert not report.found
    assert report.table("class-balance").rows[0][:2] == ("angry", 16)


def test_known_truths_of_fer2013(fer2013: Pictures):
    (across, anywhere), table = copies.exact(fer2013)
    assert anywhere.counts == {
        "groups": 1516,
        "faces": 3369,
        "distinct_images": 34034,
        "surplus_in_Training": 1236,
        "surplus_in_PublicTest": 26,
        "surplus_in_PrivateTest": 17,
    }
    _, public, private = table.rows
    assert (public[2], private[2], private[3], private[5]) == (280, 288, 44, 314)
    assert across.weight == "leak"
    assert len(content.conflicts(fer2013).entries) == 57
    constant, _ = content.blank(fer2013)
    assert constant.counts == {"Training": 11, "PublicTest": 1, "PrivateTest": 0}
    assert content.not_faces(fer2013).counts == {"Training": 150, "PublicTest": 10, "PrivateTest": 16}
    agreement, _ = content.agreement(fer2013)
    assert agreement.rows[-1][0] == "all"
    # 2,294 of 3,589. Counting 0.6397 would give two faces without any vote for the seven to the first expression.
    assert agreement.rows[-1][3] == 0.6392


@pytest.mark.full
def test_photographs_of_fer2013(fer2013: Pictures):
    """All copies of any kind, about two minutes of one core: the published table and the packaged facts."""
    _, table, _ = copies.near(fer2013)
    bands = {row[0]: row[1:] for row in table.rows}
    assert bands["PrivateTest in Training"] == (307, 329, 397, 521)
    assert np.array_equal(photographs(fer2013), facts.load("fer2013").photographs)


def test_photographs_are_pairs_of_rows(drawn):
    images = drawn.all_rows().images[:40].copy()
    images[7] = np.clip(images[3].astype(int) + 12, 0, 255)  # brighter
    images[9] = np.asarray(Image.fromarray(images[4]).resize((48, 48), box=(2, 1, 46, 47)))  # cut differently
    images[11] = images[7]  # an exact copy of a near copy is named by the first of its group
    pictures = from_face_set(FaceSet.from_arrays("own", FER2013, images, drawn.all_rows().labels[:40] % 7,
                                                 np.zeros(40, np.uint8), ("train",), ("train",)))  # fmt: skip
    pairs = photographs(pictures).tolist()
    assert [3, 7] in pairs
    assert [4, 9] in pairs
    assert not any(11 in pair for pair in pairs)
    assert all(a < b for a, b in pairs)


def test_near_copies_of_a_part_of_fer2013(fer2013: Pictures):
    rows = np.arange(0, len(fer2013), 24)
    images = fer2013.images[rows]
    pairs = correlated_pairs(images, 0.85)
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == brute_force(images, 0.85)
