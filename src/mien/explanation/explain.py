"""Explain photographs, or a whole class of a data set: maps, what they are worth, pictures and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError
from mien.explanation.faithfulness import LEVEL, Faithfulness, faithfulness
from mien.explanation.occlusion import Scores, occlusion_maps
from mien.explanation.pictures import Panel, overlay, page
from mien.store import atomic_file, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.bundle import InputSpec
    from mien.datasets import Split
    from mien.labels import LabelSet
    from mien.systems.base import System
    from mien.systems.card import Card

METHODS = ("occlusion", "gradcam", "integrated-gradients")
JUDGED_MAPS = 20
"""Of a class: each is tried beside random maps, which takes longer than the map itself."""


@dataclass(frozen=True)
class Explainer:
    """Something that scores faces, and its network where gradients are wanted.

    Attributes:
        name: how pages call it.
        label_set: what the scores mean.
        scores: uint8 faces → probabilities.
        spec: what the network is fed.
        system: the network of a run; None for a bundle, which only occlusion can explain.
        crop: an image file → its faces as the network sees them, and a word on each.
    """

    name: str
    label_set: LabelSet
    scores: Scores
    spec: InputSpec
    system: System | None = None
    crop: Callable[[str], list[tuple[str, NDArray[np.uint8]]]] | None = None

    @classmethod
    def of_bundle(cls, model: str | Path | None = None) -> Explainer:
        """A bundle; None is the one in the package."""
        from mien.recognition import Recognizer

        recognizer = Recognizer(model)

        def scores(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
            return recognizer.classify(faces).probabilities

        return cls(recognizer.card.name, recognizer.label_set, scores, recognizer.card.input, crop=_cropper(recognizer))

    @classmethod
    def of_run(cls, folder: str | Path, system: str | Path | Card | None = None) -> Explainer:
        """A finished run; ``system`` as of `mien.Run.open`."""
        from mien.evaluation.scorers import score, torch_logits
        from mien.recognition import Recognizer
        from mien.results.metrics import softmax
        from mien.training import Run

        run = Run.open(folder, system=system)
        module = run.module()
        logits = torch_logits(module)

        def scores(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.asarray(softmax(score(faces, run.recipe.input, logits)), np.float32)

        name = f"{run.system}, {run.recipe.name}, seed {run.seed}"
        return cls(name, run.label_set, scores, run.recipe.input, module, _cropper(Recognizer()))

    def maps(
        self,
        faces: NDArray[np.uint8],
        targets: NDArray[np.int64],
        method: str,
        progress: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """float32 (N, h, w): the importance of each place for each target."""
        if method not in METHODS:
            raise InputError(f"methods are {', '.join(METHODS)}, not {method!r}")
        if method == "occlusion":
            return occlusion_maps(self.scores, faces, targets, progress=progress)
        if self.system is None:
            raise InputError(f"{method} needs gradients, which a bundle does not have; give a run, or use occlusion")
        from mien.explanation.gradients import gradient_maps

        return gradient_maps(self.system, self.spec, faces, targets, method)


def explain_files(
    explainer: Explainer,
    files: Sequence[str],
    out: str | Path,
    *,
    method: str = "occlusion",
    label: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Explain each face of some photographs; writes an overlay per face and one page.

    Args:
        explainer: who is asked.
        files: photographs.
        out: folder for the overlays and ``index.html``.
        method: ``occlusion``, ``gradcam`` or ``integrated-gradients``.
        label: the expression asked about; by default what each face is taken for.
        progress: called with (files done, files in all).

    Returns:
        One entry per face: file, label, probability, deletion and insertion with their p values, path of the overlay.

    Raises:
        InputError: no face anywhere, an unknown label or method, a file that is no image.
    """
    folder = Path(out)
    panels: list[Panel] = []
    entries: list[dict[str, Any]] = []
    assert explainer.crop is not None
    for done, file in enumerate(files, 1):
        for number, (where, face) in enumerate(explainer.crop(file), 1):
            probabilities = explainer.scores(face[None])[0]
            target = int(probabilities.argmax()) if label is None else explainer.label_set.id(label)
            importance = explainer.maps(face[None], np.array([target]), method)[0]
            curves = faithfulness(explainer.scores, face, importance, target)
            name = explainer.label_set[target]
            path = folder / f"{Path(file).stem}-{len(entries) + 1}-{name}.png"
            with atomic_file(path) as picture:
                overlay(face, importance).save(picture, "PNG")
            panels.append(
                Panel(
                    f"{Path(file).name}: {name}, {100 * probabilities[target]:.0f} %",
                    f"The face {where}",
                    face,
                    importance,
                    curves,
                )
            )
            entries.append(
                {
                    "file": file,
                    "face": number,
                    "label": name,
                    "probability": round(float(probabilities[target]), 6),
                    "method": method,
                    **curves.to_dict(),
                    "picture": str(path),
                }
            )
        if progress is not None:
            progress(done, len(files))
    if not entries:
        raise InputError("there is no face on these photographs; give one with a face")
    write_text(folder / "index.html", page(f"What decided? {explainer.name}", _NOTES[method], panels))
    return entries


