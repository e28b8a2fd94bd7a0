"""FER+ as it is imported: votes joined to FER2013 by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.datasets import ferplus, import_dataset, load_dataset
from mien.datasets.ferplus_votes import COLUMNS, targets
from mien.datasets.report import check, info, list_datasets
from mien.errors import DataError, InputError
from mien.labels import FERPLUS
from mien.results import facts


def invented() -> np.ndarray:
    """Votes that have the published majority and nothing else of the published votes, uint8 (35887, 10)."""
    known = facts.load("fer2013")
    votes = np.zeros((len(known), 10), np.uint8)
    told = known.ferplus_majority != facts.NONE
    votes[told, known.ferplus_majority[told]] = 7
    votes[told, 8] = 3
    votes[~told, :2] = 5
    return votes


def write(votes: np.ndarray, path: Path) -> Path:
    known = facts.load("fer2013")
    rows = [
        f"{known.split_names[split]},fer0.png,{','.join(map(str, row))}"
        for split, row in zip(known.splits, votes.tolist(), strict=True)
    ]
    path.write_text("\n".join(["Usage,Image name," + ",".join(COLUMNS), *rows]), encoding="utf-8")
    return path


def test_the_card_counts_what_the_facts_say() -> None:
    known = facts.load("fer2013")
    for index, split in enumerate(known.split_names):
        labels = known.ferplus_majority[(known.splits == index) & (known.ferplus_majority != facts.NONE)]
        counts = dict(zip(FERPLUS.labels, np.bincount(labels, minlength=8).tolist(), strict=True))
        assert ferplus.CARD.counts[0][split] == counts


def test_votes_are_kept_of_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    assert ferplus.stored_votes() is None
    path = write(invented(), tmp_path / "fer2013new.csv")
    meta = ferplus.import_votes(path)
    assert ferplus.stored_votes() == meta
    known = facts.load("fer2013")
    kept = np.load(tmp_path / "cache" / "datasets" / "ferplus" / "votes" / "votes.npy")
    assert not kept[known.splits != 0].any()
    assert np.array_equal(kept[known.splits == 0], invented()[known.splits == 0])
    entry = next(entry for entry in list_datasets() if entry["name"] == "ferplus")
    assert (entry["made_from"], entry["imported"]) == ("fer2013", [])  # FER2013 itself is missing
    with pytest.raises(InputError, match="joined to fer2013, which is not imported yet"):
        import_dataset("ferplus", path)
    assert info("ferplus")["imported"] is False


def test_other_votes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    votes = invented()
    votes[[7, 9]] = votes[[9, 7]][:, ::-1]
    with pytest.raises(DataError, match=r"give 2 faces another majority .* row 7 first \(line 9\)"):
        ferplus.import_votes(write(votes, tmp_path / "fer2013new.csv"))
    assert not (tmp_path / "cache" / "datasets" / "ferplus").exists()
    with pytest.raises(InputError, match="nothing is known of raters' votes about drawn"):
        ferplus.votes_of(load_dataset("drawn", count=70))


def test_the_official_set_learns_from_its_votes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fer2013_npz: Path
) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    load_dataset("fer2013", fer2013_npz)
    data = load_dataset("ferplus")
    assert data.info["votes"] == "not imported"
    with pytest.raises(InputError, match="not imported yet: run `mien data import ferplus"):
        ferplus.votes_of(data)
    assert check("ferplus")["findings"] == [
        "The votes are not imported: run `mien data import ferplus fer2013new.csv`."
    ]
    path = write(np.load(fer2013_npz)["votes"], tmp_path / "fer2013new.csv")
    imported = import_dataset("ferplus", path)
    assert (imported.fingerprint, imported.info["votes"]) == (facts.FERPLUS_FINGERPRINT, str(path))
    assert check("ferplus", path)["findings"] == check("ferplus")["findings"] == []
    rows, images = ferplus.undecided(data)
    assert (
        len(rows)
        == len(images)
        == len(data.rows("without majority"))
        - sum(int((facts.load("fer2013").splits[data.rows("without majority")] == index).sum()) for index in (1, 2))
    )
    votes = ferplus.votes_of(data)
    usable = targets(votes[rows], "probability").any(axis=1)
    assert 0 < usable.sum() < len(rows)
    broken = tmp_path / "cache" / "datasets" / "ferplus" / "votes" / "votes.npy"
    np.save(broken, np.zeros_like(votes))
    assert "changed after the import" in check("ferplus")["findings"][0]
