"""Views: the same face, the same network, the same score; crops are those of torchvision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.bundle import InputSpec
from mien.errors import InputError, UnknownNameError
from mien.faces.views import Transform, View, get_view, resize_faces
from mien.results import protocols

PLAIN = InputSpec(48, 1, "grey", (0.0,), (1.0,))
NAMES = ("one", "flip", "tencrop@40", "tencrop@44", "tencrop@224", "rot8", "rot10", "lhc60")
COUNTS = {"one": 1, "flip": 2, "rot8": 8, "rot10": 10, "lhc60": 60}


def test_results_know_the_views_that_there_are() -> None:
    assert set(NAMES) == set(protocols.VIEWS) - {"members", "submitted"}
    assert [get_view(name).name for name in NAMES] == list(NAMES)


def noise(count: int = 3, side: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)


def seen(view: str, faces: np.ndarray, spec: InputSpec = PLAIN) -> list[np.ndarray]:
    """What a network is fed, 0–255."""
    inputs: list[np.ndarray] = []

    def keep(images: Any) -> Any:
        inputs.append(images * 255)
        return np.zeros((len(images), 2), np.float32)

    get_view(view).scores(faces, spec, keep)
    return inputs


def network(images: Any) -> Any:
    """Some logits that depend on position and brightness, face by face."""
    weights = np.random.default_rng(1).normal(size=(images.shape[-1] ** 2 * images.shape[1], 5)).astype(np.float32)
    return np.stack([image.reshape(-1) @ weights for image in images]) / images.shape[-1]


@pytest.mark.parametrize("name", NAMES)
def test_views_are_deterministic_and_blind_to_batch_mates(name: str) -> None:
    faces, view = noise(4), get_view(name)
    assert len(view.transforms) == COUNTS.get(name, 10)
    first = view.scores(faces, PLAIN, network)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, get_view(name).scores(faces, PLAIN, network))
    np.testing.assert_array_equal(first[2:3], view.scores(faces[2:3], PLAIN, network))
    assert (faces == noise(4)).all(), "the faces given were changed"


@pytest.mark.parametrize("name", NAMES)
def test_faces_of_one_grey_look_alike_under_views_that_stay_inside(name: str) -> None:
    faces = np.full((1, 48, 48), 77, np.uint8)
    for image in seen(name, faces)[: 1 if name.startswith(("rot", "lhc")) else None]:
        assert abs(image[..., image.shape[2] // 2, image.shape[3] // 2] - 77).max() < 0.01


def test_one_is_the_face_itself() -> None:
    faces = noise()
    (image,) = seen("one", faces)
    np.testing.assert_allclose(image[:, 0], faces, atol=1e-3)
    spec = InputSpec(48, 1, "grey", (0.4,), (0.2,))
    (image,) = seen("one", faces, spec)
    np.testing.assert_allclose(image[:, 0] / 255, (faces / 255 - 0.4) / 0.2, atol=1e-5)


def test_flip_averages_a_face_and_its_mirror_image() -> None:
    faces = noise()
    straight, mirrored = (
        get_view("one").scores(faces, PLAIN, network),
        get_view("one").scores(faces[:, :, ::-1], PLAIN, network),
    )
    np.testing.assert_allclose(get_view("flip").scores(faces, PLAIN, network), (straight + mirrored) / 2, atol=1e-5)


@pytest.mark.parametrize("size", [40, 44, 64, 100, 224])
def test_ten_crops_are_those_of_torchvision(size: int) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    torch = pytest.importorskip("torch")
    faces = noise(2)
    whole = resize_faces(faces, get_view(f"tencrop@{size}").face, "grey")
    theirs = transforms.TenCrop(size)(torch.from_numpy(whole.copy()))
    ours = seen(f"tencrop@{size}", faces)
    assert len(ours) == 10
    for image, crop in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(image[:, 0], crop, atol=1e-3)


def test_the_centre_is_cut_as_torchvision_cuts_it() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    torch = pytest.importorskip("torch")
    for resize in range(40, 48):
        spec = InputSpec(40, 1, "grey", (0.0,), (1.0,), resize)
        faces = noise(1, resize)
        theirs = transforms.CenterCrop(40)(torch.from_numpy(faces))
        np.testing.assert_allclose(seen("one", faces, spec)[0][:, 0], theirs, atol=1e-3)


@pytest.mark.parametrize(
    "transform",
    [
        Transform(angle=30),
        Transform(angle=-17, mirror=True),
        Transform(shift=(0.25, 0)),
        Transform(shift=(0, -0.125)),
        Transform(zoom=0.5),
        Transform(angle=90),
    ],
)
def test_transforms_are_what_they_say(transform: Transform) -> None:
    """Against Pillow's own rotation and against slices."""
    faces, inputs = noise(1), []
    view = View("test", (transform,))

    def keep(images: Any) -> Any:
        inputs.append(images * 255)
        return np.zeros((len(images), 2), np.float32)

    view.scores(faces, PLAIN, keep)
    (image,) = inputs
    face = faces[0][:, ::-1] if transform.mirror else faces[0]
    if transform.angle:
        wanted = np.asarray(
            Image.fromarray(np.ascontiguousarray(face)).rotate(transform.angle, Image.Resampling.BILINEAR)
        )
        inner = slice(2, -2)
        assert np.abs(image[0, 0, inner, inner] - wanted[inner, inner]).max() <= 2
    elif transform.shift == (0.25, 0):
        np.testing.assert_allclose(image[0, 0, :, 12:], face[:, :36], atol=1e-3)
        assert image[0, 0, :, :12].max() == 0
    elif transform.shift[1]:
        np.testing.assert_allclose(image[0, 0, :42], face[6:], atol=1e-3)
    else:
        assert image[0, 0, :11].max() == 0
        assert image[0, 0, 12:36, 12:36].std() > 10


