import numpy as np
import pytest

from mien.errors import DataError, InputError, MienError, ResultError
from mien.labels import FER2013
from mien.results import Ledger, facts, protocols, verify
from mien.results.submission import read_card, read_predictions, submit

PROTOCOL = "fer2013/private@1"
CARD = """
system = "gabor-svm"
title = "Gabor filters and a support vector machine"
authors = ["Ada Example", "Zoë Müller-Lüdenscheidt"]
protocol = "fer2013/private@1"
scores = "margins"
extra_data = []
url = "https://example.org/gabor-svm?x=1"
notes = "Trained on Training / chosen on PublicTest.\\nNothing else."
"""


@pytest.fixture(scope="module")
def scores(invent_scores):
    """Equal images get equal scores, as from any real system."""
    test = protocols.get(PROTOCOL).test
    _, first, group = np.unique(test.groups, return_index=True, return_inverse=True)
    return invent_scores(test, skill=0.6)[first[group]]


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "card.toml"
    path.write_text(CARD)
    return path


def write_csv(path, ids, scores, labels=FER2013.labels):
    order = [FER2013.labels.index(label) for label in labels]
    lines = [",".join(["id", *labels])]
    lines += [f"{i},{','.join(f'{row[k]:.5f}' for k in order)}" for i, row in zip(ids, scores, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_npz(path, ids, scores):
    np.savez(path, ids=ids, scores=scores)
    return path


def test_csv_and_npz_give_the_same(tmp_path, scores):
    protocol = protocols.get(PROTOCOL)
    rows = protocol.test.rows
    shuffled = np.random.default_rng(0).permutation(len(rows))
    a = write_csv(tmp_path / "a.csv", rows[shuffled], scores[shuffled], labels=FER2013.labels[::-1])
    b = write_npz(tmp_path / "b.npz", rows, scores)
    selection, from_csv = read_predictions(a, protocol)
    assert selection is None
    assert from_csv == pytest.approx(scores, abs=1e-5)
    assert read_predictions(b, protocol)[1] == pytest.approx(scores)


def test_a_submission_is_recorded_and_verifies(tmp_path, card, scores):
    folder = tmp_path / "results"
    result = submit(write_csv(tmp_path / "p.csv", protocols.get(PROTOCOL).test.rows, scores), card, folder)
    assert (result.kind, result.views, result.system) == ("submitted", "submitted", "gabor-svm")
    assert result.submission["authors"] == ["Ada Example", "Zoë Müller-Lüdenscheidt"]
    assert 0.55 < result.metrics["accuracy"] < 0.75
    assert "nll" not in result.metrics
    found = verify(folder, systems=["vggnet"], ranked=True)
    assert found.holds
    assert found.openings == {"gabor-svm": 1}


def test_a_submission_is_not_called_like_a_system(tmp_path, card, scores):
    folder = tmp_path / "results"
    predictions = write_csv(tmp_path / "p.csv", protocols.get(PROTOCOL).test.rows, scores)
    with pytest.raises(DataError, match="gabor-svm is a system of this project; choose an id of your own"):
        submit(predictions, card, folder, systems=["gabor-svm"])
    assert not folder.exists()
    submit(predictions, card, folder)
    assert "needs its own" in verify(folder, systems=["gabor-svm"]).findings[0].message


def test_with_selection_scores_logits_are_calibrated(tmp_path, card, scores, invent_scores):
    protocol = protocols.get(PROTOCOL)
    card.write_text(CARD.replace('"margins"', '"logits"'))
    ids = np.concatenate([protocol.selection.rows, protocol.test.rows])
    both = np.concatenate([invent_scores(protocol.selection, skill=0.6), scores])
    result = submit(write_npz(tmp_path / "p.npz", ids, both), card, tmp_path / "results")
    assert result.metrics["temperature"] > 0
    assert result.metrics["selection_accuracy"] > 0.5


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('title = "<script>alert(1)</script>"', "markup"),
        ('title = "../../etc/passwd"', "path"),
        ('title = "C:\\\\\\\\temp"', "path"),
        ('title = "/root/x"', "path"),
        ('title = "a/b"', "path"),
        ('title = "[x](javascript:alert)"', "markup"),
        ('title = "a\\u0007b"', "control"),
        ('title = ""', "empty"),
        ('title = "' + "x" * 300 + '"', "longer"),
        ('title = 3', "is text"),
        ('system = "../evil"', "path|short id"),
        ('system = "Evil Name"', "short id"),
        ('authors = ["<b>Bob</b>"]', "markup"),
        ('authors = "Bob"', "list"),
        ('authors = []', "empty"),
        ('scores = "votes"', "scores are one of"),
        ('protocol = "fer2013/public@1"', "did you mean"),
        ('protocol = "own/test@1"', "no submissions"),
        ('url = "javascript:alert(1)"', "https"),
        ('url = "https://x.org/\\"><script>"', "https"),
        ('notes = "<img src=x>"', "markup"),
        ('extra_data = "none"', "list"),
        ('seed = "7"', "whole number"),
        ('acuracy = 0.9', "unknown key 'acuracy'"),
    ],
)  # fmt: skip
def test_cards_that_are_refused(card, line, says):
    key = line.split(" = ")[0]
    kept = [other for other in CARD.strip().splitlines() if not other.startswith(f"{key} = ")]
    card.write_text("\n".join([*kept, line]))
    with pytest.raises(MienError, match=says):
        read_card(card)


