"""The painter behind the drawn faces: shapes as signed distances, painted back to front on many faces at once.

Coordinates: x to the right, y down, the face in the middle, its half height about 0.8; the picture is [-1, 1]².
A distance is negative inside a shape; the edge is blended over one pixel, which is what makes it smooth at any size.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.floating[Any]]  # usually (N, H, W), or (N, 1, 1) for a number per face

PERSON_TRAITS = (
    "width", "jaw", "forehead", "eye_gap", "eye_size", "eye_height", "brow_height", "brow_weight", "brow_tilt",
    "nose_length", "nose_width", "mouth_height", "mouth_width", "lip_weight", "skin", "hair", "long", "fringe",
    "glasses", "beard",
)  # fmt: skip
FACE_TRAITS = (
    "inner", "outer", "lid", "squint", "corner", "open", "wide", "lip", "teeth", "wrinkle", "fold", "press",
    "yaw", "pitch", "roll", "scale", "shift_x", "shift_y", "light_x", "light_y", "light", "gaze", "backdrop",
    "lopsided",
)  # fmt: skip

_SKIN = np.array([[0.98, 0.84, 0.74], [0.91, 0.72, 0.58], [0.72, 0.51, 0.37], [0.44, 0.29, 0.21]], np.float32)
_HAIR = np.array([[0.10, 0.08, 0.08], [0.26, 0.16, 0.10], [0.50, 0.31, 0.16], [0.80, 0.66, 0.42], [0.72, 0.72, 0.74]])
_BACKDROP = np.array([[0.16, 0.20, 0.27], [0.42, 0.50, 0.56], [0.73, 0.77, 0.76], [0.93, 0.91, 0.87]], np.float32)


_LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)


def render(
    people: npt.NDArray[np.void], faces: npt.NDArray[np.void], size: int, *, grey: bool = False
) -> npt.NDArray[np.float32]:
    """Paint one picture per row.

    Args:
        people: structured (N,) with `PERSON_TRAITS`.
        faces: structured (N,) with `FACE_TRAITS`.
        size: pixels, both ways.
        grey: one channel, which takes half the time.

    Returns:
        float32 (N, size, size, 3), RGB, or (N, size, size, 1), about 0–1.
    """
    return _Painter(people, faces, size, grey).paint()


class _Painter:
    def __init__(self, people: npt.NDArray[np.void], faces: npt.NDArray[np.void], size: int, grey: bool) -> None:
        self.people, self.faces, self.grey = people, faces, grey
        count = len(people)
        axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
        y, x = np.meshgrid(axis, axis, indexing="ij")
        self.screen_x, self.screen_y = x[None], y[None]
        zoom = 1.06 + self.face("scale")
        turn = self.face("roll")
        shifted_x, shifted_y = x[None] - self.face("shift_x"), y[None] - self.face("shift_y") - 0.04
        self.x = (np.cos(turn) * shifted_x + np.sin(turn) * shifted_y) / zoom
        self.y = (np.cos(turn) * shifted_y - np.sin(turn) * shifted_x) / zoom
        self.pixel = (2 / size) / zoom  # the width of a pixel, in the units of the face
        self.canvas = np.zeros((count, size, size, 1 if grey else 3), np.float32)
        # The head is a ball that turns: what lies on it moves by its depth, and narrows on the side that turns away.
        self.yaw, self.pitch = 0.28 * self.face("yaw"), 0.16 * self.face("pitch")

    def person(self, name: str) -> Field:
        return np.asarray(self.people[name], np.float32)[:, None, None]

    def face(self, name: str) -> Field:
        return np.asarray(self.faces[name], np.float32)[:, None, None]

    def paint(self) -> npt.NDArray[np.float32]:
        self.measure()
        self.backdrop()
        self.hair_behind()
        self.head()
        self.wrinkles()
        self.nose()
        self.beard()
        self.mouth()
        for side in (-1.0, 1.0):
            self.eye(side)
        for side in (-1.0, 1.0):
            self.brow(side)
        self.hair_before()
        self.spectacles()
        return self.canvas

    def measure(self) -> None:
        person, face = self.person, self.face
        skin = _palette(_SKIN, self.people["skin"])
        self.skin, self.hair = self.tone(skin), self.tone(_palette(_HAIR, self.people["hair"]))
        self.lips = self.tone(skin * np.array([0.80, 0.50, 0.48], np.float32))
        self.half_width = 0.60 + 0.035 * person("width")
        self.half_height = 0.80 + 0.02 * person("forehead")
        self.eye_x = 0.265 + 0.018 * person("eye_gap")
        self.eye_y = -0.10 + 0.02 * person("eye_height")
        self.eye_wide = 0.135 + 0.011 * person("eye_size")
        self.mouth_y = 0.44 + 0.02 * person("mouth_height") + 0.02 * face("open").clip(0, 2)
        self.dark = self.skin * np.float32(0.42)

    # ---- tools

    def blend(self, cover: Field, colour: Field) -> None:
        """Put ``colour`` (3,) or (N, 1, 1, C) or (N, H, W, C) over the canvas where ``cover`` is 1."""
        if colour.ndim == 1:
            colour = self.tone(colour)
        self.canvas += cover[..., None] * (colour.astype(np.float32, copy=False) - self.canvas)

    def tone(self, colour: Field) -> Field:
        """RGB (…, 3) as the canvas has it: itself, or its brightness (…, 1)."""
        return np.asarray(colour.astype(np.float32) @ _LUMA) if self.grey else colour

    def inside(self, distance: Field, soft: float = 0.0) -> Field:
        edge = self.pixel + soft
        return np.clip(0.5 - distance / edge, 0, 1).astype(np.float32)

    def on_face(self, x: Field, y: Field, depth: float = 1.0) -> tuple[Field, Field]:
        """Coordinates around the point (x, y) of the resting face, after the head has turned."""
        squeeze = 1 - 0.55 * np.abs(self.yaw) * (1 + np.sign(x) * np.sign(self.yaw))
        return (self.x - x * squeeze - self.yaw * depth) / squeeze, self.y - y - self.pitch * depth

    # ---- parts, back to front

    def backdrop(self) -> None:
        colour = self.tone(_palette(_BACKDROP, self.faces["backdrop"]))
        slope = 0.10 * (self.screen_x * np.sign(self.face("light_x")) - self.screen_y)
        self.canvas[:] = colour + slope[..., None]
        # shoulders
        shirt = 0.25 + 0.5 * self.person("fringe")
        top = 1.02 + 0.30 * (self.x * 1.05) ** 2
        self.blend(self.inside(top - self.y), self.tone(np.stack([shirt * 0.75, shirt * 0.9, shirt], -1)))

    def hair_behind(self) -> None:
        long = self.person("long")
        wide, high = self.half_width + 0.09 + 0.05 * long, self.half_height + 0.12
        behind = _ellipse(self.x, self.y + 0.06, wide, high)
        falling = np.maximum(np.abs(self.x) - wide, np.maximum(-self.y, self.y - 0.85))
        distance = np.where(long > 0, np.minimum(behind, falling), np.maximum(behind, self.y + 0.02))
        shade = 1 + 0.06 * np.sin(self.x * 61 + 2 * np.sin(self.y * 3))[..., None]
        self.blend(self.inside(distance), self.hair * shade)
        # neck
        neck = np.maximum(np.abs(self.x) - 0.27, np.maximum(0.4 - self.y, self.y - 1.3 + 0.5 * np.abs(self.x)))
        self.blend(self.inside(neck), self.skin * np.float32(0.72) * self.face("light")[..., None])

    def head(self) -> None:
        for side in (-1.0, 1.0):
            ear_x, ear_y = self.x - side * (self.half_width + 0.005) + 0.5 * self.yaw, self.y - 0.0
            self.blend(
                self.inside(_ellipse(ear_x, ear_y, 0.085, 0.15)) * (self.person("long") < 0.5),
                self.skin * np.float32(0.85) * self.face("light")[..., None],
            )
        # The chin is narrower than the temples, and drops with the jaw.
        drop = 0.05 * self.face("open").clip(0, 1.5)
        low = np.clip(self.y, 0, None) / self.half_height
        narrow = 1 - (0.20 + 0.05 * self.person("jaw")) * low**2
        high = np.where(self.y > 0, self.half_height + drop, self.half_height)
        across, along = self.x / (self.half_width * narrow), self.y / high
        radius = np.sqrt(across**2 + along**2)
        self.head_distance = (radius - 1) * np.minimum(self.half_width, high)
        # Light on a ball.
        depth = np.sqrt(np.clip(1.15 - across**2 - along**2, 0.02, None))
        light_x, light_y = self.face("light_x"), self.face("light_y")
        norm = np.sqrt(light_x**2 + light_y**2 + 1.2)
        lit = (across * light_x + along * light_y + depth * 1.1) / norm
        self.shading = (0.58 + 0.47 * np.clip(lit, -0.3, 1)) * self.face("light")
        self.blend(self.inside(self.head_distance), self.skin * self.shading[..., None])
        # Cheeks that a smile lifts.
        for side in (-1.0, 1.0):
            x, y = self.on_face(np.float32(side * 0.36) + 0 * self.eye_x, 0.18 - 0.03 * self.face("corner"))
            glow = np.exp(-(x**2 + y**2) / 0.018) * (0.06 + 0.10 * self.face("corner").clip(0, 1))
            self.canvas += (glow * self.inside(self.head_distance))[..., None] * self.tone(
                np.array([1, 0.55, 0.5], np.float32)
            )

    def wrinkles(self) -> None:
        wrinkle = self.face("wrinkle").clip(0, 1.3)
        for side in (-1.0, 1.0):
            x, y = self.on_face(np.float32(side * 0.055) + 0 * self.eye_x, self.eye_y - 0.16, 1.05)
            line = _segment(x, y, side * 0.008, 0.07, -side * 0.006, -0.05) - 0.012
            self.blend(self.inside(line, 0.02) * 0.75 * wrinkle, self.dark)
            fold = self.face("fold").clip(0, 1.3)
            x, y = self.on_face(np.float32(0) + 0 * self.eye_x, np.float32(0) + 0 * self.eye_x)
            crease = _curve(x * side, y, 0.13, 0.16, 0.30, 0.25, 0.30, 0.43) - 0.010
            self.blend(self.inside(crease, 0.025) * 0.6 * fold, self.dark)
        # Lines across the forehead when the brows go up.
        raised = (0.5 * (self.face("inner") + self.face("outer"))).clip(0, 1)
        for height in (-0.50, -0.43):
            x, y = self.on_face(0 * self.eye_x, np.float32(height) + 0 * self.eye_x)
            line = np.maximum(np.abs(y + 0.12 * x**2) - 0.006, np.abs(x) - 0.24)
            self.blend(self.inside(line, 0.02) * 0.4 * raised, self.dark)

    def nose(self) -> None:
        tip_y = 0.20 + 0.02 * self.person("nose_length") - 0.025 * self.face("lip").clip(0, 1)
        wide = 0.085 + 0.010 * self.person("nose_width") + 0.012 * self.face("lip").clip(0, 1)
        x, y = self.on_face(0 * self.eye_x, 0 * self.eye_x, 1.25)
        side = np.where(self.face("light_x") >= 0, np.float32(-1), np.float32(1))
        # The side of the nose that is away from the light.
        bridge = np.abs(x - side * (0.028 + 0.045 * (y + 0.1).clip(0, 0.4))) - 0.018
        bridge = np.maximum(bridge, np.maximum(-0.12 - y, y - tip_y))
        self.blend(self.inside(bridge, 0.05) * 0.35, self.dark)
        highlight = np.maximum(np.abs(x) - 0.010, np.maximum(-0.05 - y, y - tip_y + 0.04))
        self.blend(self.inside(highlight, 0.05) * 0.30, np.minimum(self.skin * np.float32(1.35), 1))
        under = np.maximum(_ellipse(x, y - tip_y, wide, 0.055), tip_y + 0.008 - y)
        self.blend(self.inside(under, 0.015) * 0.55, self.dark)
        for end in (-1.0, 1.0):
            nostril = _ellipse(x - end * 0.042, y - tip_y - 0.018, 0.026, 0.015)
            self.blend(self.inside(nostril, 0.01) * 0.8, self.dark * np.float32(0.5))

    def beard(self) -> None:
        x, y = self.on_face(0 * self.eye_x, self.mouth_y, 1.0)
        area = np.maximum(self.head_distance, -(self.y - 0.16 - 0.25 * (1 - np.abs(self.x) / 0.55).clip(0, 1)))
        bare = _ellipse(x, y + 0.0, 0.21, 0.09)
        cover = self.inside(area, 0.05) * (1 - self.inside(bare, 0.04)) * 0.8 * self.person("beard")
        self.blend(cover, self.hair * (0.45 + 0.3 * self.shading[..., None]))

    def mouth(self) -> None:
        face, person = self.face, self.person
        x, y = self.on_face(0 * self.eye_x, self.mouth_y, 1.08)
        half = (0.200 + 0.012 * person("mouth_width")) * (1 + 0.30 * face("wide").clip(-1.2, 1.2))
        across = x / half
        bend = across**2
        corner = face("corner").clip(-1.3, 1.3) * (1 + 0.25 * face("lopsided") * np.sign(x))
        middle = 0.085 * corner * (0.55 - bend)  # y grows downwards: the corners of a smile lie higher
        jaw = face("open").clip(0, 1.4)
        arch = np.sqrt(np.clip(1 - bend, 0, 1))
        lift = 0.055 * face("lip").clip(0, 1.3) * (1 - bend) * (1 + 0.5 * face("lopsided") * np.sign(x))
        upper = middle - (0.022 + 0.050 * jaw) * arch * (jaw > 0.03) - lift
        lower = middle + 0.165 * jaw * arch
        thin = 1 - 0.62 * face("press").clip(0, 1.2)
        lip = (0.040 + 0.008 * person("lip_weight")) * thin
        bow = 1 - 0.25 * np.exp(-((across * 4) ** 2))
        red = self.lips * self.shading[..., None]
        ends = (np.abs(across) - 1) * half
        body = np.maximum(np.maximum(upper - lip * 0.85 * arch * bow - y, y - lower - lip * 1.25 * arch), ends)
        self.blend(self.inside(body), red)
        shine = np.maximum(np.abs(y - lower - lip * 0.55) - 0.008, np.abs(x) - half * 0.35)
        self.blend(self.inside(shine, 0.03) * 0.25 * (thin > 0.6), np.minimum(red * np.float32(1.7), 1))
        hole = np.maximum(np.maximum(upper - y, y - lower), ends)
        opened = (jaw > 0.03) | (lift > 0.012)
        self.blend(self.inside(hole) * opened, np.array([0.22, 0.07, 0.08], np.float32))
        teeth = np.maximum(hole + 0.006, y - upper - (0.030 + 0.055 * face("teeth")))
        self.blend(self.inside(teeth) * opened * (0.95 * face("teeth").clip(0, 1)), np.array([0.95, 0.93, 0.89]))
        line = np.maximum(np.abs(y - 0.5 * (upper + lower)) - 0.011, ends - 0.012)
        self.blend(self.inside(line, 0.008) * 0.9 * ~opened, self.dark * np.float32(0.55))
        # The shadow under the lower lip, and the little hooks at the corners.
        shadow = np.maximum(np.abs(y - lower - lip * 1.25 - 0.035) - 0.012, np.abs(x) - half * 0.5)
        self.blend(self.inside(shadow, 0.05) * 0.35, self.dark)
        for side in (-1.0, 1.0):
            hook = _ellipse(x - side * half, y + 0.085 * 0.45 * corner, 0.020, 0.016)
            self.blend(self.inside(hook, 0.02) * 0.6, self.dark)

    def eye(self, side: float) -> None:
        face, person = self.face, self.person
        x, y = self.on_face(side * self.eye_x, self.eye_y)
        wide = self.eye_wide
        across = (x / wide).clip(-1, 1)
        arch = 1 - across**2
        opening = (0.075 + 0.005 * person("eye_size")) * (1 + 0.62 * face("lid").clip(-1.3, 1.3))
        opening = opening.clip(0.012, None)
        # A sad lid hangs on the outside.
        hang = 0.020 * (face("outer") - face("inner")).clip(-1.6, 0) * across * side
        top = -opening * arch + 0.012 * arch - hang
        bottom = (0.045 * (1 - 0.75 * face("squint").clip(-0.3, 1.1)) + 0.012 * face("lid").clip(0, 1)) * arch
        ends = (np.abs(x) - wide) * 0.7
        # The socket lies in shade.
        self.blend(self.inside(_ellipse(x, y + 0.03, wide * 1.25, 0.15), 0.12) * 0.22, self.dark)
        ball = np.maximum(np.maximum(top - y, y - bottom), ends)
        white = self.inside(ball)
        self.blend(white, self.tone(np.array([0.93, 0.93, 0.92])) * np.clip(self.shading * 1.1, 0.45, 1.1)[..., None])
        gaze = x - 0.035 * face("gaze") - 0.05 * self.yaw
        iris = np.sqrt(gaze**2 + (y + 0.012) ** 2)
        tint = np.stack([0.18 + 0.12 * person("fringe"), 0.20 + 0.10 * person("skin"), 0.24 + 0 * person("skin")], -1)
        self.blend(self.inside(iris - 0.062) * white, self.tone(tint))
        self.blend(self.inside(iris - 0.030) * white, np.array([0.03, 0.03, 0.03]))
        glint = np.sqrt((gaze - 0.02) ** 2 + (y + 0.032) ** 2) - 0.014
        self.blend(self.inside(glint) * white * 0.9, np.array([1.0, 1.0, 1.0]))
        lash = np.maximum(np.abs(y - top) - 0.014, ends)
        self.blend(self.inside(lash, 0.006) * 0.95, self.dark * np.float32(0.30))
        under = np.maximum(np.abs(y - bottom) - 0.007, ends)
        self.blend(self.inside(under, 0.008) * 0.55, self.dark)
        crease = np.maximum(np.abs(y - top + 0.040 + 0.012 * face("lid")) - 0.006, ends + 0.02)
        self.blend(self.inside(crease, 0.012) * 0.45, self.dark)
        # Bags and crow's feet of a squint.
        bag = np.maximum(np.abs(y - bottom - 0.035) - 0.006, ends + 0.03)
        self.blend(self.inside(bag, 0.02) * 0.45 * face("squint").clip(0, 1), self.dark)

    def brow(self, side: float) -> None:
        face, person = self.face, self.person
        height = self.eye_y - 0.185 - 0.018 * person("brow_height")
        x, y = self.on_face(side * self.eye_x, height)
        half = np.float32(0.165)
        across = (x / half).clip(-1.15, 1.15) * side  # -1 at the nose, 1 at the temple
        inner, outer = face("inner").clip(-1.4, 1.4), face("outer").clip(-1.4, 1.4)
        rise = 0.105 * (inner * (1 - across) / 2 + outer * (1 + across) / 2)
        arch = 0.030 * (1 - across**2) * (1 + 0.4 * outer) + 0.010 * person("brow_tilt") * across
        # A frown also draws the brows together.
        together = 0.030 * (-inner).clip(0, 1.3)
        middle = -(rise + arch)
        weight = (0.026 + 0.006 * person("brow_weight")) * (1.05 - 0.45 * across.clip(-0.2, 1.2))
        ends = np.abs(x + side * together) - half
        distance = np.maximum(np.abs(y - middle) - weight, ends)
        self.blend(self.inside(distance, 0.018) * 0.92, self.hair * np.float32(0.62))

    def hair_before(self) -> None:
        line = -0.50 - 0.10 * self.person("fringe") - 0.03 * self.person("forehead")
        parting = 0.10 * np.sin(2.2 * self.x + 4 * self.person("fringe"))
        hairline = line + parting + 0.55 * self.x**2 * (1 - 0.8 * self.person("long"))
        wide, high = self.half_width + 0.055, self.half_height + 0.09
        cap = np.maximum(_ellipse(self.x, self.y + 0.03, wide, high), self.y - hairline - 0.6 * self.pitch)
        strands = 1 + 0.07 * np.sin(self.x * 67 + 3 * np.sin(self.y * 5))
        gloss = 1 + 0.28 * np.exp(-((self.y + 0.70 - 0.25 * self.x**2) ** 2) / 0.006)
        self.blend(self.inside(cap), self.hair * (strands * gloss * self.face("light"))[..., None])

    def spectacles(self) -> None:
        worn = self.person("glasses")
        if not worn.any():
            return
        for side in (-1.0, 1.0):
            x, y = self.on_face(side * self.eye_x, self.eye_y + 0.01, 1.1)
            rim = np.abs(_ellipse(x, y, 0.205, 0.155)) - 0.013
            self.blend(self.inside(rim) * worn * 0.9, np.array([0.08, 0.08, 0.10]))
        x, y = self.on_face(0 * self.eye_x, self.eye_y - 0.01, 1.1)
        bridge = np.maximum(np.abs(y + 0.25 * (0.06 - np.abs(x))) - 0.012, np.abs(x) - 0.065)
        self.blend(self.inside(bridge) * worn * 0.9, np.array([0.08, 0.08, 0.10]))


def _ellipse(x: Field, y: Field, half_width: Field | float, half_height: Field | float) -> Field:
    """Distance to an ellipse, nearly: exact on the edge, which is where it is looked at."""
    radius = np.sqrt((x / half_width) ** 2 + (y / half_height) ** 2)
    slope = np.sqrt((x / half_width**2) ** 2 + (y / half_height**2) ** 2)
    return np.asarray(radius * (radius - 1) / np.maximum(slope, 1e-4), np.float32)


def _segment(x: Field, y: Field, x1: float, y1: float, x2: float, y2: float) -> Field:
    """Distance to a straight line between two points."""
    dx, dy = x2 - x1, y2 - y1
    along = (((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy)).clip(0, 1)
    return np.asarray(np.sqrt((x - x1 - along * dx) ** 2 + (y - y1 - along * dy) ** 2), np.float32)


def _curve(x: Field, y: Field, *points: float) -> Field:
    """Distance to a quadratic Bézier curve of three points, taken as six straight pieces."""
    x0, y0, x1, y1, x2, y2 = points
    steps = [
        ((1 - t) ** 2 * x0 + 2 * t * (1 - t) * x1 + t * t * x2, (1 - t) ** 2 * y0 + 2 * t * (1 - t) * y1 + t * t * y2)
        for t in (index / 6 for index in range(7))
    ]
    pieces = [_segment(x, y, *a, *b) for a, b in pairwise(steps)]
    return np.asarray(np.minimum.reduce(pieces), np.float32)


def _palette(colours: Field, position: Field) -> npt.NDArray[np.float32]:
    """Colours (N, 1, 1, 3) at positions 0–1 along a row of colours."""
    place = position.clip(0, 1) * (len(colours) - 1)
    channels = [np.interp(place, np.arange(len(colours)), colours[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).astype(np.float32)[:, None, None, :]
