"""The most confident mistakes of a result, with pictures, for whoever builds the pages beside the data set."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.results import Result, protocols

if TYPE_CHECKING:
    from mien.datasets import FaceSet


@dataclass(frozen=True)
class Mistake:
    """One face that got another expression than its label.

    Args:
        row: of the face in the data set's file.
        said: the expression it got.
        label: the one it is labelled with.
        confidence: in what it got, 0–1.
        image: the face as a ``data:`` address, or empty.
    """

    row: int
    said: str
    label: str
    confidence: float
    image: str = ""


def mistakes(result: Result, faces: FaceSet | None = None, *, most: int = 24) -> list[Mistake]:
    """The wrong answers of the test split that were given with the highest confidence.

    Args:
        result: with scores on the test split.
        faces: the face set it is about, for the pictures; another one is refused by giving none.
        most: how many.

    Returns:
        Most confident first; empty for a result without probabilities.
    """
    calibrated, test = result.probabilities(), result.test
    if calibrated is None or test is None:
        return []
    said = calibrated.probabilities.argmax(axis=1)
    confidence = calibrated.probabilities.max(axis=1)
    wrong = np.flatnonzero(said != test.labels)
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    known = faces is not None and faces.fingerprint == (
        protocols.get(result.protocol).data_fingerprint or result.data_fingerprint
    )
    pictures = faces.all_rows().images if known and faces is not None else None
    return [
        Mistake(
            row=int(test.rows[at]),
            said=result.labels[said[at]],
            label=result.labels[test.labels[at]],
            confidence=float(confidence[at]),
            image=_png(np.asarray(pictures[int(test.rows[at])])) if pictures is not None else "",
        )
        for at in chosen
    ]


def _png(image: np.ndarray) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
