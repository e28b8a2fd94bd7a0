"""Faces in shards: an array that decodes what it is asked for."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.datasets import faceset, import_dataset, library, load_dataset, shards
from mien.datasets.disk import open_face_set, write_face_set
from mien.datasets.report import check
from mien.datasets.shards import ShardedImages, write_shards
from mien.errors import DataError
from mien.labels import FER2013


@pytest.mark.parametrize("shape", [(9, 7), (8, 8, 3)])
def test_it_is_used_like_an_array(shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 4000)
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    seen: list[tuple[int, int]] = []
    write_shards(images, tmp_path, lambda *now: seen.append(now))
    assert seen[-1] == (20, 20)
    assert len(list(tmp_path.glob("*.tar"))) > 1
    with tarfile.open(tmp_path / "00000.tar") as tar:  # as any program reads it
        assert tar.getnames()[0] == "00000000.png"
    found = ShardedImages(tmp_path)
    assert (found.shape, found.dtype, found.ndim, found.nbytes, len(found)) == (
        images.shape, images.dtype, images.ndim, images.nbytes, 20,
    )  # fmt: skip
    mask = np.arange(20) % 3 == 0
    for which in (4, -1, slice(2, 9), slice(None, None, -2), [3, 3, 0], mask, np.array([], np.int64)):
        assert np.array_equal(found[which], images[which])
    part = found.taken(np.array([5, 2, 5]))
    assert np.array_equal(np.asarray(part), images[[5, 2, 5]])
    assert np.array_equal(np.asarray(part.taken(np.array([1]))), images[[2]])


@pytest.mark.parametrize("shape", [(9, 7), (8, 6, 3)])
def test_every_program_reads_a_face_and_faces_of_every_program_are_read(
    shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (shards.TOGETHER + 6, *shape), dtype=np.uint8)
    images[3] = 200
    for image in images[:5]:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(shards._encoded(image)))), image)

    def mixed(image: np.ndarray) -> bytes:
        """Some as another program writes them."""
        if image.flat[0] % 2:
            return real(image)
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        return out.getvalue()

    real = shards._encoded
    monkeypatch.setattr(shards, "_encoded", mixed)
    write_shards(images, tmp_path)
    found = ShardedImages(tmp_path)
    ours = [found._inflated(found._files.read(*place)) is not None for place in found._index.tolist()]
    assert ours == (images.reshape(len(images), -1)[:, 0] % 2 == 1).tolist()
    assert np.array_equal(found[:], images)
    assert all(np.array_equal(found[row], images[row]) for row in range(5))


def test_a_damaged_face_is_refused(tmp_path: Path) -> None:
    write_shards(np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8), tmp_path)
    found = ShardedImages(tmp_path)
    _, start, size = found._index[2].tolist()
    whole = (tmp_path / "00000.tar").read_bytes()
    (tmp_path / "00000.tar").write_bytes(whole[: start + 43] + bytes(size - 60) + whole[start + size - 17 :])
    assert found[[0, 1, 3]].shape == (3, 8, 8)
    with pytest.raises(DataError, match="face 2 cannot be decoded"):
        found[[1, 2]]


def test_a_face_set_in_shards_is_the_same_face_set(tmp_path: Path) -> None:
    data = load_dataset("drawn", count=70)
    stored = write_face_set(data, tmp_path / "stored", shards=True)
    assert not (tmp_path / "stored" / "images.npy").exists()
    assert isinstance(stored.train.images, ShardedImages)
    assert isinstance(stored.train.subset([3, 1]).images, ShardedImages)
    assert np.array_equal(stored.selection.images, data.selection.images)
    assert stored.train.rows_hash == data.train.rows_hash
    assert stored.without_test().fingerprint == data.without_test().fingerprint
    (tmp_path / "stored" / "shards" / "shards.json").write_text("{}")
    with pytest.raises(DataError, match="no shards of faces"):
        open_face_set(tmp_path / "stored")


def test_a_fingerprint_holds_few_faces_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8), tmp_path)
    many = ShardedImages(tmp_path).taken(np.arange(320) % 8)
    monkeypatch.setattr(faceset, "pieces", lambda images: shards.pieces(images, 32))
    zeros = np.zeros(len(many), np.uint8)
    tracemalloc.start()
    try:
        faceset.fingerprint(shards.as_images(many), zeros, zeros, FER2013, ("train",))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * many.nbytes / 10  # two pieces, for one is there while the next is decoded


def test_large_imports_go_into_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for place in ("train/happy", "train/sad", "selection/happy", "test/sad"):
        (tmp_path / "faces" / place).mkdir(parents=True)
        for number in range(3):
            face = Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
            face.save(tmp_path / "faces" / place / f"{number}.png")
    plain = import_dataset("folder", tmp_path / "faces")
    assert not isinstance(plain._images, ShardedImages)
    monkeypatch.setattr(library, "LARGE", 1000)
    packed = import_dataset("folder", tmp_path / "faces")
    assert isinstance(load_dataset("folder")._images, ShardedImages)
    assert packed.fingerprint == plain.fingerprint
    assert not [said for said in check("folder")["findings"] if "changed" in said]
    assert not isinstance(import_dataset("folder", tmp_path / "faces", shards=False)._images, ShardedImages)


def test_shards_that_were_cut_are_refused(tmp_path: Path) -> None:
    write_shards(np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8), tmp_path)
    (tmp_path / "00000.tar").write_bytes((tmp_path / "00000.tar").read_bytes()[:1500])
    found = ShardedImages(tmp_path)
    with pytest.raises(DataError, match="shorter than its index"):
        found[4]
    (tmp_path / "00000.tar").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        ShardedImages(tmp_path)[0]
