"""Annotated images: boxes, expressions and, beside faces with room for it, all probabilities. Pillow only.

Everything is laid out first (`_Layout`): each label takes the place around its box that covers least of other faces
and labels, panels of probabilities appear only where they cover none. Shapes are drawn larger and reduced, because
Pillow's own are not smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.labels import LabelSet
    from mien.recognition.expressions import Expressions, Face

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; neutral is their grey.
PALETTE = {
    "angry": (213, 94, 0),
    "disgust": (0, 158, 115),
    "fear": (204, 121, 167),
    "happy": (240, 228, 66),
    "sad": (20, 128, 200),
    "surprise": (240, 165, 20),
    "neutral": (214, 218, 222),
    "contempt": (86, 180, 233),
}
_INK, _PAPER = (24, 26, 30), (255, 255, 255)
_PANEL = (18, 20, 24, 190)
_SMOOTH = 4  # shapes are drawn this many times larger
_SMALLEST = 9  # px, the smallest type that can be read


class Rect(NamedTuple):
    """x1 y1 x2 y2 in pixels, x2 and y2 outside."""

    x1: float
    y1: float
    x2: float
    y2: float

    def overlap(self, other: Rect) -> float:
        """Common area in square pixels."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        return width * height if width > 0 and height > 0 else 0.0

    def grown(self, by: float) -> Rect:
        """Larger by so many pixels on each side."""
        return Rect(self.x1 - by, self.y1 - by, self.x2 + by, self.y2 + by)


def draw(faces: Expressions, image: Any = None) -> Image.Image:
    """Annotate an image.

    Args:
        faces: with boxes.
        image: path, bytes, array or Pillow image; by default the one that the faces were found on.

    Returns:
        A new RGB image of the same size. Undecided faces have a broken frame and a question mark.

    Raises:
        InputError: if the faces have no boxes, no image is known, or the image has another size than theirs.
    """
    if image is None:
        image = faces.image
    if image is None:
        raise InputError("no image is known for these faces; give it: faces.draw(image)")
    if faces.boxes is None:
        raise InputError("these faces have no boxes, so there is nothing to draw; only predict() gives boxes")
    from mien.faces.decode import decode

    canvas = Image.fromarray(decode(image)).copy()
    if faces.size is not None and faces.size != canvas.size:
        raise InputError(f"the faces were found on an image of {faces.size} pixels, this one has {canvas.size}")
    layout = _Layout(faces, canvas.size)
    for mark in layout.marks:
        _frame(canvas, mark)
    for mark in layout.marks:
        if mark.panel is not None:
            _panel(canvas, mark, faces.label_set)
            _tie(canvas, mark)
    for mark in layout.marks:
        _chip(canvas, mark)
    return canvas


def colour_of(label: str, label_set: LabelSet) -> tuple[int, int, int]:
    """RGB, 0–255; labels beyond the known ones take the palette's colours in turn.

    Example:
        >>> from mien.labels import FER2013
        >>> colour_of("angry", FER2013)
        (213, 94, 0)
    """
    if label in PALETTE:
        return PALETTE[label]
    return list(PALETTE.values())[label_set.id(label) % len(PALETTE)]


