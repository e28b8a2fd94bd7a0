"""Checks that you run on your own systems: what the house expects of every system, as library code.

    from mien.testing import check_system
    check_system(my_card)

A failed check raises `AssertionError` with one sentence. `SYSTEM_CHECKS` holds the single checks by name, for test
suites that want one test each.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mien import systems
from mien.bundle import Bundle, BundleCard, InputSpec
from mien.errors import InputError, RecipeError
from mien.recognition.network import Network
from mien.systems.base import System, build, count_parameters
from mien.systems.brought import check_own_id
from mien.systems.card import Card
from mien.systems.sides import made
from mien.training.feasible import check_feasible
from mien.training.optimisation import make_criterion, soft_targets
from mien.training.recipe import Loss, Recipe

TOLERANCE = 1e-4
"""Allowed difference between two computations of one logit, over max(1, |logit|)."""
FP16_TOLERANCE = 2e-2
"""The same between single and half precision."""
INT8_TOLERANCE = 0.25
"""Allowed change of a logit in int8 (root mean square), over the standard deviation of all logits."""


def check_system(
    system: str | Card, *, tiny_options: Mapping[str, Any] | None = None, tiny_size: int | None = None
) -> None:
    """Check a neural system against the contract of the house.

    Args:
        system: id of a registered system, or the card of your own.
        tiny_options: options of a small variant that learns in seconds; by default those of the card.
        tiny_size: side in pixels that this variant is fed; by default that of the card.

    Raises:
        AssertionError: what does not hold.
        InputError: it is no network, or has the id of another system.

    Example:
        >>> check_system("compact")                                         # doctest: +SKIP
    """
    subject = _Subject.of(system, tiny_options, tiny_size)
    for check in SYSTEM_CHECKS.values():
        check(subject)


@dataclasses.dataclass(frozen=True)
class _Subject:
    card: Card
    tiny: Mapping[str, Any]
    size: int

    @classmethod
    def of(
        cls, system: str | Card, tiny_options: Mapping[str, Any] | None = None, tiny_size: int | None = None
    ) -> _Subject:
        card = systems.card(system) if isinstance(system, str) else system
        if not isinstance(card, Card):
            raise InputError(f"give the id or the Card of a system, not a {type(card).__name__}")
        check_own_id(card)
        if card.kind != "network" or not (isinstance(card.module, type) and issubclass(card.module, System)):
            raise InputError(
                f"{card.id} is no network, that is no mien.systems.base.System; these are checks of networks"
            )
        options = card.tiny if tiny_options is None else tiny_options
        return cls(card, options, tiny_size or card.tiny_size or card.input.size)

    def make(self, classes: int = 7, channels: int | None = None, *, seed: int = 0) -> System:
        """The small variant; the same weights at every call with one seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(self.card, classes=classes, channels=channels, options=self.tiny)

    def trained(self) -> System:
        """After some steps: weights that start at zero have moved, and statistics of normalisation are real."""
        return _fit(self, self.make(), *_faces(self, 16), steps=4)[0]

    @property
    def name(self) -> str:
        return self.card.id


def check_options(subject: _Subject) -> None:
    """The network refuses options that its card does not name, and takes those that it names."""
    card = subject.card
    strange = sorted(set(subject.tiny) - set(card.options))
    _require(not strange, f"the small variant of {subject.name} sets {', '.join(strange)}, which card.options lacks")
    subject.make()
    network: Any = card.module
    chosen = {**card.options, **subject.tiny, "no_such_option": 1}
    try:
        network(classes=7, channels=card.input.channels, **chosen)
    except (TypeError, RecipeError):
        return
    raise AssertionError(f"{subject.name} takes an option that its card does not name; name each in its constructor")


def check_parameters(subject: _Subject) -> None:
    """The full-size network has as many parameters as the card says, for seven classes."""
    module = made(subject.card, channels=subject.card.input.channels, options={})
    found = count_parameters(module)
    _require(
        found == subject.card.parameters,
        f"{subject.name} has {found:,} parameters and its card says {subject.card.parameters:,}",
    )


