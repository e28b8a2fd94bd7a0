"""Maps point where a network looks; curves tell good maps from bad ones; pages hold them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from mien.bundle import InputSpec
from mien.datasets import load_dataset
from mien.errors import InputError
from mien.explanation import faithfulness, occlusion_maps
from mien.explanation.explain import Explainer, explain_class, explain_files
from mien.explanation.faithfulness import LEVEL, Faithfulness, _as_smooth
from mien.explanation.gradients import gradient_maps, last_convolution
from mien.explanation.pictures import overlay
from mien.labels import FER2013
from mien.recognition import Recognizer

PORTRAIT = str(Path(__file__).parents[2] / "examples" / "astronaut.jpg")
SPEC = InputSpec(48, 1, "grey", mean=(0.5,), std=(0.25,))


class Corner(nn.Module):
    """A network made to look at one corner: bright there means the fourth expression."""

    def __init__(self) -> None:
        super().__init__()
        self.seeing = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        with torch.no_grad():
            self.seeing.weight.fill_(1 / 9)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        corner = self.seeing(images)[:, 0, :12, -12:].mean(dim=(1, 2))
        logits = images.new_zeros(len(images), 7)
        logits[:, 3] = 2 * corner
        return logits


def probabilities(faces: np.ndarray) -> np.ndarray:
    inputs = torch.from_numpy((faces[:, None] / 255 - 0.5) / 0.25).float()
    with torch.no_grad():
        return torch.softmax(Corner()(inputs), dim=1).numpy()


@pytest.fixture
def faces() -> np.ndarray:
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 90, (3, 48, 48), dtype=np.uint8)
    faces[:, :12, -12:] = rng.integers(200, 255, (3, 12, 12), dtype=np.uint8)
    return faces


def share_in_corner(importance: np.ndarray) -> float:
    positive = np.maximum(importance, 0)
    return float(positive[:16, -16:].sum() / positive.sum())


def test_occlusion_points_at_the_corner(faces: np.ndarray) -> None:
    maps = occlusion_maps(probabilities, faces, np.full(3, 3))
    assert maps.shape == (3, 48, 48)
    assert all(share_in_corner(found) > 0.8 for found in maps)


@pytest.mark.parametrize("method", ["gradcam", "integrated-gradients"])
def test_gradients_point_at_the_corner(faces: np.ndarray, method: str) -> None:
    maps = gradient_maps(Corner().eval(), SPEC, faces, np.full(3, 3), method)  # type: ignore[arg-type]
    assert maps.shape == (3, 48, 48)
    assert maps.min() == 0
    assert maps.max() == 1
    assert all(share_in_corner(found) > 0.8 for found in maps)


def test_maps_of_cropped_inputs_lie_in_the_face(faces: np.ndarray) -> None:
    spec = InputSpec(40, 1, "grey", mean=(0.5,), std=(0.25,), resize=48)
    maps = gradient_maps(Corner().eval(), spec, faces, np.full(3, 3), "integrated-gradients")  # type: ignore[arg-type]
    assert maps.shape == (3, 48, 48)
    assert not maps[:, :4].any()
    assert maps[:, 4:16, 32:44].sum() > 0.8 * maps.sum()


def test_curves_tell_a_good_map_from_a_bad_one(faces: np.ndarray) -> None:
    good = np.zeros((48, 48), np.float32)
    good[:12, -12:] = 1
    bad = 1 - good
    right = faithfulness(probabilities, faces[0], good, 3)
    wrong = faithfulness(probabilities, faces[0], bad, 3)
    assert right.means_something
    assert right.p < 0.05 < wrong.p
    assert not wrong.means_something
    found = occlusion_maps(probabilities, faces[:1], np.array([3]))[0]
    assert faithfulness(probabilities, faces[0], found, 3).means_something
    assert right.deletion_gain > 0 > wrong.deletion_gain
    assert right.deletion[0] == pytest.approx(right.insertion[-1], abs=1e-5)


def test_random_maps_are_declared_meaningful_in_five_per_cent_of_cases_at_most() -> None:
    """Of any coarseness, on a network that looks at a few places of each face."""
    rng = np.random.default_rng(7)
    weights = np.asarray(Image.fromarray(rng.normal(size=(5, 5)).astype(np.float32)).resize((24, 24)), np.float64)

    def somewhere(faces: np.ndarray) -> np.ndarray:
        happy = 1 / (1 + np.exp(-8 * (faces / 255 * weights).mean(axis=(1, 2)) / weights.std()))
        return np.stack([happy, 1 - happy], axis=1)

    passed, chances = [], []
    for number in range(120):
        face = Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).resize((24, 24))
        side = (3, 6, 12, 24)[number % 4]
        curves = faithfulness(somewhere, np.asarray(face), rng.random((side, side), np.float32), 0, seed=number)
        passed.append(curves.means_something)
        chances.append(curves.chance)
    assert np.mean(passed) <= LEVEL
    assert 0 < np.mean(chances) <= LEVEL, "the share that a page shows beside is what chance gives"


def test_a_map_passes_only_where_both_curves_beat_ninety_five_per_cent() -> None:
    ends, many = np.array([1.0, 0.0]), np.tile([0.5, 0.5], (39, 1))
    shares = np.array([0.0, 1.0])
    one = np.array([0.9, 0.9])

    def judged(deletion: np.ndarray, insertion: np.ndarray, beaten_by: int) -> Faithfulness:
        random_deletion, random_insertion = many.copy(), many.copy()
        random_deletion[:beaten_by] = 0
        random_insertion[:beaten_by] = 1
        return Faithfulness(shares, deletion, insertion, random_deletion, random_insertion)

    assert judged(ends / 4, one, 1).p == pytest.approx(2 / 40)
    assert judged(ends / 4, one, 1).means_something
    assert not judged(ends / 4, one, 2).means_something
    assert not judged(one, one, 0).means_something, "one way is not enough"
    assert not judged(ends / 4, ends / 4, 0).means_something
    assert judged(np.array([0.5, 0.5]), np.array([0.5, 0.5]), 0).p == 1, "an answer that nothing changes"


def test_random_maps_are_as_smooth_as_the_one_that_is_judged() -> None:
    rng = np.random.default_rng(0)

    def roughness(found: np.ndarray) -> float:
        down, across = np.diff(found, axis=0), np.diff(found, axis=1)
        return float((np.mean(down**2) + np.mean(across**2)) / found.var())

    for side in (3, 8, 48):
        own = np.asarray(Image.fromarray(rng.random((side, side), np.float32)).resize((48, 48)), np.float32)
        others = _as_smooth(own, 40, rng)
        assert len(np.unique(others.argmax(axis=0))) > 1
        assert np.mean([roughness(other) for other in others]) == pytest.approx(roughness(own), rel=0.25)


def test_the_last_convolution_that_sees_places() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=4), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 7, 1)
    )
    assert last_convolution(network, torch.zeros(1, 1, 48, 48)) is network[1]
    with pytest.raises(InputError, match="no convolution"):
        last_convolution(nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), torch.zeros(1, 1, 3, 3))


def test_overlays_glow_where_it_matters() -> None:
    importance = np.zeros((48, 48), np.float32)
    importance[:12, -12:] = 1
    picture = np.asarray(overlay(np.full((48, 48), 120, np.uint8), importance, side=96)).astype(int).sum(axis=2)
    assert picture[:20, -20:].mean() > 1.5 * picture[40:, :60].mean()


def test_photographs_get_overlays_and_a_page(tmp_path: Path) -> None:
    (entry,) = explain_files(Explainer.of_bundle(), [PORTRAIT], tmp_path)
    assert entry["label"] == "happy"
    assert entry["probability"] == pytest.approx(Recognizer().predict(PORTRAIT).confidence[0], abs=1e-5)
    assert Path(entry["picture"]).exists()
    page = (tmp_path / "index.html").read_text()
    assert re.search(r"<h2>astronaut\.jpg: \w+, \d+ %</h2>", page)
    # Captions are text of the page: within a drawing they would grow and shrink with it.
    assert page.count("<figcaption>taken away: share of the face</figcaption>") == page.count("<h2>")
    assert "<text" not in page
    assert "happy" in page
    assert "http" not in page.replace("data:image", "")
    assert f"p = {entry['deletion_p']:.2f}" in page
    assert entry["means_something"] == (entry["p"] <= LEVEL)
    assert ("The map means something" in page) == entry["means_something"]


def test_a_class_of_drawn_faces(tmp_path: Path) -> None:
    data = load_dataset("drawn", count=140, seed=0)
    explainer = Explainer("corner", FER2013, probabilities, SPEC)
    found = explain_class(explainer, data.selection, "happy", tmp_path, count=2)
    assert found["faces"] == 2
    assert found["judged"] == 2
    assert 0 <= found["means_something_random"] <= LEVEL
    said = f"of the random maps beside them {100 * found['means_something_random']:.1f} % would have passed"
    assert said in (tmp_path / "index.html").read_text()
    assert (tmp_path / "happy-occlusion.png").exists()
    with pytest.raises(InputError):
        explain_class(explainer, data.selection, "hapy", tmp_path)


def test_what_cannot_be_explained_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs gradients"):
        explain_files(Explainer.of_bundle(), [PORTRAIT], tmp_path, method="gradcam")
    with pytest.raises(InputError, match="methods are"):
        explain_files(Explainer.of_bundle(), [PORTRAIT], tmp_path, method="lime")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path) -> None:
    from mien.cli import application

    done = CliRunner().invoke(application(), ["explain", PORTRAIT, "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["label"] == "happy"
    both = CliRunner().invoke(application(), ["explain", PORTRAIT, "--data", "drawn"])
    assert isinstance(both.exception, InputError)
