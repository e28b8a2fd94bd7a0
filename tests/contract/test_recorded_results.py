"""The results that the project shows: recomputed, complete, in place, and quoted correctly."""

from pathlib import Path

import numpy as np
import pytest

import mien
from mien.recognition.bundles import default_bundle
from mien.results import Ledger, load_all, protocols, verify
from mien.results.documents import documents, fill
from mien.results.provenance import TRAININGS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def verified():
    if not RESULTS.is_dir():
        pytest.skip("no results are recorded here")
    names = pytest.importorskip("mien.systems").names()
    members = pytest.importorskip("mien.systems.named_ensembles").members()
    return verify(RESULTS, systems=names, ensembles=members, ranked=True)


def test_every_result_holds(verified):
    # Metrics recomputed, path equals content, hashes, openings, nothing removed that the ledger lists.
    assert [f"{finding.file}: {finding.message}" for finding in verified.findings] == []


@pytest.mark.parametrize("revision", ["HEAD", "HEAD^"])
def test_ledger_and_results_only_grow(revision):
    from mien.errors import InputError
    from mien.results.growth import grown

    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout, so there is no older copy to compare with")
    try:
        found = grown(RESULTS, revision)
    except InputError as error:
        pytest.skip(str(error))
    assert [f"{name}: {message}" for name, message in found] == []


def test_the_ledger_is_whole_and_every_opening_names_a_known_protocol():
    for opening in Ledger(RESULTS / "ledger.jsonl").openings():
        protocol = protocols.get(opening.protocol)
        assert protocol.sealed
        assert opening.split == protocol.test_split


def test_only_results_and_their_documents_lie_there(verified):
    allowed = {".json", ".npz", ".md", ".jsonl"}
    files = [path for path in RESULTS.rglob("*") if path.is_file() and path != RESULTS / TRAININGS]
    strays = [path for path in files if path.suffix not in allowed]
    assert strays == []
    assert all(path.stat().st_size < 2 << 20 for path in RESULTS.rglob("*.npz"))


def test_no_number_in_the_documents_is_stale():
    shipped = {"default": default_bundle().card.sha256}
    found = fill(ROOT, check=True, shipped=shipped)
    stale = [f"{one.file}, line {one.line}: run `mien results docs`" for one in found]
    assert stale == []


def test_documents_are_found():
    assert RESULTS / "README.md" in documents(ROOT)


def test_the_shipped_bundle_decides_here_as_it_is_recorded(fer2013_npz):
    """Another processor rounds otherwise; one that computes wrongly would decide a tenth of the faces otherwise."""
    shipped = default_bundle().card.sha256
    recorded = next(r for r in load_all(RESULTS) if r.weights_sha256 == shipped and r.views == "one")
    with np.load(fer2013_npz) as data:
        faces = data["images"][recorded.selection.rows]
    decided = mien.Recognizer(detector=None).classify(faces).probabilities.argmax(axis=1)
    assert (decided == recorded.selection_scores.argmax(axis=1)).mean() >= 0.995
