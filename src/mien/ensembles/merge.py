"""An ensemble as one bundle: the graphs of all members side by side, and the logarithm of their mean on top.

The bundle takes faces of the smallest side among its members' as plain grey values or colours from 0 to 1; each branch
enlarges, crops and normalises them as its member's card says. What evaluation does with Pillow in bytes, the graph
repeats: a cubic kernel, one axis after the other, rounded to bytes after each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.bundle import Bundle, BundleCard, InputSpec, write_bundle
from mien.datasets import copies_of
from mien.ensembles.networks import NetworkEnsemble
from mien.errors import InputError, MissingExtraError, RunError
from mien.evaluation import score
from mien.evaluation.data_choice import notes_of
from mien.results import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import FaceSet

PARITY = 1e-4
"""Largest difference of a probability between the merged graph and its members run one by one."""


def export_ensemble(
    ensemble: NetworkEnsemble, path: str | Path, data: FaceSet, *, accuracy_when_decided: float = 0.8
) -> Bundle:
    """Write an ensemble of bundles as one bundle.

    Args:
        ensemble: of bundles, under view ``one``; members of weight 0 are left out.
        path: of the bundle to write (``.onnx``).
        data: the face set whose selection split parity, temperature and threshold come from.
        accuracy_when_decided: the threshold is the lowest at which decided selection faces reach this accuracy.

    Raises:
        InputError: a member that is no bundle, another view than ``one``, graphs of different operator sets.
        RunError: the merged graph does not compute what its members do; nothing is written.
    """
    taken = [index for index, weight in enumerate(ensemble.weights) if weight > 0]
    bundles = [ensemble.sources[index] for index in taken]
    if not all(isinstance(bundle, Bundle) for bundle in bundles):
        raise InputError("an ensemble of runs has no graphs to merge; `mien export` each run and give the bundles")
    if ensemble.views != "one":
        raise InputError(f"a bundle looks at each face once; choose the members under view one, not {ensemble.views}")
    spec = _common([bundle.card.input for bundle in bundles])
    model = merged(
        bundles,
        [ensemble.members[index].temperature or 1.0 for index in taken],
        ensemble.weights[taken],
        spec,
    )
    first, subject = bundles[0].card, ensemble.subject()
    ours = data.fingerprint == ensemble.trained_on
    card = BundleCard(
        name=ensemble.name,
        system=ensemble.name,
        label_set=first.label_set,
        labels=first.labels,
        input=spec,
        framing=first.framing,
        precision=min((bundle.card.precision for bundle in bundles), key=("int8", "fp16", "fp32").index),
        recipe_hash=ensemble.recipe_hash,
        extra_data=tuple(dict.fromkeys(name for bundle in bundles for name in bundle.card.extra_data)),
        opset=first.opset,
        notes={
            "training": {
                "recipe": ensemble.recipe,
                "seed": None,
                **(notes_of(data) if ours else {"data": "", "data_fingerprint": ensemble.trained_on}),
                "train_rows": ensemble.train_rows,
                **({"searched": ensemble.searched} if ensemble.searched else {}),
                **({"source": dict(subject.source)} if subject.source is not None else {}),
                "cost": dict(subject.cost),
                "trained": subject.trained,
            },
            **({"adaptation": {"members": True}} if subject.adapted else {}),
        },
    )
    from mien.recognition.network import Network
    from mien.store.cpu import cpu_count

    images, labels = data.selection.images, np.asarray(data.selection.labels)
    found = score(images, spec, Network(Bundle(card, model), cpu_count()).logits)
    apart = float(np.abs(metrics.softmax(found) - metrics.softmax(ensemble.scores(images))).max())
    if not apart <= PARITY:
        raise RunError(
            f"the merged graph does not compute what its members do (largest difference of a probability {apart:.2g}, "
            f"allowed {PARITY:g}); nothing was written. Please report the members"
        )
    fit = ~copies_of(data.selection.groups, data.train.groups)
    temperature = metrics.fit_temperature(found[fit], labels[fit])
    threshold = metrics.shipped_threshold(
        metrics.softmax(found[fit], temperature), labels[fit], target=accuracy_when_decided
    )
    report = {
        "parity": {"largest_difference": apart, "faces": len(found)},
        "selection_accuracy": round(metrics.accuracy(found.argmax(axis=1), labels), 6),
        "threshold": threshold,
        "bytes": len(model),
    }
    card = replace(
        card,
        temperatures={"one": temperature},
        threshold=threshold["threshold"],
        notes={**card.notes, "export": report},
    )
    return write_bundle(path, model, card)


def merged(
    bundles: Sequence[Bundle],
    temperatures: Sequence[float],
    weights: Sequence[float] | NDArray[np.float64],
    spec: InputSpec,
) -> bytes:
    """One ONNX model of several: logarithms of the weighted mean of their probabilities.

    Args:
        bundles: the members.
        temperatures: what their logits are divided by.
        weights: they sum to 1.
        spec: what the merged graph takes; see `export_ensemble`.

    Returns:
        A model with input ``input`` and output ``logits``, as bytes.
    """
    try:
        import onnx
        from onnx import TensorProto, compose, helper
    except ModuleNotFoundError:
        raise MissingExtraError("merging bundles", "train") from None
    models = [onnx.load_from_string(bundle.model) for bundle in bundles]
    _check_operators(models, bundles)
    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {"floor": np.array(1e-12, np.float32)}
    parts: list[str] = []
    initializers: list[Any] = []
    functions: list[Any] = []
    for index, (bundle, model) in enumerate(zip(bundles, models, strict=True)):
        prefix = f"m{index}."
        graph = compose.add_prefix(model, prefix).graph
        prepared = _prepare(bundle.card.input, spec, prefix, nodes, constants)
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == f"{prefix}input":
                    node.input[place] = prepared
        wanted = f"{prefix}logits"
        nodes += _needed(graph, wanted)
        used = {name for node in nodes for name in node.input}
        initializers += [tensor for tensor in graph.initializer if tensor.name in used]
        functions += list(model.functions)
        constants[f"{prefix}sharpness"] = np.array(1 / temperatures[index], np.float32)
        constants[f"{prefix}weight"] = np.array(weights[index], np.float32)
        nodes += [
            helper.make_node("Mul", [wanted, f"{prefix}sharpness"], [f"{prefix}scaled"]),
            helper.make_node("Softmax", [f"{prefix}scaled"], [f"{prefix}probabilities"], axis=1),
            helper.make_node("Mul", [f"{prefix}probabilities", f"{prefix}weight"], [f"{prefix}share"]),
        ]
        parts.append(f"{prefix}share")
    nodes += [
        helper.make_node("Sum", parts, ["mean"]),
        helper.make_node("Max", ["mean", "floor"], ["above"]),
        helper.make_node("Log", ["above"], ["logits"]),
    ]
    classes = len(bundles[0].card.labels)
    graph = helper.make_graph(
        nodes,
        "mien",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["faces", spec.channels, spec.size, spec.size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["faces", classes])],
        [*initializers, *(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())],
    )
    whole = helper.make_model(
        graph,
        opset_imports=list(models[0].opset_import),
        ir_version=max(model.ir_version for model in models),
        functions=functions,
    )
    onnx.checker.check_model(whole)
    data: bytes = whole.SerializeToString()
    return data


def _common(specs: Sequence[InputSpec]) -> InputSpec:
    """Plain values from 0 to 1 of the smallest whole face that a member is shown; colour where one wants it."""
    colour = "rgb" if any(spec.colour == "rgb" for spec in specs) else "grey"
    channels = 3 if colour == "rgb" else 1
    side = min(spec.face_size for spec in specs)
    return InputSpec(side, channels, colour, mean=(0.0,) * channels, std=(1.0,) * channels)


def _check_operators(models: Sequence[Any], bundles: Sequence[Bundle]) -> None:
    def imports(model: Any) -> dict[str, int]:
        return {entry.domain: entry.version for entry in model.opset_import}

    first = imports(models[0])
    for model, bundle in zip(models, bundles, strict=True):
        if imports(model) != first:
            raise InputError(
                f"{bundle.card.name} uses another operator set than {bundles[0].card.name} "
                f"({imports(model)} and {first}); export both again with the same mien and precision"
            )
        if model.functions and len(models) > 1:
            raise InputError(f"{bundle.card.name} defines functions of its own; export it again with this mien")


def _needed(graph: Any, output: str) -> list[Any]:
    """The nodes that ``output`` depends on, in the graph's order."""
    wanted, kept = {output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _prepare(
    member: InputSpec, spec: InputSpec, prefix: str, nodes: list[Any], constants: dict[str, NDArray[Any]]
) -> str:
    """Add what turns the common input into a member's; returns the name of the outcome."""
    from onnx import helper

    def add(kind: str, inputs: list[str], label: str, **attributes: Any) -> str:
        name = f"{prefix}{label}"
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(label: str, value: NDArray[Any]) -> str:
        constants[f"{prefix}{label}"] = value
        return f"{prefix}{label}"

    now = "input"
    if spec.colour == "rgb" and member.colour == "grey":
        # Rec. 601 as Pillow computes it: 16 fractional bits, rounded to bytes.
        luma = (np.array([19595, 38470, 7471], np.float32) / 65536).reshape(1, 3, 1, 1)
        now = add("Mul", [now, constant("luma", luma)], "weighed")
        now = add("ReduceSum", [now, constant("channel", np.array([1], np.int64))], "grey", keepdims=1)
        now = _bytes(now, "grey", add, constant)
    if member.face_size != spec.size:
        for axis, label in ((3, "wide"), (2, "high")):
            sizes = np.array([0, 0, spec.size, spec.size], np.int64)
            sizes[3] = member.face_size
            sizes[2] = member.face_size if axis == 2 else spec.size
            now = add(
                "Resize",
                [now, "", "", constant(f"{label}_size", sizes[axis : axis + 1])],
                label,
                axes=[axis],
                mode="cubic",
                cubic_coeff_a=-0.5,
                exclude_outside=1,
                coordinate_transformation_mode="half_pixel",
            )
            now = _bytes(now, label, add, constant)
    if member.size != member.face_size:
        low = round((member.face_size - member.size) / 2)
        bounds = [np.array([value] * 2, np.int64) for value in (low, low + member.size)]
        names = [constant(name, value) for name, value in zip(("from", "to"), bounds, strict=True)]
        now = add("Slice", [now, *names, constant("axes", np.array([2, 3], np.int64))], "cropped")
    if member.channels == 3 and (member.colour == "grey" or spec.colour == "grey"):
        now = add("Concat", [now, now, now], "repeated", axis=1)
    scale = (1 / np.array(member.std, np.float32)).reshape(1, -1, 1, 1)
    offset = (np.array(member.mean, np.float32) / np.array(member.std, np.float32)).reshape(1, -1, 1, 1)
    now = add("Mul", [now, constant("scale", scale)], "stretched")
    return add("Sub", [now, constant("offset", offset)], "prepared")


def _bytes(now: str, label: str, add: Any, constant: Any) -> str:
    """Round values on the 0–1 scale to whole bytes, as an image library does."""
    now = add("Mul", [now, constant(f"{label}_full", np.array(255, np.float32))], f"{label}_255")
    now = add("Add", [now, constant(f"{label}_half", np.array(0.5, np.float32))], f"{label}_up")
    now = add("Floor", [now], f"{label}_whole")
    bounds = [constant(f"{label}_low", np.array(0, np.float32)), constant(f"{label}_high", np.array(255, np.float32))]
    now = add("Clip", [now, *bounds], f"{label}_clipped")
    return str(add("Div", [now, f"{bounds[1]}"], f"{label}_bytes"))