def check_recipes(subject: _Subject) -> None:
    """Every recipe can be read, and the network can be trained by it: options, stages, parts, sides of the faces."""
    for name in subject.card.recipes:
        check_feasible(subject.card, Recipe.of(subject.card, name), classes=7)


def check_outputs(subject: _Subject) -> None:
    """Any class count and 1 or 3 channels give finite float32 logits (N, classes), also for one face."""
    for classes, channels in ((2, 1), (7, 3), (8, 1)):
        module = subject.make(classes, channels).eval()
        for count in (1, 3):
            with torch.no_grad():
                logits = module(_images(subject, count, channels))  # in its own precision
            _require(
                logits.shape == (count, classes) and logits.dtype == torch.float32,
                f"{subject.name} answers {count} faces of {channels} channels with {logits.dtype} "
                f"{tuple(logits.shape)}, not float32 {(count, classes)}",
            )
            _require(bool(torch.isfinite(logits).all()), f"{subject.name} answers with NaN or infinity")


def check_evaluation(subject: _Subject) -> None:
    """Evaluation is deterministic, changes nothing, and no face is influenced by those in its batch."""
    module = subject.trained().eval()
    images = _images(subject, 9)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(1)
    first = _logits(module, images)
    torch.manual_seed(2)
    _require(torch.equal(first, _logits(module, images)), f"{subject.name} is random in evaluation")
    after = module.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    _require(not changed, f"evaluation changes {', '.join(changed[:3])} of {subject.name}")
    alone = torch.cat([_logits(module, image[None]) for image in images])
    others = _logits(module, torch.cat([images[:4], 3 * torch.randn_like(images[4:])]))[:4]
    for what, logits in (("alone", alone), ("with others", others)):
        _require(
            _deviation(first[: len(logits)], logits) < TOLERANCE,
            f"{subject.name} answers differently about a face {what}: its output depends on batch mates",
        )


def check_gradients(subject: _Subject) -> None:
    """Every parameter gets a gradient that is not zero, but for those that card.unused names.

    What is rounding alone counts as one: a bias before a batch normalisation, which many sources have, gets no other.
    """
    module = subject.trained().train()
    images, labels = _faces(subject, 16)
    module.zero_grad(set_to_none=True)
    _terms(module, images, labels).backward()  # type: ignore[no-untyped-call]
    idle = {
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.abs().sum() > 0)
    }
    unused = set(subject.card.unused)
    names = {name for name, _ in module.named_parameters()}
    _require(idle <= unused, f"no gradient reaches {', '.join(sorted(idle - unused)[:5])} of {subject.name}")
    _require(not (unused & names) - idle, f"card.unused of {subject.name} names parameters that do get a gradient")
    bad = [name for name, p in module.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    _require(not bad, f"the gradient of {', '.join(bad[:5])} of {subject.name} is not finite")


def check_embedding(subject: _Subject) -> None:
    """Where there are penultimate features, the logits are head(embed(images))."""
    if type(subject.make()).embed is System.embed:
        return
    module = subject.trained().eval()
    images = _images(subject, 3)
    with torch.no_grad():
        features = module.embed(images)
        logits = module.head(features)
    _require(features.ndim == 2, f"embed of {subject.name} gives {tuple(features.shape)}, not (N, D)")
    _require(_deviation(logits, _logits(module, images)) < TOLERANCE, f"{subject.name} is not head(embed(images))")


def check_weights(subject: _Subject) -> None:
    """Weights survive safetensors, whole."""
    import safetensors.torch

    module = subject.trained().eval()
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    # Of other weights: what is drawn at the beginning and kept beside the state must not come back by itself.
    fresh = subject.make(seed=1).eval()
    fresh.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)), strict=True)
    images = _images(subject, 3)
    _require(
        torch.equal(_logits(module, images), _logits(fresh, images)),
        f"{subject.name} answers differently after its weights were saved and loaded: some state is not in state_dict",
    )


