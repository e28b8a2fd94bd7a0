"""What is measured without a data set named is measured on its own one, as far as a stranger's word for it goes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mien.bundle import read_bundle
from mien.datasets import DATASETS, DataSet, drawn_faces
from mien.errors import InputError, UnknownNameError
from mien.evaluation.data_choice import MOST, Behind, behind, data_for, notes_of


def run(**info: Any) -> SimpleNamespace:
    return SimpleNamespace(info=info)


def test_the_first_that_knows_its_own_decides() -> None:
    drawn = run(data="drawn", data_options={"count": 70, "seed": 1})
    found = data_for([run(), drawn, run(data="fer2013")])
    assert found.fingerprint == drawn_faces(70, 1).fingerprint != drawn_faces(70).fingerprint
    assert data_for([drawn], "drawn").fingerprint == found.fingerprint
    with pytest.raises(InputError, match="drawn is made, not read: leave out --path"):
        data_for([drawn], path="x")


def test_faces_that_are_drawn_otherwise_today_are_none_to_measure_on() -> None:
    options = {"count": 70, "seed": 1}
    own = run(data="drawn", data_options=options, data_fingerprint=drawn_faces(70, 1).fingerprint)
    assert data_for([own]).fingerprint == own.info["data_fingerprint"]
    with pytest.raises(InputError, match="are made otherwise today"):
        data_for([run(data="drawn", data_options=options, data_fingerprint="0" * 64)])
    with pytest.raises(InputError, match="trained on different drawn faces"):
        data_for([own, run(data="drawn", data_options={"count": 70, "seed": 2})])
    # Whichever of them says so, and whatever the first one is of.
    with pytest.raises(InputError, match="are made otherwise today"):
        data_for(
            [
                run(data="drawn", data_options=options),
                run(data="drawn", data_options=options, data_fingerprint="0" * 64),
            ]
        )
    assert data_for([run(data="fer2013"), own], "drawn").fingerprint == own.info["data_fingerprint"]


def test_what_is_noted_of_a_data_set_is_what_is_read() -> None:
    faces = drawn_faces(70, 1)
    assert behind(run(**notes_of(faces))) == Behind("drawn", {"count": 70, "seed": 1}, faces.fingerprint)


@pytest.mark.parametrize("data", [["x"] * 100_000, "x" * 101, {"a": 1}])
def test_a_name_that_is_none_is_told_in_short(data: Any) -> None:
    with pytest.raises(InputError, match="is no name") as caught:
        data_for([run(data=data)])
    assert len(str(caught.value)) < 200


def test_without_options_the_usual_ones_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS._entries, "drawn", DataSet("drawn", "few", make=lambda count=70: drawn_faces(count)))
    assert data_for([run(data="drawn")]).fingerprint == drawn_faces(70).fingerprint
    # Of another data set the options of its own say nothing.
    assert data_for([run(data="fer2013", data_options="x")], "drawn").fingerprint == drawn_faces(70).fingerprint


def test_a_bundle_knows_it_by_its_card(bundle_path: Path) -> None:
    bundle = read_bundle(bundle_path)
    training = {"data": "drawn", "data_options": {"count": 70, "seed": 0}}
    assert behind(replace(bundle, card=replace(bundle.card, notes={"training": training}))) == Behind(
        "drawn", {"count": 70, "seed": 0}
    )
    for notes in ({}, {"training": "x"}, [], None):
        assert behind(SimpleNamespace(card=SimpleNamespace(notes=notes))) == Behind()


@pytest.mark.parametrize(
    "options",
    ['{"count": "many"}', '{"count": null}', '{"count": Infinity}', '{"count": 70.0}', '{"count": true}', "[1]",
     '"x"', "null", '{"count": 70, "light": 3}', '{"count": [70]}'],
)  # fmt: skip
def test_options_that_cannot_be_used_are_one_sentence(options: str) -> None:
    with pytest.raises(InputError, match=r"trained on drawn with the options .* takes whole numbers as count"):
        data_for([run(data="drawn", data_options=json.loads(options))])
    with pytest.raises(InputError, match="and fer2013 takes none here"):
        data_for([run(data="fer2013", data_options=json.loads(options))])


def test_a_stranger_has_no_endless_work_done() -> None:
    with pytest.raises(InputError, match="100,001 drawn faces are behind it; more than 100,000 are not drawn"):
        data_for([run(data="drawn", data_options={"count": MOST + 1})])
    with pytest.raises(InputError, match="count of drawn faces is a whole number from 1, not -5"):
        data_for([run(data="drawn", data_options={"count": -5})])


def test_a_data_set_that_is_none_of_ours() -> None:
    with pytest.raises(InputError, match="it was trained on 'fer2031', which is no data set of mien; name one"):
        data_for([run(data="fer2031")])
    with pytest.raises(UnknownNameError, match="did you mean 'fer2013'"):
        data_for([run(data="drawn")], "fer2031")
