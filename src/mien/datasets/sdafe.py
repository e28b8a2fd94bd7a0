"""SDAFE: which generated images of rare expressions are worth learning from.

Source: M. Zhao et al. 2025, "SDAFE: A Dual-filter Stable Diffusion Data Augmentation Method for Facial Expression
Recognition", as far as its abstract goes. Neutral faces are edited into the expressions that are rare until all are
equally frequent; an image stays if its PSNR against its source is adequate (the person is still there) and if CLIP
finds the text of its label nearest (the expression is). The editing happens elsewhere; this is the dual filter.

Thresholds are not published: the defaults here are a reconstruction.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.datasets.extra_images import LIMITS, ExtraImages, read_manifest
from mien.datasets.extra_manifest import ExtraImage, image_path, write_entries
from mien.datasets.faceset import UNLABELLED, FaceSet
from mien.datasets.readers.table import Progress
from mien.errors import DataError, InputError
from mien.faces.decode import decode

Agreement = Callable[[npt.NDArray[np.uint8]], Sequence[float]]
"""An image, uint8 (H, W, 3) RGB → the cosine with the text of each label, in the order of the label set."""

REASONS = {
    "no_source": "no source",
    "psnr": "PSNR",
    "clip": "CLIP",
    "surplus": "class full",
}
"""What an image is dropped by, in the order in which that is asked; it counts under the first."""


@dataclass(frozen=True)
class Filtered:
    """What the filters left, and why the rest is gone.

    Attributes:
        extra: every image of the manifest.
        kept: the lines that stay, in order, with ``psnr`` as measured and CLIP's answers where they were computed.
        psnr: float64 (N,), in dB, of each image against its source; NaN without a source, infinite where equal.
        reasons: for each image a key of `REASONS`, or "" for those that stay.
        training: faces per expression in the training split.
        sources: sources per expression that they are labelled with.
    """

    extra: ExtraImages = field(repr=False)
    kept: tuple[ExtraImage, ...] = field(repr=False)
    psnr: npt.NDArray[np.float64] = field(repr=False)
    reasons: tuple[str, ...] = field(repr=False)
    training: dict[str, int]
    sources: dict[str, int]

    def balance(self) -> list[dict[str, Any]]:
        """One row per expression: training, offered, dropped by each filter, kept, and the two ends added up."""
        rows = []
        for index, label in enumerate(self.extra.label_set.labels):
            of_class = [reason for reason, its in zip(self.reasons, self.extra.labels, strict=True) if its == index]
            counts = Counter(of_class)
            rows.append(
                {
                    "label": label,
                    "before": self.training[label],
                    "offered": len(of_class),
                    **{reason: counts[reason] for reason in REASONS},
                    "kept": counts[""],
                    "after": self.training[label] + counts[""],
                }
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        rows = self.balance()
        finite = self.psnr[np.isfinite(self.psnr)]
        return {
            "manifest": str(self.extra.path),
            "names": list(self.extra.names),
            "offered": len(self.extra),
            "kept": len(self.kept),
            "dropped": {reason: sum(row[reason] for row in rows) for reason in REASONS},
            "balance": rows,
            "largest_over_smallest": {end: _ratio([row[end] for row in rows]) for end in ("before", "after")},
            "psnr_quantiles": [round(float(q), 2) for q in np.quantile(finite, (0, 0.25, 0.5, 0.75, 1))]
            if len(finite)
            else None,
            "sources": self.sources,
        }

    def write(self, path: str | Path) -> Path:
        """Write what stays as a manifest, from which `read_manifest` and ``--extra-images`` read on.

        Raises:
            InputError: nothing is left, or an image does not lie below the folder of ``path``.
        """
        path = Path(path)
        if not self.kept:
            raise InputError("no image passed the filters, so there is no manifest to write; look at the report")
        if path.resolve() == self.extra.path.resolve():
            raise InputError(f"{path} is the manifest that was read; name another file, it may be needed again")
        folder, entries = path.parent.resolve(), []
        for entry in self.kept:
            image = image_path(self.extra.path, entry)
            if not image.is_relative_to(folder):
                raise InputError(
                    f"a manifest names images below its own folder, and {image} does not lie below {folder}; write it "
                    f"to {self.extra.path.parent / path.name}"
                )
            entries.append(replace(entry, file=image.relative_to(folder).as_posix()))
        write_entries(path, entries)
        return path


def sdafe(
    manifest: str | Path,
    face_set: FaceSet,
    *,
    min_psnr: float = 15.0,
    max_psnr: float = math.inf,
    clip: bool = True,
    min_clip_cos: float | None = None,
    agreement: Agreement | None = None,
    fill: bool = False,
    progress: Progress | None = None,
) -> Filtered:
    """Filter generated images by PSNR against their sources and by CLIP's agreement with their labels.

    Args:
        manifest: see `mien.datasets.extra_manifest`; `read_manifest` refuses those that show what is measured on.
        face_set: the face set whose training faces are the sources.
        min_psnr: in dB, at the size and in the colours of the face set; below it the person is another.
        max_psnr: from here on the image hardly differs from its source, whose expression it then still shows. An
            image equal to its source never stays.
        clip: whether to ask for CLIP's agreement at all.
        min_clip_cos: smallest cosine between image and label; None asks only for the nearest label.
        agreement: computes the cosines; without it the columns ``clip_label`` and ``clip_cos`` hold the answers.
        fill: keep no more of a class than it lacks to the most frequent one, the best by ``clip_cos``, then by PSNR.
        progress: told how many images are read.

    Raises:
        DataError: the manifest is broken or refused, or holds no answer of CLIP for an image.
        InputError: bounds that nothing can pass.

    Example:
        >>> psnr(np.full((2, 2), 100, np.uint8), np.full((2, 2), 110, np.uint8))
        28.13
    """
    if not 0 <= min_psnr < max_psnr:
        raise InputError(f"no PSNR lies from {min_psnr:g} to below {max_psnr:g} dB; give bounds from 0 upwards")
    if min_clip_cos is not None and not -1 <= min_clip_cos <= 1:
        raise InputError(f"a cosine lies between -1 and 1; a minimum of {min_clip_cos:g} makes no sense")
    extra = read_manifest(manifest, face_set, progress=progress)
    pixels = face_set.all_rows().images
    values = np.array(
        [
            math.nan if row < 0 else psnr(image, pixels[row])
            for image, row in zip(extra.images, extra.sources, strict=True)
        ]
    )
    entries, reasons = [], []
    for entry, value in zip(extra.entries, values.tolist(), strict=True):
        reason = "no_source" if math.isnan(value) else "" if min_psnr <= value < max_psnr else "psnr"
        # What PSNR dropped needs no CLIP, which is the dearer of the two.
        if clip and not reason:
            if agreement is not None:
                entry = _asked(entry, extra, agreement)
            reason = "" if _agrees(entry, extra.path, min_clip_cos) else "clip"
        entries.append(replace(entry, psnr=value) if math.isfinite(value) else entry)
        reasons.append(reason)
    training = face_set.train.counts()
    if fill:
        _drop_surplus(entries, reasons, training)
    labels = face_set.all_rows().labels  # of training rows: the manifest would have been refused otherwise
    known = [int(labels[row]) for row in np.unique(extra.sources) if row >= 0 and labels[row] != UNLABELLED]
    sources = Counter(extra.label_set[label] for label in known)
    return Filtered(
        extra=extra,
        kept=tuple(entry for entry, reason in zip(entries, reasons, strict=True) if not reason),
        psnr=values,
        reasons=tuple(reasons),
        training=training,
        sources={label: sources[label] for label in extra.label_set.labels if sources[label]},
    )


def psnr(image: npt.NDArray[np.uint8], source: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB, to two decimals: 10 · log₁₀(255² / mean squared difference).

    Args:
        image: uint8, any shape.
        source: uint8, the same shape.

    Returns:
        Infinity where both are equal.
    """
    error = float(np.square(image.astype(np.float64) - source).mean())
    return math.inf if error == 0 else round(10 * math.log10(255**2 / error), 2)


