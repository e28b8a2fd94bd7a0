"""The published numbers: they are those of the leaderboard, they read strictly, they need nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mien import systems
from mien.errors import DataError, UnknownNameError
from mien.systems import claims as module
from mien.systems.claims import Claim, claims, parse, publication, publications

# The leaderboard that this project started from, from place 1 to 17.
BOARD = (82.47, 81.33, 79.79, 76.82, 76.33, 76.12, 75.97, 75.42, 74.42, 74.14, 73.7, 73.28, 72.16, 72.03, 70.2, 70.02,
         67.48)  # fmt: skip


def test_the_leaderboard_is_whole_and_in_order() -> None:
    ranked = [claim for claim in claims(dataset="fer2013") if claim.rank is not None]
    assert [claim.rank for claim in ranked] == list(range(1, 18))
    assert tuple(claim.value for claim in ranked) == BOARD


def test_other_data_sets_have_their_numbers() -> None:
    found = {(c.dataset, c.model): c.value for c in claims() if c.dataset != "fer2013"}
    assert found == {
        ("ckplus", "DeepEmotion"): 98,
        ("ferg", "DeepEmotion"): 99.3,
        ("jaffe", "DeepEmotion"): 92.8,
        ("expw", "ResEmoteNet"): 75.67,
        ("rafdb", "ResEmoteNet"): 94.76,
        ("affectnet", "ResEmoteNet"): 72.93,
    }


def test_what_the_leaderboard_lists_without_extra_data_is_told_apart_from_what_is_known() -> None:
    emonext = claims(system="emonext-xl")[0]
    assert emonext.listed_extra_data is False
    assert emonext.extra_data == ("ImageNet-22k",)
    assert {note.kind for note in emonext.notes} >= {"extra data"}


@pytest.mark.parametrize("system", systems.names())
def test_a_card_and_its_claim_on_fer2013_name_the_same_further_data(system: str) -> None:
    for claim in claims(system, "fer2013"):
        assert claim.extra_data == systems.card(system).extra_data


def test_incomparable_claims_say_so() -> None:
    identiface = claims(system="identiface")[0]
    assert identiface.classes == 5
    assert {note.kind for note in identiface.notes} == {"classes", "split"}


def test_notes_stay_neutral() -> None:
    loaded = ("leak", "cheat", "fraud", "fake", "wrong", "suspicious", "not credible", "bug", "mistake")
    for claim in claims():
        for note in claim.notes:
            assert not [word for word in loaded if word in note.text.lower()], note.text


def test_a_claim_shares_date_authors_and_code_of_its_paper() -> None:
    claim = claims(system="emonext-xl")[0]
    assert (claim.date, claim.authors[0]) == ("2025-01-14", "Yassine El Boudouri")
    assert claim.code == publication("emonext").code
    bow = claims(system="local-learning-bow")[0]
    assert bow.authors[0] == "Radu Tudor Ionescu", "the system's authors, not those of the report"


def test_claims_and_papers_do_not_change() -> None:
    with pytest.raises(AttributeError):
        claims()[0].value = 99.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        publications()[0].title = "x"  # type: ignore[misc]


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="'ckplus'"):
        claims(dataset="ckplu")
    with pytest.raises(UnknownNameError, match="'turtle'"):
        publication("turtl")
    assert claims(system="compact") == (), "a system of our own claims nothing"


def test_every_paper_is_claimed_and_reads_as_bibtex() -> None:
    used = {paper.id for claim in claims() for paper in (claim.paper, *claim.further_papers) if paper}
    keys = [paper.bibtex().partition("{")[2].partition(",")[0] for paper in publications()]
    assert {paper.id for paper in publications()} == used
    assert len(set(keys)) == len(keys)
    assert all(key.isascii() and key.isalnum() for key in keys)


PAPER = '[[paper]]\nid = "a"\ntitle = "A"\n'
CLAIM = '[[claim]]\ndataset = "d"\nmetric = "accuracy"\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CLAIM + "valu = 3", "valu"),
        (CLAIM + "value = 101", "0–100"),
        (CLAIM + 'paper = "b"', "no paper is called 'b'"),
        (CLAIM + 'date = "2020-13-01"', "YYYY-MM-DD"),
        (CLAIM + 'notes = [{ kind = "gossip", text = "x" }]', "kind of a note"),
        (CLAIM + 'notes = [{ kind = "split", text = "x", links = ["javascript:alert(1)"] }]', "https://"),
        (CLAIM + 'code = [{ url = "http://x" }]', "https://"),
        (CLAIM + CLAIM, "claimed twice"),
        ('[[claim]]\nmodel = "m"', "dataset"),
        (PAPER + PAPER, "two papers"),
        (PAPER + 'type = "book"', "inproceedings"),
        ("[[claims]]", "did you mean 'claim'"),
        ("[[claim", "mend"),
    ],
)
def test_a_broken_file_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(text)


def test_unknown_stays_empty() -> None:
    claim = parse(CLAIM)[1][0]
    assert claim == Claim("d", "accuracy", "m")
    assert (claim.value, claim.split, claim.classes, claim.year, claim.listed_extra_data) == (
        None,
        "",
        None,
        None,
        None,
    )


def test_the_source_is_attributed_beside_the_file() -> None:
    text = module.FILE.with_name("claims.LICENSE.md").read_text(encoding="utf-8")
    assert "Papers With Code" in text
    assert "creativecommons.org/licenses/by-sa/4.0" in text


def test_reading_claims_loads_neither_torch_nor_numpy() -> None:
    code = "import sys; from mien.systems.claims import claims; claims(); print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
