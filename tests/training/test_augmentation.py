from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from mien.bundle import InputSpec
from mien.faces.views import get_view
from mien.training.pipeline.augmentation import Amount, augment, equalised, mix
from mien.training.recipe import Augment

PLAIN = InputSpec(48, 1, "grey", (0.0,), (1.0,))
IDENTITY = Augment(flip=0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(count: int = 3, side: int = 48, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8))


def spec(size: int, resize: int = 0) -> InputSpec:
    return InputSpec(size, 1, "grey", (0.0,), (1.0,), resize)


def test_without_variation_the_face_comes_as_evaluation_prepares_it() -> None:
    given, seen = faces(5), []
    what = InputSpec(48, 1, "grey", (0.5077,), (0.2550,))

    def keep(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.zeros((len(images), 2), np.float32)

    get_view("one").scores(given.numpy(), what, keep)
    out = augment(given, IDENTITY, what, generator())
    assert out.dtype == torch.float32
    # Half a grey level would be 0.0077: what is left is the rounding of the lookup.
    np.testing.assert_allclose(out.numpy(), seen[0], atol=1e-4)


def test_centre_crop_is_the_one_of_evaluation() -> None:
    given = faces()
    out = augment(given, Augment(flip=0, crops="centre"), spec(40, 48), generator())
    np.testing.assert_allclose(out[:, 0] * 255, given[:, 4:44, 4:44], atol=0.02)


def test_flips_are_mirror_images() -> None:
    given = faces()
    out = augment(given, Augment(flip=1.0), PLAIN, generator())
    np.testing.assert_allclose(out[:, 0] * 255, given.flip(2), atol=0.02)
    out = augment(given, Augment(flip=0.0, vertical_flip=1.0), PLAIN, generator())
    np.testing.assert_allclose(out[:, 0] * 255, given.flip(1), atol=0.02)


def test_flip_has_its_probability() -> None:
    given = faces(1).expand(2000, 48, 48)
    out = augment(given, Augment(flip=0.3), PLAIN, generator())
    flipped = (out[:, 0] * 255 - given[0].flip(1)).abs().amax((1, 2)) < 0.02
    assert abs(flipped.float().mean() - 0.3) < 0.04


def test_a_rotation_of_90_degrees_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given = faces()
    # ±90° drawn at the end of the range: rand gives 1 - ε.
    monkeypatch.setattr(torch, "rand", lambda count, **_: torch.ones(count))
    out = augment(given, Augment(flip=0.0, rotate=90.0), PLAIN, generator())[:, 0] * 255
    quarter = torch.rot90(given, 1, (1, 2))
    assert (out - quarter).abs().max() < 0.05 or (out - torch.rot90(given, -1, (1, 2))).abs().max() < 0.05


def test_rotation_keeps_a_disc_and_stays_in_its_range() -> None:
    """A line through the centre turns by the angle drawn: never more than asked, and both ways."""
    face = torch.zeros(1, 48, 48, dtype=torch.uint8)
    face[:, 23:25] = 255
    out = augment(face.expand(400, 48, 48), Augment(flip=0.0, rotate=20.0, outside="black"), PLAIN, generator())[:, 0]
    rows, columns = torch.meshgrid(torch.arange(48.0) - 23.5, torch.arange(48.0) - 23.5, indexing="ij")
    inside = (rows**2 + columns**2 < 20**2).float() * out
    angle = 0.5 * torch.atan2(2 * (inside * rows * columns).sum((1, 2)), (inside * (columns**2 - rows**2)).sum((1, 2)))
    degrees = angle.rad2deg()
    assert degrees.abs().max() < 20.5
    assert degrees.min() < -18 < 18 < degrees.max()
    assert abs(degrees.mean()) < 2


def test_shift_moves_by_a_share_of_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    given = faces()
    monkeypatch.setattr(torch, "rand", lambda count, **_: torch.ones(count))
    out = augment(given, Augment(flip=0.0, translate=0.25, outside="black"), PLAIN, generator())[:, 0] * 255
    np.testing.assert_allclose(out[:, :36, :36], given[:, 12:, 12:], atol=0.05)
    assert out[:, 37:].abs().max() < 0.01


def test_what_lies_outside() -> None:
    white = torch.full((50, 48, 48), 255, dtype=torch.uint8)
    zoomed = {"flip": 0.0, "scale": (4.0, 4.0)}
    assert augment(white, Augment(**zoomed), PLAIN, generator()).min() > 0.999
    black = augment(white, Augment(**zoomed, outside="black"), PLAIN, generator())
    assert black[:, :, 24, 24].min() > 0.999
    assert black[:, :, :10].max() == 0
    assert abs(float(black.mean()) - 0.25) < 0.02  # four times the area: the face takes a quarter
    large = InputSpec(224, 1, "grey", mean=(0.0,), std=(1.0,))
    enlarged = augment(white, Augment(flip=0.5, outside="black"), large, generator())
    assert enlarged.min() > 0.999, "a face that is only enlarged has no dark frame"


def test_scale_and_aspect_are_area_and_ratio() -> None:
    """A dark square on white: its width and height after zooming are what area and ratio say."""
    face = torch.zeros(1, 48, 48, dtype=torch.uint8)
    face[:, 18:30, 18:30] = 255
    out = augment(face.expand(300, 48, 48), Augment(flip=0.0, scale=(0.5, 2.0), aspect=(0.5, 2.0)), PLAIN, generator())
    mass = out[:, 0]
    width, height = mass.sum(2).amax(1), mass.sum(1).amax(1)
    area, ratio = width * height / 144, width / height
    assert 0.47 < area.min() < 0.6
    assert 1.7 < area.max() < 2.15
    assert 0.47 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.15
    assert abs(ratio.log().mean()) < 0.08


def windows(recipe: Augment, count: int) -> Tensor:
    """Left, right, top and bottom of each window in shares of the face, read off two ramps; (4, count)."""
    across, edges = torch.arange(240, dtype=torch.uint8).expand(240, 240), []
    for ramp, axis in ((across, 2), (across.T, 1)):
        out = augment(ramp.expand(count, 240, 240), recipe, PLAIN, generator())[:, 0] * 255
        first, last = out.amin((1, 2)), out.amax((1, 2))
        assert torch.allclose(out.select(axis, 0).amax(1), first, atol=0.02)
        half = (last - first) / 240 / (1 - 1 / 48) / 2
        middle = ((last + first) / 2 + 0.5) / 240
        edges += [middle - half, middle + half]
    return torch.stack(edges)


def test_windows_inside_the_face_are_those_of_torchvision() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    scale, aspect = (0.8, 1.2), (0.75, 1.333)
    left, right, top, bottom = windows(Augment(flip=0.0, scale=scale, aspect=aspect, window="inside"), 3000)
    assert min(left.min(), top.min()) > -1e-3
    assert max(right.max(), bottom.max()) < 1 + 1e-3
    assert max(left.max(), top.max()) > 0.1, "they lie anywhere"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crop = transforms.RandomResizedCrop.get_params
        drawn = [crop(torch.empty(1, 960, 960), list(scale), list(aspect)) for _ in range(3000)]
    y, x, h, w = torch.tensor(drawn).T / 960
    width, height = right - left, bottom - top
    for ours, theirs in (
        ((width * height > 1 - 1e-3).float(), (w * h == 1).float()),  # the whole face
        (width * height, w * h),
        ((width / height).log().abs(), (w / h).log().abs()),
        (left, x),
        (top, y),
        ((left - (1 - width) / 2).abs(), (x - (1 - w) / 2).abs()),
    ):
        assert abs(ours.mean() - theirs.mean()) < 4 * theirs.std() * (2 / 3000) ** 0.5
    left, right, top, bottom = windows(Augment(flip=0.0, scale=(0.5, 0.9)), 500)
    assert torch.allclose(left + right, torch.ones(500), atol=1e-2), "about the centre by default"


def test_ten_crops_are_those_of_torchvision() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    given = faces()
    out = augment(given, Augment(flip=0.0, crops="ten"), spec(40, 48), generator()) * 255
    theirs = torch.cat([crop[:, None] for crop in transforms.TenCrop(40)(given)])
    np.testing.assert_allclose(out, theirs, atol=0.02)
    five = augment(given, Augment(flip=0.0, crops="five"), spec(40, 48), generator()) * 255
    np.testing.assert_allclose(five, theirs[: 5 * len(given)], atol=0.02)


def test_random_crops_lie_inside_and_differ() -> None:
    ramp = torch.arange(48, dtype=torch.uint8).expand(200, 48, 48)
    out = augment(ramp, Augment(flip=0.0), spec(40, 48), generator())[:, 0] * 255
    left = out[:, 0, 0]
    assert left.min() >= -0.01
    assert left.max() <= 8.01
    assert left.max() - left.min() > 7
    np.testing.assert_allclose(out[:, 0, -1] - left, 39, atol=0.02)


def test_brightness_and_contrast_turn_about_mid_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    given = faces()
    monkeypatch.setattr(torch, "rand", lambda count, **_: torch.ones(count))
    out = augment(given, Augment(flip=0.0, brightness=0.2, contrast=0.5), PLAIN, generator())[:, 0]
    np.testing.assert_allclose(out, (given / 255 - 0.5) * 1.5 + 0.5 + 0.2, atol=1e-4)


@pytest.mark.parametrize(("drawn", "brighter_first"), [(0.0, True), (0.999999, False)])
def test_factors_of_light_are_those_of_torchvision(
    monkeypatch: pytest.MonkeyPatch, drawn: float, brighter_first: bool
) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    given = faces()
    monkeypatch.setattr(torch, "rand", lambda count, **_: torch.full((count,), drawn))
    out = augment(given, Augment(flip=0.0, brightness=0.5, contrast=0.4, light="factor"), PLAIN, generator())
    brightness, contrast = 1 + (2 * drawn - 1) * 0.5, 1 + (2 * drawn - 1) * 0.4
    theirs = given[:, None] / 255
    for brighter in (brighter_first, not brighter_first):
        if brighter:
            theirs = functional.adjust_brightness(theirs, brightness)
        else:
            theirs = functional.adjust_contrast(theirs, contrast)
    np.testing.assert_allclose(out, theirs, atol=1e-4)


def test_factors_of_light_leave_what_lies_outside_black() -> None:
    white = torch.full((50, 48, 48), 255, dtype=torch.uint8)
    light = {"flip": 0.0, "scale": (4.0, 4.0), "outside": "black", "brightness": 0.5, "contrast": 0.5}
    factor = augment(white, Augment(**light, light="factor"), PLAIN, generator())
    assert factor[:, :, :10].max() == 0
    assert augment(white, Augment(**light), PLAIN, generator())[:, :, :10].abs().max() > 0.1


def test_erasing_fills_rectangles_of_the_asked_area() -> None:
    white = torch.full((600, 48, 48), 255, dtype=torch.uint8)
    out = augment(white, Augment(flip=0.0, erase_probability=0.5, erase_area=(0.1, 0.2)), PLAIN, generator())[:, 0]
    erased = (out - 1).abs() > 1e-3
    share = erased.float().mean((1, 2))
    assert abs((share > 0).float().mean() - 0.5) < 0.07
    assert share[share > 0].min() > 0.07
    assert share.max() < 0.23
    one = out[share.argmax()]
    rows, columns = erased[share.argmax()].any(1), erased[share.argmax()].any(0)
    assert int(erased[share.argmax()].sum()) == int(rows.sum()) * int(columns.sum())  # a full rectangle …
    assert one[rows][:, columns].unique().numel() == 1  # … of one grey


def test_erasing_can_fill_with_black() -> None:
    white = torch.full((50, 48, 48), 255, dtype=torch.uint8)
    settings = {"flip": 0.0, "erase_probability": 1.0, "erase_area": (0.1, 0.2)}
    black, grey = (augment(white, Augment(**settings, erase_fill=of), PLAIN, generator()) for of in ("black", "grey"))
    assert torch.equal(black == 0, grey < 1 - 1e-3), "the same rectangles"
    assert ((black == 0) | (black > 1 - 1e-3)).all()


def test_colour_and_channels() -> None:
    rgb = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8))
    three = InputSpec(48, 3, "rgb", (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    out = augment(rgb, IDENTITY, three, generator())
    wanted = (rgb.permute(0, 3, 1, 2) / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor(
        [0.5, 0.6, 0.7]
    )[:, None, None]
    np.testing.assert_allclose(out, wanted, atol=1e-4)
    grey = augment(rgb, IDENTITY, PLAIN, generator())
    np.testing.assert_allclose(grey[:, 0] * 255, rgb.float() @ torch.tensor([0.299, 0.587, 0.114]), atol=0.02)
    repeated = augment(faces(), IDENTITY, InputSpec(48, 3, "grey", (0.0,) * 3, (1.0,) * 3), generator())
    assert repeated.shape == (3, 3, 48, 48)
    assert torch.equal(repeated[:, 0], repeated[:, 2])


FULL = Augment(
    rotate=10, scale=(0.8, 1.2), aspect=(0.8, 1.2), translate=0.1, brightness=0.1, contrast=0.1, erase_probability=0.5
)


def test_one_generator_one_outcome() -> None:
    given = faces(8)
    first = augment(given, FULL, PLAIN, generator(1))
    assert torch.equal(first, augment(given, FULL, PLAIN, generator(1)))
    assert not torch.equal(first, augment(given, FULL, PLAIN, generator(2)))
    state = torch.get_rng_state()
    again = generator(1)
    assert not torch.equal(augment(given, FULL, PLAIN, again), augment(given, FULL, PLAIN, again))
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"


@pytest.mark.parametrize("recipe", [Augment(mixup=0.4), Augment(cutmix=1.0), Augment(mixup=0.4, cutmix=1.0)])
def test_mixing_weighs_images_and_targets_alike(recipe: Augment) -> None:
    """One-hot images: the share of each class in the image is its target."""
    count = 6
    targets = torch.eye(count)
    images = torch.eye(count)[:, :, None, None].expand(count, count, 20, 20).contiguous()
    draw, mixed = random.Random(0), 0
    for seed in range(10):
        out, soft = mix(images, targets, Amount.drawn(20, recipe, draw), generator(seed))
        torch.testing.assert_close(soft.sum(1), torch.ones(count))
        torch.testing.assert_close(out.mean((2, 3)), soft)
        mixed += int(soft.max(1).values.min() < 0.99)
    assert mixed > 4
    assert torch.equal(images[0, 0], torch.ones(20, 20)), "the images given were changed"


def test_without_mixing_nothing_is_drawn() -> None:
    images, targets, draw = torch.rand(2, 1, 4, 4), torch.eye(2), random.Random(0)
    state = draw.getstate()
    out, soft = mix(images, targets, Amount.drawn(4, Augment(), draw), generator())
    assert out is images
    assert soft is targets
    assert draw.getstate() == state


def test_probabilities_gate_geometry_and_light_as_a_whole() -> None:
    given = faces(1).expand(400, 48, 48)
    moving = Augment(flip=0, rotate=20, scale=(0.5, 0.8), aspect=(0.7, 1.4), translate=0.2, affine_probability=0.3)
    still = augment(given, IDENTITY, PLAIN, generator())
    for recipe, low, high in (
        (moving, 0.2, 0.4),
        (Augment(flip=0, brightness=0.3, contrast=0.5, light_probability=0.3), 0.2, 0.4),
        (Augment(flip=0, brightness=0.3, light_probability=0.0), 0, 0),
        (Augment(flip=0, brightness=0.3, contrast=0.5, light="factor", light_probability=0.3), 0.2, 0.4),
        (Augment(flip=0, noise=0.1, blur=2, degrade_probability=0.3), 0.2, 0.4),
    ):
        changed = (augment(given, recipe, PLAIN, generator()) - still).abs().amax((1, 2, 3)) > 1e-4
        assert low <= float(changed.float().mean()) <= high, recipe


def test_noise_is_at_most_as_strong_as_it_says() -> None:
    given = torch.full((500, 16, 16), 128, dtype=torch.uint8)
    out = augment(given, Augment(flip=0, noise=0.2), spec(16), generator())
    sd = out.std((1, 2, 3))
    assert 0.19 < float(sd.max()) < 0.24
    assert 0.08 < float(sd.mean()) < 0.12, "the strength is uniform from 0"


def test_blur_is_that_of_scipy() -> None:
    from scipy.ndimage import gaussian_filter

    given = faces(1).expand(6, 48, 48)
    rand = generator()
    recipe = Augment(flip=0, blur=2.0)
    out = augment(given, recipe, PLAIN, rand)[:, 0].numpy()
    sharp = given[0].numpy() / 255.0
    sigmas = np.linspace(0.02, 2, 100)
    theirs = np.stack([gaussian_filter(sharp, s, mode="nearest", radius=6) for s in sigmas])
    distance = np.abs(out[:, None] - theirs[None]).max((2, 3))
    assert (distance.min(1) < 0.02).all()
    assert len(set(distance.argmin(1))) == 6, "each face has a blur of its own"


def test_equalised_is_that_of_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    given = (faces(4) // 3 + 40).float()[:, None]
    for face, out in zip(given, equalised(given), strict=True):
        theirs = cv2.equalizeHist(face[0].numpy().astype(np.uint8))
        np.testing.assert_allclose(out[0], theirs, atol=0.51)
    blank = torch.full((1, 1, 8, 8), 7.0)
    assert torch.equal(equalised(blank), blank)


def test_equalising_has_its_probability_and_leaves_the_faces_alone() -> None:
    given = (faces(1) // 3 + 40).expand(300, 48, 48).clone()
    before = given.clone()
    out = augment(given, Augment(flip=0, equalise_probability=0.25), PLAIN, generator())
    assert 0.15 < float((out.amax((1, 2, 3)) > 0.9).float().mean()) < 0.35
    assert torch.equal(given, before)


def test_settings_that_are_off_draw_nothing() -> None:
    """Recorded runs were made before these settings: their random numbers must stay the same."""
    given = faces(4)
    recipe = Augment(rotate=10, brightness=0.1, contrast=0.1, erase_probability=0.5)
    rand = generator()
    augment(given, recipe, PLAIN, rand)
    state = rand.get_state()
    # flip, vertical flip, angle, scale, aspect, shift twice, gain, offset, and six of erasing.
    again = generator()
    for _ in range(15):
        torch.rand(4, generator=again)
    assert torch.equal(state, again.get_state())
