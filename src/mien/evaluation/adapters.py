"""Somebody else's network under the protocol: an ONNX file, and a short Python file that says how to use it.

The adapter is code and is executed, with all rights of whoever runs it, because that person names it; read it first.
The ONNX file is not trusted: its size is bounded, and files that refer to other files or need libraries of their own
are refused (`mien.bundle.check_graph`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.bundle import InputSpec, check_graph
from mien.errors import BundleError, DataError, InputError, ResultError
from mien.evaluation.environment import environment
from mien.evaluation.scorers import score
from mien.evaluation.subjects import Subject
from mien.faces.inference import open_session
from mien.labels import LABEL_SETS, LabelSet
from mien.results.canonical import content_hash
from mien.results.metrics import softmax
from mien.results.randomness import permutation
from mien.results.submission import check_own_name, checked_words
from mien.store.cpu import cpu_count
from mien.systems import names

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_MODEL_BYTES = 1 << 30
MAX_ADAPTER_BYTES = 64 << 10
OUTPUTS = ("logits", "probabilities")

_AGAIN, _SAME = 200, 0.01  # faces shown twice, and how far a probability may move by rounding

_ABOUT = ("system", "title", "authors", "extra_data", "seed", "url", "licence", "notes")
_NETWORK = ("size", "resize", "colour", "channels", "mean", "std", "labels", "output", "prepare", "finish")
_REQUIRED = ("system", "title", "authors", "extra_data", "size", "colour", "mean", "std", "labels", "output")


@dataclass(frozen=True)
class Adapter:
    """What an adapter file says. The file assigns these names at its top level; names of its own begin with ``_``.

    Args:
        said: ``system``, ``title``, ``authors``, ``extra_data``, and where given ``seed``, ``url``, ``licence``,
            ``notes``: what a `mien.results.submission.SubmissionCard` says, too.
        input: from ``size``, ``colour`` (``grey`` or ``rgb``), ``mean`` and ``std`` on the 0–1 scale, one value per
            channel; optionally ``channels`` (1 for grey and 3 for rgb otherwise) and ``resize``.
        labels: for each column of the output the expression, or None where there is none; None columns are left out.
        output: ``logits`` or ``probabilities``.
        prepare: optional function: float32 (N, channels, size, size), normalised → what the network takes.
        finish: optional function: list of the network's outputs → (N, columns). By default the first output.
        sha256: of the file.
        path: of the file.
    """

    said: Mapping[str, Any]
    input: InputSpec
    labels: tuple[str | None, ...]
    output: str
    prepare: Callable[..., Any] | None
    finish: Callable[..., Any] | None
    sha256: str
    path: Path


def foreign_subject(model: str | Path, adapter: str | Path) -> Subject:
    """An ONNX file and its adapter as something that `mien.evaluate` measures, of kind ``submitted``.

    Args:
        model: the ONNX file, at most 1 GiB.
        adapter: the Python file; it is executed.

    Raises:
        BundleError: no ONNX file, too large, or one that asks for more than arithmetic.
        DataError: an adapter that lacks something, or says what cannot be.
        InputError: network and adapter do not fit each other.
    """
    path = Path(model)
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise BundleError(f"{path} is larger than {MAX_MODEL_BYTES >> 30} GiB; save the network in half precision")
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}; give the path of an ONNX file") from None
    check_graph(data, str(path))
    about = read_adapter(adapter)
    check_own_name(str(about.said["system"]), names(), Path(adapter))
    threads = cpu_count()
    network = _Network(data, about, threads, path)
    sha256 = hashlib.sha256(data).hexdigest()
    said = {**about.said, "model_sha256": sha256, "adapter_sha256": about.sha256}
    spec = about.input
    return Subject(
        system=str(about.said["system"]),
        kind="submitted",
        label_set=network.label_set,
        input=spec,
        logits=network.logits,
        recipe={},
        recipe_hash=content_hash(said),
        seed=about.said.get("seed"),
        weights_sha256=sha256,
        extra_data=tuple(about.said["extra_data"]),
        environment=environment("cpu", "fp32", threads),
        cost={"bytes": len(data), "input": [spec.channels, spec.size, spec.size]},
        submission=said,
    )


def read_adapter(path: str | Path) -> Adapter:
    """Execute an adapter and check what it says.

    Raises:
        DataError: naming what is wrong, and the line where the code fails.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_ADAPTER_BYTES:
            raise DataError(f"is larger than an adapter can be ({MAX_ADAPTER_BYTES >> 10} KiB)", file=path)
        source = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from None
    names: dict[str, Any] = {"__name__": "adapter", "__file__": str(path)}
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), names)
    except (Exception, SystemExit) as error:
        raise DataError(f"fails: {type(error).__name__}: {error}", file=path, line=_line_of(error, path)) from None
    # What is not ours is imported or begins with an underscore; anything else would be a misspelt word, ignored.
    values = {name: value for name, value in names.items() if not name.startswith("_") and not _is_imported(value)}
    checked = checked_words(values, {*_ABOUT, *_NETWORK}, _REQUIRED, path)
    said = {name: list(value) if isinstance(value, tuple) else value for name, value in checked.items()}
    said = {name: value for name, value in said.items() if name in _ABOUT}
    labels = checked["labels"]
    if not isinstance(labels, list | tuple) or not all(isinstance(label, str | None) for label in labels):
        raise DataError("labels is a list: for each column of the output its expression, or None", file=path)
    if checked["output"] not in OUTPUTS:
        raise DataError(f"output is logits or probabilities, not {checked['output']!r:.60}", file=path)
    for name in ("prepare", "finish"):
        if name in checked and not callable(checked[name]):
            raise DataError(f"{name} is a function", file=path)
    try:
        spec = InputSpec(
            size=checked["size"],
            channels=checked.get("channels", 3 if checked["colour"] == "rgb" else 1),
            colour=checked["colour"],
            mean=checked["mean"],
            std=checked["std"],
            resize=checked.get("resize", 0),
        )
    except (BundleError, TypeError, ValueError) as error:
        raise DataError(f"{error}", file=path) from None
    return Adapter(
        said=said,
        input=spec,
        labels=tuple(labels),
        output=checked["output"],
        prepare=checked.get("prepare"),
        finish=checked.get("finish"),
        sha256=hashlib.sha256(source).hexdigest(),
        path=path,
    )


