from pathlib import Path

import numpy as np
import pytest

from mien.errors import UnknownNameError
from mien.results import facts, protocols
from mien.results.facts import generate


@pytest.fixture(scope="module")
def fer():
    return facts.load("fer2013")


def test_counts_per_split_and_class(fer):
    assert [len(fer.rows(split)) for split in fer.split_names] == [28709, 3589, 3589]
    assert np.bincount(fer.labels[fer.rows("PrivateTest")]).tolist() == [491, 55, 528, 879, 594, 416, 626]
    assert np.bincount(fer.labels[fer.rows("PublicTest")]).tolist() == [467, 56, 496, 895, 653, 415, 607]
    assert np.bincount(fer.labels[fer.rows("Training")]).tolist() == [3995, 436, 4097, 7215, 4830, 3171, 4965]


def test_exact_copies(fer):
    sizes = np.bincount(fer.groups)
    assert len(sizes) == 34034
    assert (sizes > 1).sum() == 1516
    assert sizes[sizes > 1].sum() == 3369
    private, public = fer.rows("PrivateTest"), fer.rows("PublicTest")
    assert fer.has_copy_in("Training")[private].sum() == 288
    assert fer.has_copy_in("Training")[public].sum() == 280
    assert fer.has_copy_in("PublicTest")[private].sum() == 44
    assert fer.has_copy_in("Training", "PublicTest")[private].sum() == 314


def test_groups_with_conflicting_labels(fer):
    pairs = np.unique(np.column_stack([fer.groups, fer.labels]), axis=0)
    assert (np.bincount(pairs[:, 0]) > 1).sum() == 57


def test_groups_are_numbered_by_first_appearance(fer):
    _, first = np.unique(fer.groups, return_index=True)
    assert (np.diff(first) > 0).all()
    assert fer.groups[0] == 0


def test_ferplus_votes(fer):
    private = fer.rows("PrivateTest")
    labels, plurality = fer.labels[private], fer.ferplus_plurality[private]
    # On 16 faces nobody voted for any of the seven; the published 63.97 % counts them as angry, the lowest id.
    assert (plurality == facts.NONE).sum() == 16
    assert round(100 * float((np.where(plurality == facts.NONE, 0, plurality) == labels).mean()), 2) == 63.97
    assert (plurality == labels).sum() == 2294
    assert fer.ferplus_clear[private].sum() == 2720
    assert not fer.ferplus_clear[fer.ferplus_plurality == facts.NONE].any()
    majority = [int((fer.ferplus_majority[fer.rows(split)] != facts.NONE).sum()) for split in fer.split_names]
    assert majority == [25060, 3199, 3153]


def test_arrays_are_read_only_and_small(fer):
    with pytest.raises(ValueError, match="read-only"):
        fer.labels[0] = 1
    assert Path(facts.__file__).with_name("fer2013.npz").stat().st_size < 64 << 10


def test_photographs(fer):
    """One photograph in other pixels: what the audit found, exact copies included."""
    pairs = fer.photographs
    assert pairs.dtype == np.int32
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert (fer.groups[pairs[:, 0]] != fer.groups[pairs[:, 1]]).all()
    assert (np.unique(fer.groups, return_index=True)[1][fer.groups[pairs]] == pairs).all()  # first rows of groups
    private, public = fer.rows("PrivateTest"), fer.rows("PublicTest")
    # The table of the audit, benchmarks/recorded/audit_fer2013.json, was made from images.
    assert fer.has_photograph_in("Training")[private].sum() == 926
    assert fer.has_photograph_in("Training")[public].sum() == 916
    assert fer.has_photograph_in("PublicTest")[private].sum() == 192
    exact, any_kind = (f("Training", "PublicTest")[private] for f in (fer.has_copy_in, fer.has_photograph_in))
    assert not (exact & ~any_kind).any()
    assert (exact.sum(), any_kind.sum()) == (314, 988)


def test_no_face_votes(fer):
    assert (fer.ferplus_no_face > 5).sum() == 176
    assert fer.ferplus_no_face.max() == 10


