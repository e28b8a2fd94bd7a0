"""From a run to a bundle: graph, parity, quantisation, temperature, threshold, card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import systems
from mien.bundle import Bundle, BundleCard, Framing, read_bundle, write_bundle
from mien.datasets import copies_of
from mien.errors import BundleError, InputError, RunError
from mien.evaluation.scorers import score, torch_logits
from mien.export.half import to_fp16
from mien.export.onnx import OPSET, to_onnx
from mien.export.quantisation import CALIBRATION_FACES, to_int8
from mien.export.vector_scaling import fit_scaling
from mien.faces.views import get_view
from mien.recognition.correction import correct_logits
from mien.results import metrics
from mien.results.provenance import brought_from
from mien.systems.brought import check_brought, source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import FaceSet, Split
    from mien.training import Run

PARITY = 1e-4
CALIBRATIONS = ("temperature", "vector")
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Export:
    """A written bundle and what was measured on the way.

    Attributes:
        bundle: as it lies on disk.
        path: where.
        report: parity of fp32 with torch; for fp16 and int8 the selection accuracy before and after, the share of faces
            with the same decision and how far a logit moved; temperature per view; coverage and accuracy at the
            threshold; bytes; opset.
    """

    bundle: Bundle
    path: Path
    report: Mapping[str, Any]


def export_run(
    run: Run,
    path: str | Path,
    *,
    data: FaceSet | None = None,
    precision: str = "fp32",
    views: Sequence[str] = ("one", "flip"),
    name: str = "",
    framing: Framing | None = None,
    accuracy_when_decided: float = 0.8,
    method: str = "minmax",
    calibration: str = "temperature",
) -> Export:
    """Export a finished run.

    Args:
        run: what was trained.
        path: of the bundle to write (``.onnx``).
        data: the face set of the run. Needed for int8 (calibration on Training faces) and for temperature and
            threshold (selection split); without it both stay neutral.
        precision: ``fp32``, ``fp16`` (half the bytes, no faster on a CPU) or ``int8``.
        views: views that get a temperature.
        name: of the bundle; the system's id by default.
        framing: how faces are cut from photographs for it; the default framing where it is not given.
        accuracy_when_decided: the threshold is the lowest at which decided selection faces reach this accuracy.
        method: of the int8 calibration.
        calibration: of the probabilities on the selection split: ``temperature``, one number per view in the card; or
            ``vector``, before that a scale and a bias per expression, written into the graph.

    Raises:
        RunError: the run is unfinished, or the exported graph does not compute what torch computes.
        InputError: int8 or vector without data, or other data than the run's.
    """
    if precision not in PRECISIONS:
        raise InputError(f"a bundle is exported as fp32, fp16 or int8, not {precision!r}")
    if calibration not in CALIBRATIONS:
        raise InputError(f"probabilities are calibrated by {' or '.join(CALIBRATIONS)}, not {calibration!r}")
    check_brought(run.system, run.source, run.folder)
    if systems.card(run.system).kind != "network":
        raise InputError(
            f"{run.system} is no network: it looks at training faces or at features of other networks, which an ONNX "
            "file cannot carry. `mien evaluate` measures its run folder"
        )
    if data is None and (precision == "int8" or calibration == "vector"):
        what = "int8" if precision == "int8" else "a vector"
        raise InputError(
            f"{what} is calibrated on faces; give data=mien.load_dataset(…), or --data on the command line"
        )
    if data is not None and data.fingerprint != run.info["data_fingerprint"]:
        raise InputError(f"{run.folder} was trained on other data than this {data.name}; give the same face set")
    spec = run.recipe.input
    for view in map(get_view, views):
        if view.size not in (0, spec.size):
            raise InputError(
                f"view {view.name} feeds {view.size} px, but a bundle of {run.system} takes {spec.size} px"
            )
    module = run.module()
    model = to_onnx(module, spec)
    report: dict[str, Any] = {"opset": OPSET}
    card = BundleCard(
        name=name or run.system,
        system=run.system,
        label_set=run.label_set.name,
        labels=run.label_set.labels,
        input=spec,
        framing=framing or Framing(),
        precision=precision,
        recipe_hash=run.recipe.hash,
        extra_data=tuple(run.info.get("extra_data", ())),
        opset=OPSET,
        notes={
            "training": {
                "recipe": run.recipe.to_dict(),
                "seed": run.seed,
                "weights_sha256": run.info["weights_sha256"],
                "data": run.info["data"],
                "data_fingerprint": run.info["data_fingerprint"],
                "train_rows": run.info["train_rows"],
                **{key: run.info[key] for key in ("data_options", "searched", "start", "teacher") if key in run.info},
                **({"source": brought} if (brought := brought_from(source(run.system))) else {}),
                "commit": run.info.get("commit"),
                "dirty": run.info.get("dirty"),
                "environment": run.info["environment"],
                "cost": run.info["cost"],
            }
        },
    )
    before = _graph(model, card)
    faces = data.selection.images[:512] if data else _noise(spec.face_size)
    report["parity"] = _parity(
        score(faces, spec, torch_logits(module, channels_last=False)), score(faces, spec, before.logits)
    )
    if precision == "int8":
        assert data is not None
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # Beside the bundle: even looking for the system's folder leaves a file there if it is killed at it.
        model = to_int8(model, _calibration(data, spec), method=method, folder=Path(path).parent)
    elif precision == "fp16":
        model = to_fp16(model)
    network = _graph(model, card)
    if precision != "fp32":
        report |= _cost(score(faces, spec, before.logits), _rounded(faces, spec, network, precision))
    if data is not None:
        labels, scores = np.asarray(data.selection.labels), score(data.selection.images, spec, network.logits)
        accuracy = metrics.accuracy(scores.argmax(axis=1), labels)
        report["selection_accuracy"] = round(accuracy, 6)
        if precision != "fp32":
            full = score(data.selection.images, spec, before.logits)
            report["selection_accuracy_fp32"] = round(metrics.accuracy(full.argmax(axis=1), labels), 6)
            report["same_decision"] = round(float((scores.argmax(axis=1) == full.argmax(axis=1)).mean()), 6)
        if calibration == "vector":
            # Fitted on what the rounded network says, and after its cost was measured: it corrects, it does not hide.
            fit, groups = ~copies_of(data.selection.groups, data.train.groups), data.selection.groups
            scaling = fit_scaling(scores[fit], labels[fit], np.asarray(groups)[fit])
            model = correct_logits(model, scaling.bias, scale=scaling.scale)
            network, scores = _graph(model, card), scores * scaling.scale + scaling.bias
            # `same_decision` and the accuracies above are of rounding alone; this is the bundle's own, on faces that it
            # was fitted on.
            after = round(metrics.accuracy(scores.argmax(axis=1), labels), 6)
            report["vector_scaling"] = {**scaling.to_json(), "selection_accuracy": after}
        fitted = _fit(data, card, network, views, {"one": scores}, accuracy_when_decided)
        card = replace(card, temperatures=fitted["temperatures"], threshold=fitted["threshold"]["threshold"])
        report |= fitted
    report["bytes"] = len(model)
    card = replace(card, notes={**card.notes, "export": report})
    return Export(write_bundle(path, model, card), Path(path), report)


def add_results(path: str | Path, results: Mapping[str, str]) -> Bundle:
    """Write result ids (view → id) into a bundle's card; its graph and so its SHA-256 stay as they are."""
    bundle = read_bundle(path)
    return write_bundle(path, bundle.model, replace(bundle.card, results={**bundle.card.results, **results}))