def check_steady(subject: Subject, faces: NDArray[np.uint8], scores: NDArray[np.floating[Any]], views: str) -> None:
    """Refuse a network whose answer about a face is drawn by chance, or depends on the faces beside it.

    Args:
        subject: see `foreign_subject`.
        faces: uint8 (N, H, W) or (N, H, W, 3); at most 200 of them are shown again, in another order and batch.
        scores: (N, classes), what it answered.
        views: how they were shown.

    Raises:
        InputError: the probabilities of a face are not the same twice.
    """
    again = permutation(0, len(faces))[:_AGAIN]
    answers = softmax(score(faces[again], subject.input, subject.logits, views, batch=max(1, min(37, len(again) // 3))))
    apart = np.abs(answers - softmax(np.asarray(scores)[again])).max(axis=1)
    if not (apart <= _SAME).all():
        raise InputError(
            f"{subject.system} answers otherwise about {int((~(apart <= _SAME)).sum())} of {len(again)} faces when "
            "they come in another order and in other batches; a face is told from itself alone: save the network in "
            "evaluation mode, without chance, statistics of a batch or a scale that is taken from one"
        )


class _Network:
    """The network behind its adapter: faces of the protocol in, logits in the label set's order out."""

    def __init__(self, model: bytes, adapter: Adapter, threads: int, path: Path) -> None:
        self._session = open_session(model, threads=threads)
        self._adapter, self._path = adapter, path
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise InputError(f"{path} takes {len(inputs)} inputs; save a network with one, the faces")
        self._input = inputs[0]
        shape, spec = self._input.shape, adapter.input
        wanted = (spec.channels, spec.size, spec.size)
        if adapter.prepare is None and (
            len(shape) != 4 or any(isinstance(s, int) and s != w for s, w in zip(shape[1:], wanted, strict=True))
        ):
            raise InputError(
                f"{path} takes {shape} and the adapter gives (N, {', '.join(map(str, wanted))}); correct size and "
                "channels, or rearrange the faces in a function prepare(faces)"
            )
        # Some exporters freeze the batch: such a network sees that many faces at a time.
        self._batch = shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else 0
        known = [label for label in adapter.labels if label is not None]
        if len(set(known)) < len(known):
            raise InputError("the adapter names an expression for two columns")
        self.label_set = _label_set(known)
        self._columns = [adapter.labels.index(label) for label in self.label_set.labels]

    def logits(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, channels, size, size) → float32 (N, classes)."""
        size = self._batch or len(faces)
        parts = [self._some(faces[start : start + size], size) for start in range(0, len(faces), size)]
        return np.concatenate(parts)

    def _some(self, faces: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        adapter, count = self._adapter, len(faces)
        if count < size:
            faces = np.concatenate([faces, np.repeat(faces[-1:], size - count, axis=0)])
        given = self._theirs("prepare", adapter.prepare, faces) if adapter.prepare else faces
        try:
            outputs = self._session.run(None, {self._input.name: np.asarray(given)})
        except Exception as error:  # onnxruntime raises classes of its own without a common, importable base
            reason = str(error).strip().splitlines()[0][:160]
            raise InputError(f"{self._path} cannot be run on what the adapter gives it ({reason})") from None
        finish = adapter.finish
        answers = self._theirs("finish", lambda out: np.asarray(finish(out), np.float32), outputs) if finish else None
        found = np.asarray(outputs[0], np.float32) if answers is None else answers
        if found.shape != (size, len(adapter.labels)):
            raise InputError(
                f"{self._path} answers with {found.shape} for {size} faces, and the adapter names "
                f"{len(adapter.labels)} labels; pick the right output in a function finish(outputs)"
            )
        found = found[:count, self._columns]
        if adapter.output == "logits":
            return found
        return _logarithms(found, complete=len(self._columns) == len(adapter.labels))

    def _theirs(self, name: str, function: Callable[..., Any], given: Any) -> Any:
        path = self._adapter.path
        try:
            return function(given)
        except (Exception, SystemExit) as error:  # code of a stranger raises anything
            reason = f"{name} fails: {type(error).__name__}: {error}"
            raise DataError(reason, file=path, line=_line_of(error, path)) from None


def _logarithms(found: NDArray[np.float32], *, complete: bool) -> NDArray[np.float32]:
    """Logarithms of probabilities are logits, so that views, temperature and metrics treat both alike."""
    if not np.isfinite(found).all():
        return found  # the evaluation says what is wrong with it
    if found.min() < 0 or (complete and np.abs(found.sum(axis=1) - 1).max() > 0.01):
        raise ResultError("the adapter says probabilities, but a row is negative somewhere or does not sum to 1")
    logs: NDArray[np.float32] = np.log(np.maximum(found, 1e-12))
    return logs


def _label_set(labels: list[str]) -> LabelSet:
    """The built-in label set of exactly these labels, in its own order; else one made of them."""
    for name in LABEL_SETS:
        if set(LABEL_SETS[name].labels) == set(labels):
            return LABEL_SETS[name]
    return LabelSet("adapter", tuple(labels))


def _is_imported(value: Any) -> bool:
    return isinstance(value, ModuleType) or getattr(value, "__module__", "adapter") != "adapter"


def _line_of(error: BaseException, path: Path) -> int | None:
    if isinstance(error, SyntaxError):
        return error.lineno
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