def test_unknown_names(fer):
    with pytest.raises(UnknownNameError, match="did you mean 'fer2013'"):
        facts.load("fer2031")
    with pytest.raises(UnknownNameError, match="PrivateTest"):
        fer.rows("PrivatTest")


def test_votes_to_labels():
    #                 neu hap sur sad ang dis fea con unk nf
    votes = np.array([[0, 0, 0, 5, 5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 10], [6, 1, 1, 1, 0, 0, 0, 0, 1, 0],
                      [0, 0, 0, 0, 0, 0, 0, 9, 1, 0], [3, 1, 1, 1, 1, 1, 1, 1, 0, 0]], np.uint8)  # fmt: skip
    plurality, clear = generate.seven_expression_plurality(votes)
    assert plurality.tolist() == [0, 255, 6, 255, 6]  # a tie of sad (4) and angry (0) goes to the lower id
    assert clear.tolist() == [False, False, True, False, False]
    assert generate.ferplus_majority(votes).tolist() == [255, 255, 0, 7, 0]


def test_generator_is_deterministic(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 4, 4), dtype=np.uint8)
    images[4] = images[1]
    np.savez(tmp_path / "in.npz", images=images, labels=np.arange(6, dtype=np.uint8), usage=np.zeros(6, np.uint8),
             votes=rng.integers(0, 5, (6, 10), dtype=np.uint8))  # fmt: skip
    for name in ("a.npz", "b.npz"):
        generate.main([str(tmp_path / "in.npz"), "--out", str(tmp_path / name)])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as made:
        assert made["copies"].tolist() == [[4, 1]]


def test_packaged_facts_are_those_of_the_real_data(fer2013_npz, fer):
    from mien.datasets.faceset import fingerprint

    with np.load(fer2013_npz) as data:
        images, labels, usage, votes = (data[name] for name in ("images", "labels", "usage", "votes"))
    made = generate.make(images, labels, usage, votes)
    with np.load(Path(facts.__file__).with_name("fer2013.npz")) as packed:
        assert set(made) == set(packed.files)
        for name, array in made.items():
            assert array.dtype == packed[name].dtype
            assert np.array_equal(array, packed[name])
    assert fingerprint(images, labels, usage, fer.label_set, fer.split_names) == facts.FER2013_FINGERPRINT


def test_protocol_faces():
    private = protocols.get("fer2013/private@1")
    assert len(private.test) == len(private.selection) == 3589
    assert private.selection.fit.sum() == 3309
    assert private.test.slices["clean@1"].sum() == 3275
    assert private.test.shown_slices["clean@2"].sum() == 2601
    assert not (private.test.shown_slices["clean@2"] & ~private.test.slices["clean@1"]).any()
    plus = protocols.get("ferplus/majority@1")
    assert (len(plus.selection), len(plus.test)) == (3199, 3153)
    assert np.bincount(plus.test.labels).tolist() == [1090, 893, 396, 384, 273, 18, 83, 16]


def test_folds_keep_copies_together_and_classes_in_proportion():
    test = protocols.get("fer2013/folds@1").test
    assert len(test) == 28709
    assert test.folds.dtype == np.uint8
    spread = np.array([np.bincount(test.labels[test.folds == fold], minlength=7) for fold in range(5)])
    assert (np.ptp(spread, axis=0) <= 2).all()
    pairs = np.unique(np.column_stack([test.groups, test.folds]), axis=0)
    assert len(pairs) == len(np.unique(test.groups))


def test_folds_never_change():
    import hashlib

    from mien.results.protocols.fer2013_folds_1 import folds

    assert hashlib.sha256(folds().tobytes()).hexdigest()[:16] == "a103ad480e7acc23"


def test_every_protocol_file_is_found_under_its_name():
    here = Path(protocols.__file__).parent
    files = {path.stem for path in here.glob("*.py")} - {"__init__"}
    assert files == {name.replace("/", "_").replace("@", "_") for name in protocols.names()}
