"""Drawn faces: the seven expressions as geometry of brows, eyes and mouth, on people who do not exist.

They stand in for FER2013 where it is not at hand: in tests, in the tutorial, in every training command of the README.
What a brow, an eyelid or a lip does for which expression follows the action units that Ekman and Friesen's coding
system names for it (Ekman, Friesen and Hager 2002, "Facial Action Coding System: Investigator's Guide", prototypes);
amounts are drawn at random, so that weak, mixed and noisy faces occur and no simple rule scores 100 %.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from mien.datasets.drawn_scene import FACE_TRAITS, PERSON_TRAITS, Field, render
from mien.datasets.faceset import ROLES, FaceSet
from mien.errors import InputError
from mien.labels import FER2013

SIDE = 48
LARGEST_FACE = 4096
"""Side in pixels up to which `draw_face` draws."""
_FACES_PER_PERSON = 7
_CHUNK = 32

# What each expression does to a face, at full strength; 0 is at rest. One column per label of FER2013, in its order.
_PROTOTYPES: dict[str, tuple[float, ...]] = {
    #              angry  disgust     fear    happy      sad surprise  neutral
    "inner":   ( -1.00,   -0.60,    1.00,    0.05,    0.85,    0.95,    0.00),  # the inner end of the brow goes up
    "outer":   (  0.35,   -0.30,    0.10,    0.10,   -0.75,    0.95,    0.00),  # the outer end of the brow goes up
    "lid":     ( -0.15,   -0.40,    0.80,   -0.10,   -0.55,    1.00,    0.00),  # the upper lid opens, or sinks
    "squint":  (  0.55,    0.80,    0.10,    0.50,    0.10,    0.00,    0.00),  # the lower lid rises
    "corner":  ( -0.35,   -0.45,   -0.35,    1.00,   -0.95,   -0.05,    0.00),  # the corners of the mouth go up
    "open":    (  0.00,    0.15,    0.45,    0.45,    0.00,    1.10,    0.00),  # the jaw drops
    "wide":    ( -0.10,    0.00,    0.45,    0.60,   -0.25,   -0.45,    0.00),  # the mouth widens
    "lip":     (  0.00,    1.00,    0.00,    0.30,    0.00,    0.00,    0.00),  # the upper lip rises
    "teeth":   (  0.00,    0.60,    0.50,    1.00,    0.00,    0.00,    0.00),  # how much of the opening shows teeth
    "wrinkle": (  1.00,    0.60,    0.30,    0.00,    0.00,    0.00,    0.00),  # furrows beside the nose, frown lines
    "fold":    (  0.00,    1.00,    0.00,    0.50,    0.00,    0.00,    0.00),  # folds from nose to mouth
    "press":   (  1.00,    0.00,    0.00,    0.00,    0.20,    0.00,    0.00),  # lips pressed thin
}  # fmt: skip


def drawn_faces(count: int = 3500, seed: int = 0) -> FaceSet:
    """Draw a face set: grey, 48 x 48 pixels, the labels of FER2013, no person in two splits.

    Args:
        count: faces in all; four fifths of the people are for training, a tenth each for selection and test.
        seed: the same seed and count give the same bytes on the same version of NumPy.

    Raises:
        InputError: fewer than 70 faces, which leaves a split without one face per expression.

    Example:
        >>> faces = drawn_faces(count=140, seed=3)
        >>> len(faces.train), len(faces.selection), len(faces.test)
        (112, 14, 14)
    """
    for name, number, least in (("count", count, 1), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
            raise InputError(f"{name} of drawn faces is a whole number from {least}, not {number!r}")
    if count < 10 * _FACES_PER_PERSON:
        raise InputError(f"{count} drawn faces are too few: {10 * _FACES_PER_PERSON} or more fill three splits")
    images, labels, split = _drawn(count, seed)
    info = {
        "format": "drawn", "count": count, "seed": seed, "people": -(-count // _FACES_PER_PERSON),
        "notes": ["Drawn, not photographed."],
    }  # fmt: skip
    return FaceSet.from_arrays("drawn", FER2013, images.copy(), labels.copy(), split.copy(), ROLES, info=info)


@functools.lru_cache(maxsize=2)  # whoever trains and then evaluates asks for the same twice; a thousand take a second
def _drawn(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images (count, SIDE, SIDE), labels and splits (count,)."""
    random = np.random.default_rng([seed, 2013])
    people = -(-count // _FACES_PER_PERSON)
    person = np.arange(count) // _FACES_PER_PERSON
    # Every person shows the seven expressions once, so all classes are equally frequent and no person gives one away.
    labels = (np.arange(count) % _FACES_PER_PERSON).astype(np.uint8)
    tenth = max(1, people // 10)
    split_of_person = np.zeros(people, np.uint8)
    split_of_person[people - 2 * tenth : people - tenth] = 1
    split_of_person[people - tenth :] = 2
    traits = _people(random, people)[person]
    faces = _faces(random, labels)
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for start in range(0, count, _CHUNK):
        rows = slice(start, start + _CHUNK)
        images[rows] = _photograph(random, render(traits[rows], faces[rows], SIDE, grey=True)[..., 0])
    return images, labels, split_of_person[person]


def draw_face(expression: str, *, size: int = 192, person: int = 0, strength: float = 1.0) -> npt.NDArray[np.uint8]:
    """One clean face in colour, for pictures in a text.

    Args:
        expression: a label of FER2013.
        size: pixels, both ways.
        person: who; any number.
        strength: 0 is at rest, 1 the full expression.

    Returns:
        uint8 (size, size, 3), RGB, 0–255.

    Raises:
        InputError: a size below 1 or above 4,096.

    Example:
        >>> draw_face("happy", size=96).shape
        (96, 96, 3)
    """
    label = FER2013.id(expression)
    if not isinstance(size, int) or not 1 <= size <= LARGEST_FACE:
        raise InputError(f"a drawn face has a side of 1 to {LARGEST_FACE:,} px, not {size!r}")
    traits = _people(np.random.default_rng([person, 77]), 1)
    face = _expression(np.array([label]), np.array([strength], np.float32))
    return _to_bytes(render(traits, face, size)[0])


def _people(random: np.random.Generator, count: int) -> npt.NDArray[np.void]:
    """Traits of ``count`` people: proportions, skin, hair, glasses, beard."""
    people = np.zeros(count, [(name, np.float32) for name in PERSON_TRAITS])
    for name in PERSON_TRAITS:
        people[name] = random.normal(0, 1, count).clip(-2, 2)
    people["skin"] = random.uniform(0, 1, count)
    people["hair"] = random.uniform(0, 1, count)
    people["long"] = random.uniform(0, 1, count) < 0.45
    people["glasses"] = random.uniform(0, 1, count) < 0.15
    people["beard"] = (random.uniform(0, 1, count) < 0.25) * (people["long"] == 0)
    people["fringe"] = random.uniform(0, 1, count)
    return people


def _expression(labels: npt.NDArray[np.integer], strength: Field) -> npt.NDArray[np.void]:
    faces = np.zeros(len(labels), [(name, np.float32) for name in FACE_TRAITS])
    for trait, amounts in _PROTOTYPES.items():
        faces[trait] = np.array(amounts, np.float32)[labels] * strength
    faces["light_y"] = -0.5
    faces["light"] = 1.0
    return faces


def _faces(random: np.random.Generator, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    """Expression, pose and light of each face, all with their scatter."""
    count = len(labels)
    faces = _expression(labels, random.beta(4.0, 1.5, count).astype(np.float32) * 1.25)
    for name in ("inner", "outer", "lid", "squint", "corner", "open", "wide", "lip", "wrinkle", "fold", "press"):
        faces[name] += random.normal(0, 0.12, count)
    faces["teeth"] = (faces["teeth"] + random.normal(0, 0.35, count)).clip(0, 1)
    faces["yaw"] = random.normal(0, 0.25, count).clip(-0.9, 0.9)
    faces["pitch"] = random.normal(0, 0.2, count).clip(-0.8, 0.8)
    faces["roll"] = random.normal(0, 0.08, count)
    faces["scale"] = random.normal(0.14, 0.05, count)
    faces["shift_x"] = random.normal(0, 0.03, count)
    faces["shift_y"] = random.normal(0, 0.03, count)
    faces["light_x"] = random.normal(0, 0.5, count)
    faces["light_y"] = random.normal(-0.4, 0.4, count)
    faces["light"] = random.uniform(0.75, 1.1, count)
    faces["gaze"] = random.normal(0, 0.4, count).clip(-1, 1)
    faces["backdrop"] = random.uniform(0, 1, count)
    faces["lopsided"] = random.normal(0, 0.25, count)
    return faces


def _photograph(random: np.random.Generator, grey: Field) -> npt.NDArray[np.uint8]:
    """Blur, contrast and noise of a small camera; grey float32 (N, H, W), 0–1."""
    count = len(grey)
    blurred = _blur(grey)
    blurred = blurred + (_blur(blurred) - blurred) * random.uniform(0, 1, (count, 1, 1)).astype(np.float32)
    mixed = grey + (blurred - grey) * random.uniform(0, 1, (count, 1, 1)).astype(np.float32)
    gain = random.uniform(0.75, 1.2, (count, 1, 1)).astype(np.float32)
    offset = random.normal(0, 0.05, (count, 1, 1)).astype(np.float32)
    noise = random.normal(0, 1, grey.shape).astype(np.float32) * random.uniform(0.003, 0.025, (count, 1, 1)).astype(
        np.float32
    )
    return _to_bytes((mixed - 0.5) * gain + 0.5 + offset + noise)


def _blur(images: Field) -> Field:
    for axis in (1, 2):
        before = np.concatenate([images.take([0], axis), images.take(range(images.shape[axis] - 1), axis)], axis)
        after = np.concatenate([images.take(range(1, images.shape[axis]), axis), images.take([-1], axis)], axis)
        images = 0.25 * before + 0.5 * images + 0.25 * after
    return images


def _to_bytes(values: Field) -> npt.NDArray[np.uint8]:
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)