def test_probabilities_are_averaged_where_the_source_did() -> None:
    faces = noise(2)
    parts = []

    def keep(images: Any) -> Any:
        parts.append(network(images))
        return parts[-1]

    scores = get_view("rot8").scores(faces, PLAIN, keep).astype(np.float64)
    mean = np.mean([np.exp(p) / np.exp(p).sum(1, keepdims=True) for p in np.float64(parts)], axis=0)
    np.testing.assert_allclose(np.exp(scores) / np.exp(scores).sum(1, keepdims=True), mean, atol=1e-6)


def test_lhc_weighs_the_face_itself_three_times() -> None:
    view = get_view("lhc60")
    assert view.transforms[0] == Transform(weight=3.0)
    assert sum(t.weight for t in view.transforms) == 62
    assert len(set(view.transforms)) == 60
    assert sum(t.mirror for t in view.transforms) == 30


def test_lhc_moves_then_turns_repeats_the_edge_and_enlarges_the_middle() -> None:
    """Against the source's steps one after the other, done here with Pillow on a face with an edge around it."""
    view = get_view("lhc60")
    assert {t.zoom for t in view.transforms} == {1.0, 1 / 0.9}
    disc = np.hypot(*(np.mgrid[:224, :224] - np.array([90, 140])[:, None, None])) < 12
    face = np.where(disc, 255, 90).astype(np.uint8)
    images = seen("lhc60", face[None], InputSpec(224, 1, "grey", (0.0,), (1.0,)))
    edged = Image.fromarray(np.pad(face, 224, mode="edge"))

    def stepped(mirror: bool, zoom: float, across: float, down: float, radians: float) -> Any:
        image = edged.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else edged
        if zoom < 1:
            half = 336 * zoom
            image = image.transform(
                (672, 672), Image.Transform.EXTENT, (336 - half, 336 - half, 336 + half, 336 + half)
            )
        image = image.rotate(0, translate=(across, down))
        return np.asarray(image.rotate(math.degrees(radians), Image.Resampling.BILINEAR))[224:448, 224:448]

    def centre(image: Any) -> Any:
        return np.argwhere(image > 170).mean(0)

    wanted = [
        stepped(m, 1, x, y, a)
        for m in (False, True)
        for a in (0, -0.4, 0.4)
        for x in (0, -10, 10)
        for y in (0, -10, 10)
    ] + [stepped(m, 0.9, 0, 0, a) for m in (False, True) for a in (0, -0.15, 0.15)]
    for index, (image, want) in enumerate(zip(images, wanted, strict=True)):
        ours = image[0, 0]
        np.testing.assert_allclose(centre(ours), centre(want), atol=0.6, err_msg=str(view.transforms[index]))
        assert ours.min() > 89, "no black beyond the border"
        assert abs((ours > 170).sum() - (want > 170).sum()) < 30


def test_random_views_are_frozen() -> None:
    first = get_view("rot8").transforms[0]
    assert (first.mirror, round(first.angle, 3)) == (False, -3.556)
    assert get_view("rot10").transforms[:8] == get_view("rot8").transforms


def test_colour() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    (image,) = seen("one", rgb, InputSpec(48, 3, "rgb", (0.0,) * 3, (1.0,) * 3))
    np.testing.assert_allclose(image, np.moveaxis(rgb, 3, 1), atol=1e-3)
    (image,) = seen("one", rgb)
    np.testing.assert_allclose(image[:, 0], rgb @ [0.299, 0.587, 0.114], atol=1)
    (image,) = seen("one", noise(), InputSpec(48, 3, "grey", (0.0,) * 3, (1.0, 0.5, 0.25)))
    assert image.shape == (3, 3, 48, 48)
    np.testing.assert_allclose(image[:, 2], 4 * image[:, 0], rtol=1e-5)


def test_errors() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'flip'"):
        get_view("flipp")
    with pytest.raises(InputError, match="a number of pixels from 8 to 1024"):
        get_view("tencrop@4000")
    with pytest.raises(InputError, match="a number of pixels"):
        get_view("tencrop@")
    with pytest.raises(InputError, match="got float32"):
        get_view("one").scores(noise().astype(np.float32), PLAIN, network)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"got uint8 \(48, 48\)"):
        get_view("one").scores(noise()[0], PLAIN, network)
