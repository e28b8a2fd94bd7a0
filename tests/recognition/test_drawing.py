from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.errors import InputError
from mien.labels import FER2013, FERPLUS, LabelSet
from mien.recognition import Expressions
from mien.recognition.drawing import _INK, _PAPER, PALETTE, Rect, _ink_on, _Layout, _luminance, colour_of


def faces_at(boxes: object, size: tuple[int, int], labels: object = None, confidence: float = 0.9) -> Expressions:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    ids = np.arange(len(boxes)) % 7 if labels is None else np.array([FER2013.id(label) for label in labels])  # type: ignore[attr-defined]
    probabilities = np.full((len(boxes), 7), (1 - confidence) / 6)
    probabilities[np.arange(len(boxes)), ids] = confidence
    return Expressions(probabilities, FER2013, 0.5, boxes=boxes, size=size)


def grid(columns: int, rows: int, side: int, gap: int) -> list[list[int]]:
    step = side + gap
    return [
        [gap + x * step, gap + y * step, gap + x * step + side, gap + y * step + side]
        for y, x in itertools.product(range(rows), range(columns))
    ]


def canvas(size: tuple[int, int]) -> np.ndarray:
    return np.full((size[1], size[0], 3), 120, np.uint8)


def test_the_answer_is_a_new_image_of_the_same_size_in_the_expressions_colour() -> None:
    image = canvas((400, 300))
    before = image.copy()
    drawn = faces_at([[100, 100, 200, 220]], (400, 300), ["happy"]).draw(image)
    assert isinstance(drawn, Image.Image)
    assert (drawn.mode, drawn.size) == ("RGB", (400, 300))
    np.testing.assert_array_equal(image, before)
    assert drawn.getpixel((150, 100)) == PALETTE["happy"]  # the frame runs along the box
    assert drawn.getpixel((150, 160)) == (120, 120, 120)  # the face itself stays free
    assert drawn.getpixel((5, 290)) == (120, 120, 120)


def test_undecided_faces_look_different() -> None:
    sure = faces_at([[100, 100, 200, 220]], (400, 300), ["happy"], 0.9).draw(canvas((400, 300)))
    unsure = faces_at([[100, 100, 200, 220]], (400, 300), ["happy"], 0.3).draw(canvas((400, 300)))
    assert sure.getpixel((150, 100)) == PALETTE["happy"]
    assert unsure.getpixel((150, 100)) == (120, 120, 120)  # the frame is broken in the middle of each side
    assert unsure.getpixel((112, 100)) == PALETTE["happy"]  # and has the colour at the corners


def test_the_image_of_the_prediction_is_the_default() -> None:
    image = canvas((400, 300))
    faces = Expressions([[0, 0, 0, 1, 0, 0, 0]], boxes=[[100, 100, 200, 220]], size=(400, 300), image=image)
    assert faces.draw().tobytes() == faces.draw(image).tobytes() == faces.draw(Image.fromarray(image)).tobytes()


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(InputError, match="no image"):
        faces_at([[1, 1, 9, 9]], (20, 20)).draw()
    with pytest.raises(InputError, match="no boxes"):
        Expressions([[0, 0, 0, 1, 0, 0, 0]]).draw(canvas((20, 20)))
    with pytest.raises(InputError, match="found on an image"):
        faces_at([[1, 1, 9, 9]], (20, 20)).draw(canvas((21, 20)))


def test_no_face_leaves_the_image_as_it_is() -> None:
    drawn = Expressions.empty(boxes=np.zeros((0, 4)), size=(40, 30)).draw(canvas((40, 30)))
    np.testing.assert_array_equal(np.asarray(drawn), canvas((40, 30)))


@pytest.mark.parametrize(
    ("boxes", "size"),
    [
        (grid(5, 4, 50, 60), (620, 500)),
        (grid(3, 2, 150, 40), (610, 420)),
        ([[0, 0, 150, 190], [400, 300, 640, 480]], (640, 480)),
        ([[200, 100, 300, 230]], (640, 480)),
    ],
)
def test_labels_and_panels_cover_no_face_and_stay_inside(boxes: list[list[int]], size: tuple[int, int]) -> None:
    marks = _Layout(faces_at(boxes, size), size).marks
    whole = Rect(0, 0, *size)
    for mark in marks:
        for place in filter(None, (mark.chip, mark.panel)):
            assert whole.overlap(place) == pytest.approx((place.x2 - place.x1) * (place.y2 - place.y1), rel=1e-6)
            for other in marks:
                if other is not mark:
                    assert place.overlap(other.box) == 0
                    assert place.overlap(other.chip) == 0
                    assert other.panel is None or place.overlap(other.panel) == 0


