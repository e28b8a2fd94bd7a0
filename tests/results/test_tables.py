"""Which network a result is about: its size, what it began from, who taught it."""

from __future__ import annotations

import pytest

from mien.results.tables import epochs_in_words, measured, value


@pytest.mark.parametrize(
    ("recipe", "start", "teacher"),
    [
        ({"epochs": 2}, "random weights", "nobody"),
        ({"start": {"kind": "fresh"}}, "random weights", "nobody"),
        ({"start": {"kind": "run", "weights": "12ab34cd56"}}, "weights 12ab34cd of an earlier run", "nobody"),
        ({"start": {"kind": "pretrained"}, "distill": {"weight": 0.0}}, "pretrained weights", "nobody"),
        ({"distill": {"weight": 0.7, "teacher": "6150bf635e4e"}}, "random weights", "weights 6150bf63"),
    ],
)
def test_a_result_says_of_which_network_it_is(tmp_path, invent, recipe, start, teacher) -> None:
    made = invent(tmp_path, recipe=recipe)
    assert value(made, "start") == start
    assert value(made, "teacher") == teacher
    assert value(made, "network") == "1 × 48 × 48, 10 parameters"
    rows = dict(measured([made], made.protocol, made.system).rows)
    assert rows["input"] == "1 × 48 × 48"
    assert (rows["began from"], rows["taught by"], rows["parameters"]) == (start, teacher, "10")


@pytest.mark.parametrize(
    ("stages", "training"),
    [
        ([], "mien, 6 epochs"),
        ([{"name": "a", "epochs": 4}, {"name": "b", "epochs": 2}], "mien, 6 epochs"),
        (
            [
                {"name": "a", "epochs": 4, "augment": {"size": 24}},
                {"name": "b", "epochs": 1},
                {"name": "c", "epochs": 1},
            ],
            "mien, 6 epochs (4 at 24 px, 2 at 48 px)",
        ),
        ([{"name": "a", "epochs": 9, "augment": {"size": 24}}, {"name": "b", "epochs": 2}], "mien, 6 epochs"),
    ],
)
def test_epochs_on_smaller_faces_are_told(tmp_path, invent, stages, training) -> None:
    recipe = {"name": "mien", "input": {"size": 48}, "stages": stages}
    made = invent(tmp_path, recipe=recipe, cost={"epochs": 6})
    assert value(made, "training") == training
    assert epochs_in_words(made) == training.removeprefix("mien, ")
    onward = invent(tmp_path, recipe={**recipe, "start": {"kind": "run"}}, cost={"epochs": 6})
    assert epochs_in_words(onward) == training.removeprefix("mien, ").replace("6 epochs", "6 more epochs")


def test_what_has_no_epochs_has_no_words_for_them(tmp_path, invent) -> None:
    assert epochs_in_words(invent(tmp_path, kind="classical", cost={"seconds": 1.5})) == ""


def test_what_has_no_weights_began_from_nothing(tmp_path, invent) -> None:
    made = invent(tmp_path, kind="classical", cost={"seconds": 1.5})
    assert [value(made, name) for name in ("start", "teacher", "network")] == ["–", "–", "–"]
    assert not {"began from", "taught by", "input"} & {
        name for name, _ in measured([made], made.protocol, made.system).rows
    }