def check_bf16(subject: _Subject) -> None:
    """A step of training and an evaluation run under bf16 autocast, and stay finite."""
    module = subject.make().train()
    images, labels = _faces(subject, 8)
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = _terms(module, images, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    _require(math.isfinite(float(loss.detach())), f"the loss of {subject.name} is {float(loss.detach())} under bf16")
    bad = [name for name, p in module.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    _require(not bad, f"the gradient of {', '.join(bad[:5])} of {subject.name} is not finite under bf16")
    optimizer.step()
    module.eval()
    with torch.autocast("cpu", torch.bfloat16):
        _require(bool(torch.isfinite(_logits(module, images)).all()), f"{subject.name} is not finite under bf16")


def check_onnx(subject: _Subject) -> None:
    """The exported graph computes what torch computes, for one face and for many; rounded to fp16 and int8, nearly so.

    Each precision is a bundle that the recogniser takes, and of the opset that its card states.
    """
    module = subject.trained().eval()
    check_export(module, _spec(subject), _faces(subject, 16)[0], _images(subject, 5))


def check_export(module: System, spec: InputSpec, faces: Tensor, others: Tensor) -> None:
    """What `check_onnx` checks, of any network in evaluation mode.

    Args:
        module: the network; it stays as it is.
        spec: what it is fed.
        faces: float32 (n, channels, S, S) that int8 is calibrated on.
        others: float32 (m, channels, S, S) that all precisions answer beside them.
    """
    import onnx

    from mien.export.half import to_fp16
    from mien.export.onnx import OPSET, to_onnx
    from mien.export.quantisation import to_int8
    from mien.recognition import Recognizer

    name, labels = module.card.id, tuple(f"label {index}" for index in range(7))
    graph = to_onnx(copy.deepcopy(module), spec)
    bundles = {"fp32": graph, "fp16": to_fp16(graph), "int8": to_int8(graph, faces.numpy())}
    for precision, model in bundles.items():
        opset = {entry.domain: entry.version for entry in onnx.load_from_string(model).opset_import}[""]
        _require(opset == OPSET, f"{name} as {precision} is of opset {opset}, and its card says {OPSET}")
        bundle = Bundle(BundleCard("tiny", name, "own", labels, spec, precision=precision, opset=OPSET), model)
        crops = np.zeros((3, spec.face_size, spec.face_size), np.uint8)
        answered = Recognizer(bundle, detector=None, threads=1).classify(crops)
        _require(len(answered) == 3, f"the recogniser does not take {name} as {precision}")
        network = Network(bundle, 1)
        for images in (others[:1], others, faces):  # any number of faces at once
            wanted, found = _logits(module, images), torch.from_numpy(network.logits(images.numpy()))
            if precision == "int8":
                change, spread = float((found - wanted).square().mean().sqrt()), float(wanted.std())
                _require(
                    images is not faces or change <= INT8_TOLERANCE * spread,
                    f"int8 moves a logit of {name} by {change:.2g}, where logits spread by {spread:.2g}",
                )
                continue
            worst, allowed = _deviation(wanted, found), TOLERANCE if precision == "fp32" else FP16_TOLERANCE
            same = precision != "fp32" or torch.equal(wanted.argmax(1), found.argmax(1))
            _require(
                worst <= allowed and same,
                f"the ONNX graph of {name} as {precision} deviates by {worst:.2g} (allowed {allowed:g}), "
                "or decides otherwise",
            )


def check_learning(subject: _Subject) -> None:
    """The small variant learns 32 faces by heart."""
    images, labels = _faces(subject, 32)
    _, share = _fit(subject, subject.make(), images, labels, steps=150)
    _require(share == 1.0, f"the small variant of {subject.name} learns only {share:.0%} of 32 faces in 150 steps")


SYSTEM_CHECKS: dict[str, Callable[[_Subject], None]] = {
    "options": check_options,
    "parameters": check_parameters,
    "recipes": check_recipes,
    "outputs": check_outputs,
    "evaluation": check_evaluation,
    "gradients": check_gradients,
    "embedding": check_embedding,
    "weights": check_weights,
    "bf16": check_bf16,
    "onnx": check_onnx,
    "learning": check_learning,
}
"""The single checks of `check_system`, by name."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one check of one system ended.

    Args:
        system: its id.
        check: name of the check.
        passed: whether it holds.
        message: what does not hold; empty where it does.
        seconds: that it took.
    """

    system: str
    check: str
    passed: bool
    message: str
    seconds: float


def examine(system: str | Card) -> Iterator[Outcome]:
    """Run every check of `check_system`, each to its end, and say how it ended, whatever the system raises.

    Example:
        >>> [outcome.check for outcome in examine("compact") if not outcome.passed]    # doctest: +SKIP
        []
    """
    for name, check in system_checks(system):
        started, message = time.perf_counter(), ""
        try:
            check()
        except AssertionError as error:
            message = str(error) or "an assertion of the system does not hold"
        except (Exception, SystemExit) as error:  # a stranger's code may raise anything
            first = (str(error).strip().splitlines() or [""])[0]
            message = f"{type(error).__name__}: {first}"
        identity = system if isinstance(system, str) else system.id
        yield Outcome(identity, name, not message, message, round(time.perf_counter() - started, 3))


def system_checks(system: str | Card, **tiny: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    """Name and callable of each check of one system, for parametrised tests; arguments as of `check_system`."""
    subject = _Subject.of(system, tiny.get("tiny_options"), tiny.get("tiny_size"))
    for name, check in SYSTEM_CHECKS.items():
        yield name, lambda check=check: check(subject)  # type: ignore[misc]


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _spec(subject: _Subject) -> InputSpec:
    return dataclasses.replace(subject.card.input, size=subject.size, resize=0)


def _images(subject: _Subject, count: int, channels: int | None = None) -> Tensor:
    """Normalised noise: float32 (count, channels, size, size)."""
    channels = channels or subject.card.input.channels
    return torch.randn(count, channels, subject.size, subject.size, generator=torch.Generator().manual_seed(3))


def _faces(subject: _Subject, count: int) -> tuple[Tensor, Tensor]:
    """Drawn faces as the network is fed, and their labels."""
    from mien.datasets import load_dataset
    from mien.faces.views import get_view

    train = load_dataset("drawn", count=70, seed=0).train
    seen: list[np.ndarray[Any, Any]] = []

    def keep(inputs: Any) -> Any:
        seen.append(inputs)
        return np.zeros((len(inputs), 2), np.float32)

    get_view("one").scores(train.images[:count], _spec(subject), keep)
    images = torch.from_numpy(np.concatenate(seen))
    if images.shape[1] != subject.card.input.channels:
        images = images.expand(-1, subject.card.input.channels, -1, -1)
    return images, torch.from_numpy(np.array(train.labels[:count])).long()


def _terms(module: System, images: Tensor, labels: Tensor) -> Tensor:
    criterion = make_criterion(Loss(), labels, 7)
    return torch.stack(list(module.loss(images, soft_targets(labels, 7, 0.0), criterion).values())).sum()


def _fit(subject: _Subject, module: System, images: Tensor, labels: Tensor, steps: int) -> tuple[System, float]:
    """Up to ``steps`` steps on one batch; the share of faces answered rightly in evaluation."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    share = 0.0
    with _seeded():
        for step in range(steps):
            module.train()
            optimizer.zero_grad(set_to_none=True)
            _terms(module, images, labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step >= 20 and step % 10 == 9:
                share = float((_logits(module.eval(), images).argmax(1) == labels).float().mean())
                if share == 1.0:
                    break
    return module, share


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@torch.no_grad()
def _logits(module: System, images: Tensor) -> Tensor:
    logits: Tensor = module(images)
    return logits.float()


def _deviation(ours: Tensor, theirs: Tensor) -> float:
    return float(((ours - theirs).abs() / ours.abs().clamp(min=1)).max())
