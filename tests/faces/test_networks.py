"""CenterFace as installed, YuNet where its file is at hand, and both on real photographs where these are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import InputError
from mien.faces import Detections, decode, open_detector, open_session
from mien.faces.centerface import CenterFace
from mien.faces.detect import intersection_over_union
from mien.faces.yunet import YuNet

ASTRONAUT = [178, 66, 275, 177]  # in examples/astronaut.jpg


@pytest.fixture(scope="module")
def centerface() -> CenterFace:
    return CenterFace(threads=1)


@pytest.fixture(scope="module")
def yunet(yunet_path: Path) -> YuNet:
    return YuNet(yunet_path, threads=1)


@pytest.fixture(params=["centerface", "yunet"])
def detector(request: pytest.FixtureRequest) -> CenterFace | YuNet:
    return request.getfixturevalue(request.param)


def scene(astronaut: np.ndarray, side: int, places: list[tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    picture = Image.new("RGB", size, (120, 130, 125))
    small = Image.fromarray(astronaut[:256, 96:352]).resize((side, side), Image.Resampling.LANCZOS)
    for place in places:
        picture.paste(small, place)
    return np.asarray(picture)


def test_one_face_with_landmarks(detector: CenterFace | YuNet, astronaut: np.ndarray) -> None:
    found = detector.detect(astronaut)
    assert len(found) == 1
    assert intersection_over_union(found.boxes, [ASTRONAUT])[0, 0] > 0.6
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_equal_answers_at_every_call(detector: CenterFace | YuNet, astronaut: np.ndarray) -> None:
    first, second = detector.detect(astronaut), detector.detect(astronaut.copy())
    assert (first.boxes == second.boxes).all()


def test_mirrored_image_mirrors_the_answer(detector: CenterFace | YuNet, astronaut: np.ndarray) -> None:
    plain, mirrored = detector.detect(astronaut), detector.detect(astronaut[:, ::-1])
    back = mirrored.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [512, 0, 512, 0]
    assert intersection_over_union(plain.boxes, back)[0, 0] > 0.85
    assert mirrored.landmarks[0, 0, 0] < mirrored.landmarks[0, 1, 0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (7, 3), (33, 31), (480, 640)])
def test_no_face_is_an_empty_answer(detector: CenterFace | YuNet, shape: tuple[int, int]) -> None:
    for value in (0, 128, 255):
        found = detector.detect(np.full((*shape, 3), value, np.uint8))
        assert found.boxes.shape == (0, 4)
        assert found.landmarks.shape == (0, 5, 2)


def test_small_faces_ask_for_a_closer_look(centerface: CenterFace, astronaut: np.ndarray) -> None:
    places = [(x, y) for x in range(20, 1500, 180) for y in range(20, 1000, 200)]
    crowd = scene(astronaut, 110, places, (1600, 1100))  # faces of 48 px
    once = CenterFace(longest_side=320, threads=1).detect(crowd)
    closer = centerface.detect(crowd)
    assert len(closer) == len(places)
    assert len(once) < len(places)


def test_a_portrait_is_looked_at_once(astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, sides = CenterFace(threads=1), []
    look = detector._look
    monkeypatch.setattr(detector, "_look", lambda image, side: sides.append(side) or look(image, side))
    detector.detect(astronaut)
    assert sides == [320]
    sides.clear()
    detector.detect(np.zeros((3000, 4000, 3), np.uint8))
    assert sides == [320, 640]
    sides.clear()
    detector.detect(np.zeros((300, 300, 3), np.uint8))
    assert sides == [320]


@pytest.mark.parametrize(
    "wrong",
    [{"long_side": 8}, {"long_side": 640, "longest_side": 320}, {"threshold": 0}, {"overlap": 2}, {"threads": 0}],
)
def test_options_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(InputError):
        CenterFace(**wrong)


def test_what_cannot_be_computed_exactly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime refuses exact products of shared int8 weights where a processor has no VNNI."""
    from mien.faces import inference

    def session(source: object, threads: object, *, precise: bool) -> object:
        if precise:
            raise RuntimeError("graph_utils.cc: Attempt to replace the existing tensor")
        return object()

    monkeypatch.setattr(inference, "_session", session)
    monkeypatch.setattr(inference, "fast_products_are_exact", lambda: False)
    with pytest.raises(InputError, match=r"the model cannot be computed exactly on this processor.* export it anew"):
        open_session(b"model")


def test_where_fast_products_are_exact_nothing_is_said_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.faces import inference

    def session(source: object, threads: object, *, precise: bool) -> object:
        raise RuntimeError("another fault")

    monkeypatch.setattr(inference, "_session", session)
    monkeypatch.setattr(inference, "fast_products_are_exact", lambda: True)
    with pytest.raises(InputError, match=r"the model cannot be run \(another fault\)"):
        open_session(b"model")


def test_files_that_are_no_detector(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"no\.onnx cannot be run"):
        open_session(tmp_path / "no.onnx")
    with pytest.raises(InputError, match="the model cannot be run"):
        open_session(b"no model")
    packaged = Path(open_detector.__code__.co_filename).with_name("centerface.onnx")
    with pytest.raises(InputError, match="not YuNet"):
        YuNet(packaged)


def misses(found: Detections, faces: list[list[float]]) -> tuple[int, int]:
    """Faces not found, and boxes where no face is."""
    if not faces or not len(found):
        return len(faces), len(found)
    overlaps = intersection_over_union(faces, found.boxes) >= 0.4
    return int((~overlaps.any(1)).sum()), int((~overlaps.any(0)).sum())


def test_photographs(photos: tuple[Path, dict[str, list[list[float]]]]) -> None:
    folder, faces = photos
    detector = open_detector()
    outcome = {name: misses(detector.detect(decode(folder / name)), boxes) for name, boxes in faces.items()}
    assert sum(len(boxes) for boxes in faces.values()) == 54
    assert {name: missed for name, missed in outcome.items() if missed != (0, 0)} == {}


@pytest.mark.full
@pytest.mark.parametrize("scale", [0.35, 0.5, 2.0])
def test_photographs_at_other_sizes(photos: tuple[Path, dict[str, list[list[float]]]], scale: float) -> None:
    folder, faces = photos
    detector, outcome = open_detector(), {}
    for name, boxes in faces.items():
        picture = Image.open(folder / name).convert("RGB")
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
        outcome[name] = misses(detector.detect(decode(picture)), [[v * scale for v in box] for box in boxes])
    assert {name: missed for name, missed in outcome.items() if missed != (0, 0)} == {}