def test_cards_that_are_no_cards(card, tmp_path):
    card.write_text(CARD.replace("extra_data = []\n", ""))
    with pytest.raises(DataError, match="lacks extra_data"):
        read_card(card)
    card.write_text("title = ")
    with pytest.raises(DataError, match="no TOML"):
        read_card(card)
    card.write_bytes(b"#" * (65 << 10))
    with pytest.raises(DataError, match="larger"):
        read_card(card)
    with pytest.raises(DataError, match="cannot be read"):
        read_card(tmp_path / "none.toml")


def bad_csv(change):
    def write(path, rows, scores):
        write_csv(path, rows, scores)
        lines = path.read_text().splitlines()
        path.write_text("\n".join(change(lines)) + "\n")

    return write


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (bad_csv(lambda x: ["id,anger,disgust", *x[1:]]), "line 1: the header names id,angry"),
        (bad_csv(lambda x: [*x[:5], x[5] + ",1", *x[6:]]), "line 6: 9 fields"),
        (bad_csv(lambda x: [*x[:5], x[5].replace(",", ",x", 1), *x[6:]]), "line 6: could not convert"),
        (bad_csv(lambda x: [*x[:5], x[5].replace(".", ".0.", 1), *x[6:]]), "line 6"),
        (bad_csv(lambda x: [x[0], "32298,nan,0,0,0,0,0,0", *x[2:]]), "id 32298 are not finite"),
        (bad_csv(lambda x: [x[0], "1e3,0,0,0,0,0,0,0", *x[2:]]), "line 2"),
        (bad_csv(lambda x: [*x, x[1]]), "id 32298 is there more than once"),
        (bad_csv(lambda x: x[:-1]), "3,588 of the 3,589 faces of PrivateTest.*id 35886"),
        (bad_csv(lambda x: [x[0], *(f"{n},{y.split(',', 1)[1]}" for n, y in enumerate(x[1:]))]), "0-based rows"),
        (bad_csv(lambda x: x[:1]), "no face"),
        (bad_csv(lambda x: [*x[:3], '"' + x[3], *x[4:]]), "no csv|fields|line"),
        (lambda p, rows, s: p.write_bytes(b"\xff\xfe\x00"), "UTF-8"),
        (lambda p, rows, s: p.write_text(""), "header"),
    ],
)
def test_csv_files_that_are_refused(tmp_path, scores, write, says):
    protocol = protocols.get(PROTOCOL)
    write(tmp_path / "p.csv", protocol.test.rows, scores)
    with pytest.raises(DataError, match=says):
        read_predictions(tmp_path / "p.csv", protocol)


def test_npz_files_that_are_refused(tmp_path, scores):
    protocol = protocols.get(PROTOCOL)
    path, rows = tmp_path / "p.npz", protocol.test.rows
    for ids, values, says in (
        (rows, scores[:, :6], "floats"),
        (rows.astype(float), scores, "whole numbers"),
        (rows, scores.argmax(axis=1), "floats"),
        (rows, np.where(np.arange(7) == 1, np.inf, scores), "not finite"),
    ):
        with pytest.raises(InputError, match=says):
            read_predictions(write_npz(path, ids, values), protocol)
    np.savez(path, ids=rows, scores=scores, extra=np.zeros(1))
    with pytest.raises(InputError, match="'extra'"):
        read_predictions(path, protocol)
    np.savez(path, ids=rows, scores=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="no plain array"):
        read_predictions(path, protocol)
    with pytest.raises(InputError, match=r"\.csv or an \.npz"):
        read_predictions(tmp_path / "p.pkl", protocol)


def refused(tmp_path, card, scores, error, says):
    folder = tmp_path / "results"
    with pytest.raises(error, match=says):
        submit(write_npz(tmp_path / "p.npz", protocols.get(PROTOCOL).test.rows, scores), card, folder)
    assert not list(folder.rglob("*.json"))
    return len(Ledger(folder / "ledger.jsonl").openings())


def test_answer_keys_are_refused_and_counted(tmp_path, card):
    test = protocols.get(PROTOCOL).test
    key = np.eye(7)[test.labels]
    key[:100] = np.roll(key[:100], 1, axis=1)
    assert refused(tmp_path, card, key, ResultError, "equal the labels on 97") == 1
    votes = facts.load("fer2013").ferplus_plurality[test.rows]
    assert refused(tmp_path, card, np.eye(7)[np.where(votes == 255, 0, votes)], ResultError, "FER. votes") == 2


def test_columns_in_alphabetical_order_are_noticed(tmp_path, card, scores):
    alphabetical = [FER2013.labels.index(label) for label in sorted(FER2013.labels)]
    assert refused(tmp_path, card, scores[:, alphabetical], ResultError, "alphabetical") == 1


def test_what_needs_no_label_is_refused_before_the_split_is_opened(tmp_path, card, scores):
    assert refused(tmp_path, card, np.tile(scores[:1], (3589, 1)), DataError, "same scores") == 0
    shuffled = scores[np.random.default_rng(0).permutation(3589)]
    assert refused(tmp_path, card, shuffled, InputError, "exact copies.*another order") == 0
    card.write_text(CARD.replace('"margins"', '"probabilities"'))
    assert refused(tmp_path, card, scores, DataError, "does not sum to 1") == 0