def explain_class(
    explainer: Explainer,
    split: Split,
    label: str,
    out: str | Path,
    *,
    method: str = "occlusion",
    count: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The mean map of many faces of one expression, over their mean face: its important regions.

    Args:
        explainer: who is asked.
        split: the faces; never a sealed split.
        label: the expression.
        out: folder for the picture and ``index.html``.
        method: as for `explain_files`.
        count: faces that are drawn from the class.
        seed: of the draw.
        progress: called with (faces done, faces in all).

    Returns:
        Label, faces, mean probability, the path of the picture; of `JUDGED_MAPS` faces at most, how many were
        ``judged``, the share whose map ``means_something``, and the share of random maps that would have passed.
    """
    target = explainer.label_set.id(label)
    rows = np.flatnonzero(np.asarray(split.labels) == target)
    if not len(rows):
        raise InputError(f"{split.name} has no face of {label!r}")
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:count])
    faces = np.asarray(split.images)[chosen]
    targets = np.full(len(faces), target)
    maps = explainer.maps(faces, targets, method, progress)
    curves = [
        faithfulness(explainer.scores, face, importance, target, seed=number)
        for number, (face, importance) in enumerate(zip(faces[:JUDGED_MAPS], maps[:JUDGED_MAPS], strict=True))
    ]
    meaningful = sum(one.means_something for one in curves)
    chance = float(np.mean([one.chance for one in curves]))
    mean_face = faces.mean(axis=0).round().astype(np.uint8)
    folder = Path(out)
    path = folder / f"{label}-{method}.png"
    with atomic_file(path) as picture:
        overlay(mean_face, maps.mean(axis=0)).save(picture, "PNG")
    text = f"mean of {len(faces)} faces of {split.name}"
    verdict = (
        f"Of {len(curves)} maps that were tried, {meaningful} ({100 * meaningful / len(curves):.0f} %) mean something; "
        f"of the random maps beside them {100 * chance:.1f} % would have passed."
    )
    panel = Panel(label, text, mean_face, maps.mean(axis=0), Faithfulness.mean(curves), verdict)
    write_text(folder / "index.html", page(f"What decides {label}? {explainer.name}", _NOTES[method], [panel]))
    return {
        "label": label,
        "split": split.name,
        "faces": len(faces),
        "method": method,
        "probability": round(float(explainer.scores(faces)[:, target].mean()), 6),
        "judged": len(curves),
        "means_something": round(meaningful / len(curves), 3),
        "means_something_random": round(chance, 4),
        "level": LEVEL,
        "picture": str(path),
    }


_NOTES = {
    "occlusion": "Bright: covering this place takes probability away from the expression. ",
    "gradcam": "Bright: the last feature maps speak for the expression here (Grad-CAM). ",
    "integrated-gradients": "Bright: the logit of the expression depends on these pixels (integrated gradients). ",
}
_NOTES = {
    name: text + "The curves say what the map is worth: the expression should fade fast when the important places are "
    "blurred first, and come back fast when they are shown first. A map means something only where it beats 95 % of "
    "random maps that are as smooth as it, both ways. It shows what the network used, not why a person "
    "looks that way."
    for name, text in _NOTES.items()
}


def _cropper(recognizer: Any) -> Callable[[str], list[tuple[str, NDArray[np.uint8]]]]:
    def crop(file: str) -> list[tuple[str, NDArray[np.uint8]]]:
        from mien.faces.crop import crop_faces
        from mien.faces.decode import decode

        pixels = decode(file)
        found = recognizer.detect(pixels)
        spec = recognizer.card.input
        # The very crop that `predict` classifies, so that the map is of the number that `predict` gives.
        crops = crop_faces(
            pixels,
            found.boxes,
            found.landmarks,
            size=spec.face_size,
            colour=spec.colour,
            framing=recognizer.card.framing,
        )
        return [(f"at {box[0]:.0f}, {box[1]:.0f}", face) for box, face in zip(found.boxes.tolist(), crops, strict=True)]

    return crop
