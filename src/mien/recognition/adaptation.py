"""A bundle made to fit somebody's own faces, from some hundred labelled crops, without torch.

Three corrections of growing size are tried: a temperature; a class prior (a bias per class) as well; a linear layer on
the penultimate features as well, which starts from the bundle's own answer and is pulled back to it. Which one, and
how strongly it is pulled back, is chosen by cross-validation within the crops. That whole procedure, choice included,
is cross-validated once more on crops that it did not see, and what that shows is what is reported, with an interval.
Two figures are looked at, accuracy and NLL, and either can show a gain: so that chance has no two tries at 95 %, each
interval is one of 97.5 % (Bonferroni). If no gain is shown, it says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.bundle import Bundle, read_bundle, write_bundle
from mien.errors import BundleError, InputError
from mien.labels import LabelSet
from mien.recognition.correction import correct_logits
from mien.recognition.logistic import Correction, fit_correction
from mien.results.metrics import fit_temperature, nll, shipped_threshold, softmax
from mien.results.randomness import permutation
from mien.results.statistics import bootstrap_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mien.recognition.recognizer import Recognizer

LEAST = 20
FOLDS, INNER_FOLDS, REPEATS = 5, 4, 2
LEVEL = 0.975
"""Of each of the two intervals: together they hold both true gains 95 times in 100."""

PULLS = (3.0, 1.0, 0.3, 0.1)
"""How strongly the linear layer is pulled back to the bundle's own answer."""


@dataclass(frozen=True)
class Gain:
    """A difference between the adapted and the original bundle on crops that neither was fitted to.

    Args:
        before: of the original.
        after: of the adapted.
        low: lower end of the 97.5 % interval of the gain (positive is better).
        high: upper end.
    """

    before: float
    after: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the whole interval says that it is better."""
        return self.low > 0

    @property
    def lost(self) -> bool:
        """Whether the whole interval says that it is worse."""
        return self.high < 0


@dataclass(frozen=True)
class Adaptation:
    """What adapting to some crops gave.

    Args:
        method: ``none``, ``temperature``, ``prior`` or ``linear``.
        pull: how strongly the linear layer was pulled back, or None.
        crops: how many there were.
        counts: crops of each label.
        accuracy: 0–1, cross-validated.
        nll: negative log-likelihood, cross-validated.
        temperatures: for each view of the bundle.
        threshold: under which a face is undecided.
        correction: of the logits.
        grouped: whether it was known which crops belong together.
    """

    method: str
    pull: float | None
    crops: int
    counts: dict[str, int]
    accuracy: Gain
    nll: Gain
    temperatures: dict[str, float]
    threshold: float
    correction: Correction = field(repr=False)
    grouped: bool = False

    @property
    def gained(self) -> tuple[str, ...]:
        """What the crops show to be better: ``accuracy``, ``nll``, both or nothing; nothing where the other is lost."""
        if self.accuracy.lost or self.nll.lost:
            return ()
        return tuple(name for name, of in (("accuracy", self.accuracy), ("nll", self.nll)) if of.shown)

    @property
    def gain(self) -> bool:
        """Whether the crops show that the adapted bundle is better: more faces right, or better probabilities."""
        return bool(self.gained)

    @property
    def verdict(self) -> str:
        """What is gained, in words."""
        if self.accuracy.lost or self.nll.lost:
            return f"{'less accurate' if self.accuracy.lost else 'worse probabilities'}, so no gain is shown"
        return {
            ("accuracy", "nll"): "a gain in accuracy and NLL",
            ("accuracy",): "a gain in accuracy, none in NLL",
            ("nll",): "a gain in NLL alone: better calibrated, not more accurate as far as the crops show",
        }.get(self.gained, "no gain is shown")

    def warnings(self) -> list[str]:
        """What a person should know about the crops."""
        said = []
        if missing := [label for label, count in self.counts.items() if not count]:
            said.append(f"no crop of {', '.join(missing)}: the adapted bundle will hardly ever say so")
        if few := [label for label, count in self.counts.items() if 0 < count < FOLDS]:
            said.append(f"fewer than {FOLDS} crops of {', '.join(few)}: little can be learnt or tested about them")
        if self.crops < 50:
            said.append(f"{self.crops} crops are few: the interval is wide, and rough itself")
        if not self.grouped:
            said.append(
                "nothing says which crops show the same person: if some do, such as frames of a video, the gain is "
                "overestimated; put each person's into a folder below that of the label (happy/ada/1.png)"
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without the correction itself."""
        values = {name: value for name, value in asdict(self).items() if name != "correction"}
        told = {"gain": self.gain, "gained": list(self.gained), "interval_level": LEVEL, "verdict": self.verdict}
        return {**values, **told, "warnings": self.warnings()}

    def __str__(self) -> str:
        a, n = self.accuracy, self.nll
        accuracy = (
            f"accuracy {100 * a.before:.1f} % → {100 * a.after:.1f} %, {100 * (a.after - a.before):+.1f} points "
            f"[{100 * a.low:+.1f}, {100 * a.high:+.1f}]"
        )
        probabilities = f"NLL {n.before:.3f} → {n.after:.3f}, {n.after - n.before:+.3f} [{-n.high:+.3f}, {-n.low:+.3f}]"
        how = f"{self.method}, {self.crops:,} crops, cross-validated, {100 * LEVEL:g} % intervals"
        return f"{self.verdict} ({how}): {accuracy}; {probabilities}"


