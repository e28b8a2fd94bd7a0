from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.bundle import Framing
from mien.errors import InputError
from mien.faces import crop_faces

PLAIN = Framing(margin=1.0, shift=0.0, align="none", resample="area")


def checks(height: int = 120, width: int = 160) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x % 256, y % 256, (x + y) % 256], 2).astype(np.uint8)


def eyes(x: float, y: float, roll: float, span: float = 20.0) -> np.ndarray:
    """Landmarks of a face about (x, y) that is turned clockwise by ``roll`` degrees."""
    local = np.array([[-1, -1], [1, -1], [0, 0], [-0.7, 1], [0.7, 1]]) * span / 2
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    return local @ np.array([[c, s], [-s, c]]) + [x, y]


def test_same_size_is_the_very_pixels() -> None:
    image = checks()
    crops = crop_faces(image, [[20, 30, 68, 78], [0, 0, 48, 48]], size=48, colour="rgb", framing=PLAIN)
    assert (crops[0] == image[30:78, 20:68]).all()
    assert (crops[1] == image[:48, :48]).all()


def test_grey_is_luma() -> None:
    image = checks()
    expected = np.asarray(Image.fromarray(image[30:78, 20:68]).convert("L"))
    assert (crop_faces(image, [[20, 30, 68, 78]], size=48, framing=PLAIN)[0] == expected).all()


def test_area_is_the_mean_of_blocks() -> None:
    image = checks()
    crop = crop_faces(image, [[16, 8, 112, 104]], size=48, colour="rgb", framing=PLAIN)[0]
    means = image[8:104, 16:112].reshape(48, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(crop - means).max() <= 1


def test_margin_and_shift() -> None:
    image = checks()
    # Box 40 × 20 about (60, 50): the longer side counts; twice it is 80; a quarter of that below the centre is y 70.
    crop = crop_faces(image, [[40, 40, 80, 60]], size=80, colour="rgb", framing=Framing(2.0, 0.25, "none", "area"))[0]
    assert (crop == np.pad(image, ((0, 40), (0, 0), (0, 0)), mode="edge")[30:110, 20:100]).all()


def test_borders_continue_the_outermost_pixels() -> None:
    image = checks()
    around = np.pad(image, ((60, 60), (60, 60), (0, 0)), mode="edge")
    for x, y in ((0, 0), (120, 0), (0, 80), (120, 80), (60, 40)):
        crop = crop_faces(image, [[x, y, x + 40, y + 40]], size=80, colour="rgb", framing=Framing(2.0, 0.0, "none"))[0]
        assert (crop == around[y + 40 : y + 120, x + 40 : x + 120]).all()


def test_boxes_beyond_the_image_are_clipped() -> None:
    image = checks()
    inside = crop_faces(image, [[0, 0, 40, 40]], size=48, framing=PLAIN)
    assert (crop_faces(image, [[-100, -50, 40, 40]], size=48, framing=PLAIN) == inside).all()
    with pytest.raises(InputError, match="outside the image of 160 × 120"):
        crop_faces(image, [[170, 10, 200, 40]], size=48)


def test_memory_follows_the_crop_and_not_the_box() -> None:
    strip = np.zeros((4, 20_000, 3), np.uint8)
    tracemalloc.start()
    crop_faces(strip, [[0, 0, 20_000, 4]], size=48, framing=Framing(4.0))  # a square of 80,000 pixels a side
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize("roll", [-40, -15, 15, 40])
@pytest.mark.parametrize("scale", [1, 4])
def test_roll_brings_the_eyes_level(roll: float, scale: int) -> None:
    y, x = np.mgrid[0 : 120 * scale, 0 : 160 * scale] / scale
    smooth = np.stack([128 + 100 * np.sin(x / 9) * np.cos(y / 13)] * 3, 2).astype(np.uint8)
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    dx, dy = x - 80, y - 60
    u, v = dx * c + dy * s + 80, -dx * s + dy * c + 60  # the upright pattern, turned clockwise by roll
    turned = np.stack([128 + 100 * np.sin(u / 9) * np.cos(v / 13)] * 3, 2).astype(np.uint8)
    box = np.array([[56, 36, 104, 84]]) * scale
    framing = Framing(1.0, 0.1, "roll")
    upright = crop_faces(smooth, box, eyes(80 * scale, 60 * scale, 0)[None], size=48, framing=framing)
    level = crop_faces(
        turned, box, eyes(80 * scale, 60 * scale, roll)[None], size=48, framing=Framing(1.0, 0.1, "roll")
    )
    assert np.abs(upright.astype(int) - level)[:, 2:-2, 2:-2].mean() < 2.5


def test_without_landmarks_faces_are_cut_upright() -> None:
    image = checks()
    box = [[20, 30, 68, 78]]
    assert (crop_faces(image, box, size=48, framing=Framing(align="roll")) == crop_faces(image, box, size=48)).all()


@pytest.mark.parametrize("resample", ["area", "bilinear", "bicubic", "lanczos"])
def test_a_constant_stays_constant(resample: str) -> None:
    image = np.full((200, 300, 3), 77, np.uint8)
    for align in ("none", "roll"):
        crops = crop_faces(
            image,
            [[-9, -9, 180, 150], [50, 50, 60, 60], [250, 150, 299, 199]],
            np.stack([eyes(90, 70, 20), eyes(55, 55, -30, 4), eyes(280, 180, 10)]),
            size=48,
            framing=Framing(1.4, -0.1, align, resample),
        )
        assert set(crops.ravel().tolist()) == {77}


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.floats(-50, 190), st.floats(-50, 150), st.floats(0.5, 300), st.floats(0.5, 300)),
    st.floats(-90, 90),
    st.floats(0.3, 4),
    st.floats(-0.5, 0.5),
    st.sampled_from(["none", "roll"]),
    st.integers(1, 96),
)
def test_any_box_gives_a_crop_or_says_why(
    box: tuple[float, float, float, float], roll: float, margin: float, shift: float, align: str, size: int
) -> None:
    x, y, w, h = box
    image = np.full((120, 160, 3), 99, np.uint8)
    framing = Framing(margin, shift, align)
    try:
        crops = crop_faces(image, [[x, y, x + w, y + h]], eyes(x, y, roll)[None], size=size, framing=framing)
    except InputError as error:
        assert x >= 160 or y >= 120 or x + w <= 0 or y + h <= 0, error  # noqa: PT017
    else:
        assert crops.shape == (1, size, size)
        assert (crops == 99).all()


def test_wrong_arguments() -> None:
    image = checks()
    for wrong in (image[..., 0], image.astype(float), image[:0]):
        with pytest.raises(InputError, match=r"uint8 \(H, W, 3\)"):
            crop_faces(wrong, [], size=48)
    with pytest.raises(InputError, match="grey or rgb"):
        crop_faces(image, [], size=48, colour="bgr")
    with pytest.raises(InputError, match="1–4096"):
        crop_faces(image, [], size=0)
    assert crop_faces(image, np.empty((0, 4)), size=48).shape == (0, 48, 48)