class _Mark:
    """How one face is annotated."""

    def __init__(self, face: Face, label_set: LabelSet, size: tuple[int, int]) -> None:
        assert face.box is not None
        width, height = size
        x1, y1, x2, y2 = face.box
        self.face = face
        self.box = Rect(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
        self.colour = colour_of(face.label, label_set)
        side = max(1.0, min(self.box.x2 - self.box.x1, self.box.y2 - self.box.y1))
        # Type follows the face, held between what can be read and what a picture of this size carries.
        middle = (width * height) ** 0.5
        self.font = round(min(max(0.13 * side, 0.016 * middle, _SMALLEST), max(0.034 * middle, _SMALLEST)))
        self.stroke = max(1.25, min(0.018 * side, 0.006 * max(size)))
        self.chip = Rect(0, 0, 0, 0)
        self.text: tuple[str, str] = ("", "")
        self.panel: Rect | None = None
        self.link: Rect | None = None

    @property
    def head(self) -> Rect:
        """The box with hair, ears and chin, which detectors leave out."""
        width, height = self.box.x2 - self.box.x1, self.box.y2 - self.box.y1
        return Rect(
            self.box.x1 - 0.15 * width,
            self.box.y1 - 0.25 * height,
            self.box.x2 + 0.15 * width,
            self.box.y2 + 0.1 * height,
        )


class _Layout:
    """Finds a place for every label, then for as many panels as there is room."""

    def __init__(self, faces: Expressions, size: tuple[int, int]) -> None:
        self.size = size
        whole = Rect(0, 0, *size)
        # Of a face beyond the border nothing is to be seen.
        seen = [face for face in faces if face.box is not None and whole.overlap(Rect(*face.box)) > 0]
        self.marks = [_Mark(face, faces.label_set, size) for face in seen]
        # Large faces are drawn first, so that small ones in front of them stay visible.
        self.marks.sort(key=lambda mark: -(mark.box.x2 - mark.box.x1) * (mark.box.y2 - mark.box.y1))
        self.taken: list[Rect] = []
        for mark in self.marks:
            self._place_chip(mark)
        for mark in self.marks:
            self._place_panel(mark, faces.label_set)

    def _cost(self, rect: Rect, mark: _Mark) -> float:
        """Share of ``rect`` that hides something: other faces, other labels (worse), beyond the border (worst)."""
        area = (rect.x2 - rect.x1) * (rect.y2 - rect.y1)
        hidden = sum(rect.overlap(other.box) for other in self.marks if other is not mark)
        hidden += 2.0 * sum(rect.overlap(taken) for taken in self.taken)
        inside = rect.overlap(Rect(0, 0, *self.size))
        return (hidden + 8.0 * (area - inside)) / area

    def _place_chip(self, mark: _Mark) -> None:
        label, percent = mark.face.label, f"{100 * mark.face.confidence:.0f} %"
        if not mark.face.decided:
            label += "?"
        best = None
        # Without the number where the full label would stick out far over a small face.
        for penalty, text in ((0.0, (label, percent)), (0.12, (label, ""))):
            width, height = _chip_size(text, mark.font)
            for preference, rect in enumerate(_around(mark, width, height, self.size)):
                cost = self._cost(rect, mark) + penalty + 0.02 * preference
                if best is None or cost < best[0]:
                    best = (cost, text, rect)
        assert best is not None
        _, mark.text, mark.chip = best
        self.taken.append(mark.chip)

    def _place_panel(self, mark: _Mark, label_set: LabelSet) -> None:
        rows = len(label_set)
        height = mark.box.y2 - mark.box.y1
        box = mark.box
        border = Rect(0, 0, *self.size).grown(-2)
        # A panel that has to be searched with a magnifying glass is clutter.
        smallest = max(_SMALLEST + 1, 0.55 * mark.font, 0.0125 * (self.size[0] * self.size[1]) ** 0.5)
        for font in range(round(min(mark.font * 0.85, height / rows / 1.45)), math.ceil(smallest) - 1, -1):
            w, h = _panel_size(font, label_set)
            gap = 2 * mark.stroke + 0.55 * font
            tops = (box.y1 - mark.stroke / 2, (box.y1 + box.y2 - h) / 2, box.y2 + mark.stroke / 2 - h)
            places = [(x, y) for x in (box.x2 + gap, box.x1 - gap - w) for y in tops]
            places += [((box.x1 + box.x2 - w) / 2, y) for y in (box.y2 + gap, box.y1 - gap - h)]
            for x, y in places:
                rect = Rect(x, y, x + w, y + h)
                if border.overlap(rect) >= w * h - 1e-6 and self._is_free(rect, mark):
                    mark.panel, mark.link = rect, _link(box, rect, mark.stroke)
                    self.taken.append(rect.grown(gap))
                    return

    def _is_free(self, rect: Rect, mark: _Mark) -> bool:
        """Whether a panel there hides no head and no label."""
        heads = (other.head if other is not mark else other.box for other in self.marks)
        return not any(rect.overlap(place) for place in (*heads, *self.taken))


def _link(box: Rect, panel: Rect, stroke: float) -> Rect:
    """The short bar that ties a panel to the middle of what it shares with the side of its face's box."""
    half = 0.9 * stroke
    if panel.x1 >= box.x2 or panel.x2 <= box.x1:
        middle = (max(box.y1, panel.y1) + min(box.y2, panel.y2)) / 2
        left, right = (box.x2, panel.x1) if panel.x1 >= box.x2 else (panel.x2, box.x1)
        return Rect(left, middle - half, right, middle + half)
    middle = (max(box.x1, panel.x1) + min(box.x2, panel.x2)) / 2
    top, bottom = (box.y2, panel.y1) if panel.y1 >= box.y2 else (panel.y2, box.y1)
    return Rect(middle - half, top, middle + half, bottom)


def _around(mark: _Mark, width: float, height: float, size: tuple[int, int]) -> Iterable[Rect]:
    """Places for a label, best first: above, below, inside, at the sides; moved into the picture sideways."""
    box, gap = mark.box, mark.stroke * 1.6
    left, right, middle = box.x1 - mark.stroke / 2, box.x2 + mark.stroke / 2 - width, (box.x1 + box.x2 - width) / 2
    above, below = box.y1 - gap - height, box.y2 + gap
    corners = [(x, y) for y in (above, below) for x in (left, middle, right)]
    corners += [
        (x, y) for y in (box.y2 - gap - height, box.y1 + gap) for x in (middle, left + 2 * gap, right - 2 * gap)
    ]
    corners += [(x, y) for x in (box.x2 + gap, box.x1 - gap - width) for y in (box.y1, box.y2 - height)]
    for x, y in corners:
        x = min(max(x, 0), max(size[0] - width, 0))
        yield Rect(x, y, x + width, y + height)


@lru_cache(maxsize=64)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _chip_size(text: tuple[str, str], font: int) -> tuple[float, float]:
    width = _font(font).getlength(text[0]) + (0.45 * font + _font(font).getlength(text[1]) if text[1] else 0)
    return width + 1.1 * font, round(1.55 * font)


def _chip(canvas: Image.Image, mark: _Mark) -> None:
    """The label: ink on the expression's colour; undecided ones are paper on dark with a coloured rim."""
    rect, font = mark.chip, mark.font
    radius = 0.32 * font
    if mark.face.decided:
        ink = _ink_on(mark.colour)
        _shape(canvas, rect, radius, fill=(*mark.colour, 255), halo=0.08 * font)
    else:
        ink = _PAPER
        _shape(canvas, rect, radius, fill=(*_INK, 225), outline=(*mark.colour, 255), width=max(1.0, 0.1 * font))
    pen = ImageDraw.Draw(canvas)
    middle = (rect.y1 + rect.y2) / 2
    x = rect.x1 + 0.55 * font
    _write(pen, x, middle, mark.text[0], font, ink)
    if mark.text[1]:
        x += _font(font).getlength(mark.text[0]) + 0.45 * font
        _write(pen, x, middle, mark.text[1], font, ink)


def _frame(canvas: Image.Image, mark: _Mark) -> None:
    """The box: rounded, in the expression's colour on a dark rim; broken where undecided."""
    box, stroke = mark.box, mark.stroke
    radius = 0.09 * min(box.x2 - box.x1, box.y2 - box.y1)
    _outline(canvas, box, radius, 1.9 * stroke, (*_INK, 130), broken=not mark.face.decided, cap=0.45 * stroke)
    _outline(canvas, box, radius, stroke, (*mark.colour, 255), broken=not mark.face.decided)


def _panel_size(font: int, label_set: LabelSet) -> tuple[float, float]:
    names = max(_font(font).getlength(label) for label in label_set.labels)
    return names + 6.4 * font, len(label_set) * 1.4 * font + 0.9 * font


def _panel(canvas: Image.Image, mark: _Mark, label_set: LabelSet) -> None:
    """All probabilities as bars, in the order of the label set, so that faces can be compared."""
    rect = mark.panel
    assert rect is not None
    rows = len(label_set)
    font = round((rect.y2 - rect.y1) / (1.4 * rows + 0.9))
    _shape(canvas, rect, 0.5 * font, fill=_PANEL)
    names = max(_font(font).getlength(label) for label in label_set.labels)
    start = rect.x1 + names + 1.1 * font
    room = rect.x2 - start - 0.6 * font
    pen = ImageDraw.Draw(canvas)
    for row, (label, value) in enumerate(mark.face.probabilities.items()):
        middle = rect.y1 + 0.45 * font + (row + 0.5) * 1.4 * font
        first = label == mark.face.label
        ink = _PAPER if first else (190, 195, 202)
        x = start - 0.5 * font - _font(font).getlength(label)
        _write(pen, x, middle, label, font, ink)
        thick = 0.27 * font
        _shape(canvas, Rect(start, middle - thick, start + room, middle + thick), thick, fill=(255, 255, 255, 34))
        length = max(value * room, 2 * thick if value >= 0.005 else 0)
        if length:
            bar = Rect(start, middle - thick, start + length, middle + thick)
            _shape(canvas, bar, thick, fill=(*colour_of(label, label_set), 255 if first else 215))


def _tie(canvas: Image.Image, mark: _Mark) -> None:
    """The bar between the box and the panel, which has an edge of the same colour, so that the two read as one."""
    link, panel = mark.link, mark.panel
    assert link is not None
    assert panel is not None
    thick = max(1.0, mark.stroke)
    if panel.x1 >= mark.box.x2 or panel.x2 <= mark.box.x1:
        x = panel.x1 if panel.x1 >= mark.box.x2 else panel.x2 - thick
        edge = Rect(x, panel.y1 + 4 * thick, x + thick, panel.y2 - 4 * thick)
    else:
        y = panel.y1 if panel.y1 >= mark.box.y2 else panel.y2 - thick
        edge = Rect(panel.x1 + 4 * thick, y, panel.x2 - 4 * thick, y + thick)
    _fill(canvas, link.grown(0.45 * thick), 0, (*_INK, 130))
    for bar in (edge, link):
        _fill(canvas, bar, 0, (*mark.colour, 255))


def _write(pen: ImageDraw.ImageDraw, x: float, middle: float, text: str, font: int, ink: tuple[int, int, int]) -> None:
    """Text whose small letters stand centred on ``middle``; descenders hang below, as in a book."""
    face = _font(font)
    # Capital height decides, not the box of this text: labels with and without a "y" share one line.
    _, top, _, bottom = face.getbbox("H", anchor="ls")
    pen.text((x, round(middle - (top + bottom) / 2)), text, font=face, fill=ink, anchor="ls")


def _shape(
    canvas: Image.Image,
    rect: Rect,
    radius: float,
    *,
    fill: tuple[int, int, int, int],
    outline: tuple[int, int, int, int] | None = None,
    width: float = 0.0,
    halo: float = 0.0,
) -> None:
    """A smoothed rounded rectangle, with a rim inside it or a dark halo around it."""
    if halo:
        _fill(canvas, rect.grown(halo), radius + halo, (*_INK, 90))
    if outline is not None:
        _fill(canvas, rect, radius, outline)
        rect, radius = rect.grown(-width), max(radius - width, 0)
        fill = (*fill[:3], 255)
    _fill(canvas, rect, radius, fill)


def _fill(canvas: Image.Image, rect: Rect, radius: float, colour: tuple[int, int, int, int]) -> None:
    left, top, width, height = _tile(rect)
    mask = Image.new("L", (width * _SMOOTH, height * _SMOOTH))
    ImageDraw.Draw(mask).rounded_rectangle(_scaled(rect, left, top, _SMOOTH), radius * _SMOOTH, fill=colour[3])
    _lay(canvas, mask, (left, top, width, height), colour)


def _outline(
    canvas: Image.Image,
    rect: Rect,
    radius: float,
    width: float,
    colour: tuple[int, int, int, int],
    *,
    broken: bool,
    cap: float = 0.0,
) -> None:
    """A smoothed rounded frame centred on the edge of ``rect``; ``broken`` leaves the middle of each side open."""
    outer, inner = rect.grown(width / 2), rect.grown(-width / 2)
    tile = left, top, w, h = _tile(outer)
    # Frames of large faces are smoothed less: the mask grows with the square.
    smooth = _SMOOTH if w * h < 400_000 else 2
    mask = Image.new("L", (w * smooth, h * smooth))
    pen = ImageDraw.Draw(mask)
    pen.rounded_rectangle(_scaled(outer, left, top, smooth), (radius + width / 2) * smooth, fill=colour[3])
    if inner.x2 - inner.x1 > 1 and inner.y2 - inner.y1 > 1:
        hole = max(radius - width / 2, 0) * smooth
        pen.rounded_rectangle(_scaled(inner, left, top, smooth), hole, fill=0)
    if broken:
        x, y = 0.27 * (rect.x2 - rect.x1) + cap, 0.27 * (rect.y2 - rect.y1) + cap
        for gap in (
            Rect(rect.x1 + x, outer.y1 - 1, rect.x2 - x, outer.y2 + 1),
            Rect(outer.x1 - 1, rect.y1 + y, outer.x2 + 1, rect.y2 - y),
        ):
            pen.rectangle(_scaled(gap, left, top, smooth), fill=0)
    _lay(canvas, mask, tile, colour)


def _tile(rect: Rect) -> tuple[int, int, int, int]:
    """Left, top, width, height of the whole pixels that hold ``rect``, one more on each side."""
    left, top = math.floor(rect.x1) - 1, math.floor(rect.y1) - 1
    return left, top, math.ceil(rect.x2) + 1 - left, math.ceil(rect.y2) + 1 - top


def _scaled(rect: Rect, left: int, top: int, smooth: int) -> tuple[float, float, float, float]:
    """``rect`` in the pixels of a mask; Pillow's right and lower edges are inside."""
    x1, y1 = (rect.x1 - left) * smooth, (rect.y1 - top) * smooth
    x2, y2 = (rect.x2 - left) * smooth - 1, (rect.y2 - top) * smooth - 1
    return x1, y1, max(x2, x1), max(y2, y1)


def _lay(
    canvas: Image.Image, mask: Image.Image, tile: tuple[int, int, int, int], colour: tuple[int, int, int, int]
) -> None:
    left, top, width, height = tile
    canvas.paste(colour[:3], (left, top), mask.resize((width, height), Image.Resampling.BOX))


def _ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Dark or white, whichever has the higher contrast (WCAG 2.2, relative luminance)."""
    light = _luminance(colour)
    return _INK if (light + 0.05) / (_luminance(_INK) + 0.05) >= 1.05 / (light + 0.05) else _PAPER


def _luminance(colour: tuple[int, int, int]) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