def adapt(
    recognizer: Recognizer,
    crops: ArrayLike | Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Adaptation:
    """Fit a correction of the recogniser's bundle to labelled crops, and measure honestly what it brings.

    How frequent each label is among the crops is taken for how frequent it is in the world they come from.

    Args:
        recognizer: with the bundle to start from. Without an output ``embedding`` the linear layer is left out.
        crops: as for `Recognizer.classify`; each one face, labelled by a person.
        labels: int (N,), ids of the recogniser's label set.
        groups: (N,), equal where crops belong together, such as those of one person or video: they lie on one side of
            every cross-validation. Equal crops always do.
        seed: of the folds.
        progress: called with steps done and steps in all.

    Returns:
        The adaptation; `write` makes a bundle of it.

    Raises:
        InputError: fewer than 20 crops, fewer than two different labels, or fewer than five groups.

    References:
        Temperature: Guo et al., ICML 2017. Nested cross-validation: Varma and Simon, BMC Bioinformatics 7 (2006).
    """
    y = np.asarray(labels).astype(np.int64)
    classes = len(recognizer.label_set)
    base, features, kin = _seen(recognizer, crops)
    if y.shape != (len(base),) or len(y) < LEAST or len(np.unique(y)) < 2:
        raise InputError(
            f"{len(y)} crops of {len(np.unique(y))} labels are too few to adapt to; give at least {LEAST}, better some "
            "hundred, of at least two labels, each with its label"
        )
    if y.min() < 0 or y.max() >= classes:
        raise InputError(f"labels lie in 0–{classes - 1}, not {y.min()}–{y.max()}")
    if groups is not None:
        if np.shape(groups) != y.shape:
            raise InputError(f"groups are one for each of the {len(y)} crops, not {np.shape(groups)}")
        kin = _joined(kin, np.unique(np.asarray(groups), return_inverse=True)[1])
        if (count := len(np.unique(kin))) < FOLDS:
            raise InputError(f"the crops are of {count} persons; at least {FOLDS} are needed to tell whether it helps")
    steps, done = FOLDS * REPEATS + 1, 0
    right = np.zeros((2, len(y)))
    loss = np.zeros((2, len(y)))
    for repeat in range(REPEATS):
        for test in _folds(y, kin, FOLDS, seed + repeat):
            train = ~test
            chosen = _choose(base[train], features[train], y[train], kin[train], seed)
            corrected = chosen.logits(base[test], features[test])
            for row, z in enumerate((base[test], corrected)):
                p = softmax(z)
                right[row, test] += (p.argmax(1) == y[test]) / REPEATS
                loss[row, test] += -np.log(np.maximum(p[np.arange(len(p)), y[test]], 1e-7)) / REPEATS
            done += 1
            if progress is not None:
                progress(done, steps)
    final = _choose(base, features, y, kin, seed)
    if progress is not None:
        progress(steps, steps)
    card = recognizer.card
    first = card.temperatures["one"]
    target = card.notes.get("export", {}).get("threshold", {}).get("target")
    threshold = card.threshold
    if target is not None and final.method != "none":
        threshold = shipped_threshold(softmax(final.held_out), y, target=target)["threshold"]
    return Adaptation(
        method=final.method,
        pull=final.pull,
        crops=len(y),
        counts=dict(zip(recognizer.label_set.labels, np.bincount(y, minlength=classes).tolist(), strict=True)),
        accuracy=_gain(right, kin, better=1),
        nll=_gain(loss, kin, better=-1),
        # The bundle's other views keep their place beside view `one`.
        temperatures={view: round(t * final.temperature, 6) for view, t in card.temperatures.items()},
        threshold=round(threshold, 6),
        correction=final.correction.times(first),
        grouped=groups is not None,
    )


def write(adaptation: Adaptation, bundle: Bundle, path: str | Path, *, name: str | None = None) -> Bundle:
    """Write the adapted bundle: the original's graph with the correction added, its card saying what was done.

    Raises:
        BundleError: the graph cannot be corrected.
    """
    card, correction = bundle.card, adaptation.correction
    model = bundle.model
    if adaptation.method in ("prior", "linear"):
        weight = None if correction.weight is None else correction.weight.astype(np.float32)
        model = correct_logits(model, correction.bias.astype(np.float32), weight)
    written = write_bundle(
        path,
        model,
        replace(
            card,
            name=name or f"{card.name}-adapted",
            temperatures=adaptation.temperatures,
            threshold=adaptation.threshold,
            results={},  # they were measured with another file
            extra_data=(*card.extra_data, f"{adaptation.crops} labelled crops (adaptation)"),
            notes={**card.notes, "adaptation": {**adaptation.to_json(), "from": card.sha256}},
        ),
    )
    return read_bundle(written.model)


def read_crops(
    folder: str | Path, label_set: LabelSet, *, progress: Callable[[int, int], None] | None = None
) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Crops in one folder per label, ``FOLDER/happy/…``.

    Returns:
        uint8 RGB crops of any size, and their ids int64 (N,).

    Raises:
        InputError: a folder that is no label, a picture that cannot be read, nothing there.
    """
    from mien.faces.decode import decode

    files = _listed(folder, label_set)
    crops = []
    for done, (file, _) in enumerate(files, 1):
        crops.append(decode(file))
        if progress is not None:
            progress(done, len(files))
    return crops, np.array([label for _, label in files], np.int64)


def read_persons(folder: str | Path, label_set: LabelSet) -> NDArray[np.int64] | None:
    """Which crops of `read_crops` show the same person: those below folders of one name, ``FOLDER/happy/ada/…``.

    Returns:
        int64 (N,), a number of its own for each crop that lies in no such folder; None where none does.
    """
    files = [Path(file) for file, _ in _listed(folder, label_set)]
    below = [file.relative_to(folder).parts[1:] for file in files]
    if all(len(parts) == 1 for parts in below):
        return None
    names = [("", parts[0]) if len(parts) > 1 else (str(file), "") for parts, file in zip(below, files, strict=True)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def _listed(folder: str | Path, label_set: LabelSet) -> list[tuple[str, int]]:
    from mien.recognition.listing import list_images

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one with a folder of crops for each label, such as happy/")
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [
        (str(file), label_set.id(path.name.lower())) for path in inner for file in list_images([path], recursive=True)
    ]
    if not files:
        raise InputError(f"{folder} holds no crops; expected are folders named {', '.join(label_set.labels)}")
    return files


@dataclass(frozen=True)
class _Choice:
    """A correction and a temperature that follows it, on logits that were divided by the bundle's own temperature."""

    method: str
    correction: Correction
    temperature: float
    held_out: NDArray[np.float64]
    pull: float | None = None

    def logits(self, base: NDArray[np.float64], features: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.correction.apply(base, features) / self.temperature


def _choose(
    base: NDArray[np.float64],
    features: NDArray[np.float64],
    y: NDArray[np.int64],
    groups: NDArray[np.int64],
    seed: int,
) -> _Choice:
    """The candidate whose NLL on held-out folds is lowest, fitted to everything."""
    folds = _folds(y, groups, INNER_FOLDS, seed + 1000)
    options: list[tuple[str, float | None, Callable[[NDArray[np.bool_]], Correction]]] = [
        ("temperature", None, lambda rows: Correction.none(base.shape[1])),
        ("prior", None, lambda rows: fit_correction(base[rows], None, y[rows])),
    ]
    for strength in PULLS if features.shape[1] else ():

        def linear(rows: NDArray[np.bool_], strength: float = strength) -> Correction:
            return fit_correction(base[rows], features[rows], y[rows], pull=strength)

        options.append(("linear", strength, linear))
    best = _Choice("none", Correction.none(base.shape[1]), 1.0, base)
    lowest = nll(softmax(base), y)
    for method, pull, fit in options:
        held_out = np.empty_like(base)
        for test in folds:
            held_out[test] = fit(~test).apply(base[test], features[test])
        temperature = fit_temperature(held_out, y)
        value = nll(softmax(held_out, temperature), y)
        if value < lowest:
            lowest = value
            best = _Choice(method, fit(np.ones(len(y), bool)), temperature, held_out / temperature, pull)
    return best


def _seen(
    recognizer: Recognizer, crops: ArrayLike | Sequence[ArrayLike]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Calibrated logits, penultimate features, and a number for each distinct crop."""
    base = recognizer.logits(crops, views="one").astype(np.float64) / recognizer.card.temperatures["one"]
    try:
        features = recognizer.embed(crops).astype(np.float64)
    except BundleError:
        features = np.zeros((len(base), 0))
    marks = [hashlib.sha256(row.tobytes()).digest() for row in np.hstack([base, features])]
    _, groups = np.unique(np.array(marks), return_inverse=True)
    return base, features, groups.astype(np.int64)


def _folds(y: NDArray[np.int64], groups: NDArray[np.int64], count: int, seed: int) -> list[NDArray[np.bool_]]:
    """Masks of the rows that are held out; each label is spread evenly, equal crops stay together."""
    distinct, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    drawn = permutation(seed, len(distinct))
    order = drawn[np.argsort(y[first][drawn], kind="stable")]
    fold = np.empty(len(distinct), np.int64)
    fold[order] = np.arange(len(distinct)) % count
    return [fold[inverse] == number for number in range(count)]


def _joined(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The finest groups in which whatever belongs together in either belongs together."""
    found = one
    while True:
        before = found
        for side in (other, one):
            lowest = np.full(int(side.max()) + 1, len(found) + int(found.max()), np.int64)
            np.minimum.at(lowest, side, found)
            found = lowest[side]
        if np.array_equal(found, before):
            return found


def _gain(values: NDArray[np.float64], groups: NDArray[np.int64], *, better: int) -> Gain:
    low, high = bootstrap_interval(better * (values[1] - values[0]), groups, level=LEVEL)
    before, after = values.mean(1).tolist()
    return Gain(before, after, low, high)