def _graph(model: bytes, card: BundleCard) -> Any:
    from mien.recognition.network import Network
    from mien.store.cpu import cpu_count

    return Network(Bundle(card, model), cpu_count())


def _parity(torch_scores: NDArray[np.float32], onnx_scores: NDArray[np.float32]) -> dict[str, Any]:
    """Largest |Δ| over max(1, |logit|), and whether all decisions agree."""
    worst = float((np.abs(onnx_scores - torch_scores) / np.maximum(1, np.abs(torch_scores))).max())
    same = bool((onnx_scores.argmax(axis=1) == torch_scores.argmax(axis=1)).all())
    if not worst <= PARITY or not same:  # NaN is no parity either
        raise RunError(
            f"the exported graph does not compute what torch computes (largest deviation {worst:.2g}, "
            f"allowed {PARITY:g}); nothing was written. Please report the system and what `mien doctor` shows"
        )
    return {"largest_deviation": worst, "same_decision": same, "faces": len(torch_scores)}


def _rounded(faces: Any, spec: Any, network: Any, precision: str) -> NDArray[np.float32]:
    try:
        return score(faces, spec, network.logits)
    except BundleError:  # it answers with infinite numbers
        raise RunError(
            f"in {precision} this network leaves the range of its numbers; nothing was written: export it as fp32"
        ) from None


def _cost(full: NDArray[np.float32], rounded: NDArray[np.float32]) -> dict[str, Any]:
    """What rounding did to the first faces."""
    change = np.abs(rounded - full)
    return {
        "logit_change": {"mean": round(float(change.mean()), 6), "largest": round(float(change.max()), 6)},
        "same_decision": round(float((rounded.argmax(axis=1) == full.argmax(axis=1)).mean()), 6),
    }


def _calibration(data: FaceSet, spec: Any) -> NDArray[np.float32]:
    """A fixed random sample of Training faces, prepared as view ``one`` prepares them."""
    count = min(CALIBRATION_FACES, len(data.train))
    rows = np.sort(np.random.default_rng(0).permutation(len(data.train))[:count])
    seen: list[NDArray[np.float32]] = []

    def keep(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(inputs)
        return np.zeros((len(inputs), 2), np.float32)

    get_view("one").scores(np.asarray(data.train.images[rows]), spec, keep)
    return np.concatenate(seen)


def _fit(
    data: FaceSet,
    card: BundleCard,
    network: Any,
    views: Sequence[str],
    known: Mapping[str, NDArray[np.float32]],
    target: float,
) -> dict[str, Any]:
    """Temperatures and threshold from selection faces that are no copies of Training faces."""
    selection: Split = data.selection
    fit = ~copies_of(selection.groups, data.train.groups)
    labels = np.asarray(selection.labels)[fit]
    temperatures = {}
    for view in dict.fromkeys(("one", *views)):
        scores = known[view] if view in known else score(selection.images, card.input, network.logits, view)
        temperatures[view] = metrics.fit_temperature(scores[fit], labels)
    probabilities = metrics.softmax(known["one"][fit], temperatures["one"])
    return {
        "temperatures": temperatures,
        "threshold": metrics.shipped_threshold(probabilities, labels, target=target),
    }


def _noise(side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (64, side, side), dtype=np.uint8)