def _asked(entry: ExtraImage, extra: ExtraImages, agreement: Agreement) -> ExtraImage:
    cosines = np.asarray(agreement(decode(image_path(extra.path, entry), limits=LIMITS)), np.float64)
    if cosines.shape != (len(extra.label_set),) or not (np.abs(cosines) <= 1 + 1e-6).all():
        raise InputError(
            f"agreement answers with an array of shape {cosines.shape}; it should be one cosine per label "
            f"({len(extra.label_set)}), from -1 to 1"
        )
    cosine = round(float(cosines[extra.label_set.id(entry.label)].clip(-1, 1)), 6)
    return replace(entry, clip_label=extra.label_set[int(cosines.argmax())], clip_cos=cosine)


def _agrees(entry: ExtraImage, path: Path, min_clip_cos: float | None) -> bool:
    if min_clip_cos is not None and entry.clip_cos is None:
        raise DataError("clip_cos is empty and a minimum is asked for; fill it in", file=path, line=entry.line)
    if min_clip_cos is None and not entry.clip_label:
        raise DataError(
            "clip_label is empty, so nothing says what CLIP sees; fill it in, give a smallest clip_cos, or leave "
            "that filter out",
            file=path,
            line=entry.line,
        )
    if entry.clip_label and entry.clip_label != entry.label:
        return False
    return min_clip_cos is None or (entry.clip_cos is not None and entry.clip_cos >= min_clip_cos)


def _drop_surplus(entries: list[ExtraImage], reasons: list[str], training: dict[str, int]) -> None:
    most = max(training.values())
    for label, count in training.items():
        rows = [row for row, entry in enumerate(entries) if entry.label == label and not reasons[row]]
        rows.sort(key=lambda row: (-_or_lowest(entries[row].clip_cos), -_or_lowest(entries[row].psnr), row))
        for row in rows[most - count :]:
            reasons[row] = "surplus"


def _or_lowest(value: float | None) -> float:
    return -math.inf if value is None else value


def _ratio(counts: list[int]) -> float | None:
    return round(max(counts) / min(counts), 2) if min(counts) else None