def test_a_large_face_with_room_gets_its_panel_and_a_small_one_none() -> None:
    (large,) = _Layout(faces_at([[100, 100, 240, 280]], (640, 480)), (640, 480)).marks
    assert large.panel is not None
    (small,) = _Layout(faces_at([[100, 100, 140, 150]], (640, 480)), (640, 480)).marks
    assert small.panel is None
    (filling,) = _Layout(faces_at([[10, 10, 630, 470]], (640, 480)), (640, 480)).marks
    assert filling.panel is None


@pytest.mark.parametrize("size", [(1, 1), (10, 8), (48, 48), (3000, 200), (50, 900)])
def test_odd_sizes_and_boxes_are_drawn_all_the_same(size: tuple[int, int]) -> None:
    width, height = size
    boxes = [
        [0, 0, width, height],
        [-5, -5, width / 2 + 0.1, height / 2 + 0.1],
        [width - 0.5, height - 0.5, width + 9, height + 9],
        [width + 5, 0, width + 9, height],  # beyond the border
    ]
    for confidence in (0.9, 0.3):
        assert faces_at(boxes, size, confidence=confidence).draw(canvas(size)).size == size


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_boxes_can_be_drawn(data: st.DataObject) -> None:
    size = (data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300)))
    edge = st.floats(-50, 350, width=32)
    corners = data.draw(st.lists(st.tuples(edge, edge, st.floats(0.5, 400), st.floats(0.5, 400)), max_size=8))
    boxes = [[x, y, x + w, y + h] for x, y, w, h in corners]
    confidence = data.draw(st.sampled_from([0.3, 1.0]))
    assert faces_at(boxes, size, confidence=confidence).draw(canvas(size)).size == size


def test_type_grows_with_the_image() -> None:
    fonts = [
        _Layout(faces_at([[s, s, 3 * s, 3 * s]], (8 * s, 6 * s)), (8 * s, 6 * s)).marks[0].font for s in (50, 100, 400)
    ]
    assert fonts[0] < fonts[1] < fonts[2]
    assert fonts[2] == pytest.approx(4 * fonts[1], rel=0.1)


@pytest.mark.parametrize("label_set", [FER2013, FERPLUS, LabelSet("own", tuple("abcdefghij"))])
def test_text_on_every_colour_is_readable(label_set: LabelSet) -> None:
    for label in label_set.labels:
        colour = colour_of(label, label_set)
        light = sorted([_luminance(colour), _luminance(_ink_on(colour))])
        assert (light[1] + 0.05) / (light[0] + 0.05) >= 4.0
    assert {_ink_on((0, 0, 0)), _ink_on((255, 255, 255))} == {_INK, _PAPER}


def test_each_expression_has_a_colour_of_its_own() -> None:
    assert len({colour_of(label, FER2013) for label in FER2013.labels}) == 7
    assert len({colour_of(label, FERPLUS) for label in FERPLUS.labels}) == 8


def test_a_panel_is_tied_to_its_face_and_hides_no_head() -> None:
    boxes = [[40, 120, 180, 300], [260, 120, 400, 300], [470, 120, 610, 300]]
    marks = _Layout(faces_at(boxes, (800, 600)), (800, 600)).marks
    panels = [mark for mark in marks if mark.panel is not None]
    assert len(panels) >= 2
    for mark in panels:
        assert mark.link is not None
        assert mark.panel is not None
        for end in (mark.box, mark.panel):  # it ends where they begin
            assert mark.link.overlap(end) == 0
            assert mark.link.grown(0.5).overlap(end) > 0
        assert not any(mark.panel.overlap(other.head) for other in marks if other is not mark)


def test_the_tie_has_the_colour_of_the_expression() -> None:
    (mark,) = _Layout(faces_at([[100, 100, 240, 280]], (640, 480), ["angry"]), (640, 480)).marks
    drawn = faces_at([[100, 100, 240, 280]], (640, 480), ["angry"]).draw(canvas((640, 480)))
    assert mark.link is not None
    middle = ((mark.link.x1 + mark.link.x2) / 2, (mark.link.y1 + mark.link.y2) / 2)
    assert drawn.getpixel((round(middle[0]), int(middle[1]))) == PALETTE["angry"]
