"""The class that every neural system derives from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mien.errors import InputError, MienError, RecipeError
from mien.systems.card import check_options
from mien.systems.options import changed, check_values, told
from mien.systems.weights import load_trunk

if TYPE_CHECKING:
    from mien.systems.card import Card

Criterion = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, C), target probabilities (N, C)) → scalar."""


class System(nn.Module):
    """A neural system. Subclasses take ``classes`` and ``channels`` and the options of their card, by keyword.

    ``forward(images)`` maps float32 (N, channels, S, S), normalised, to logits (N, classes). Where `embed` is
    defined, ``forward`` is ``head(embed(images))`` and features, explanations and adaptation use it.
    """

    card: Card
    options: dict[str, object]
    head: nn.Module

    def __call__(self, images: Tensor) -> Tensor:
        """``forward`` with the hooks; images that the network cannot take get an `InputError` that names what it does.

        Only what fails is looked into, so images that fit pay nothing; what has other reasons stays as it is.
        """
        if torch.compiler.is_compiling():  # a graph is of images that fit
            out: Tensor = super().__call__(images)
            return out
        try:
            out = super().__call__(images)
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            from mien.systems.sides import explain  # which builds networks

            explain(self, images, error)
            raise
        return out

    def embed(self, images: Tensor) -> Tensor:
        """Penultimate features, float32 (N, D)."""
        raise NotImplementedError(f"{type(self).__name__} has no penultimate features")

    def begin_stage(self, name: str) -> None:
        """Switch on the parts that the stage ``name`` of the recipe works with; nothing to switch by default.

        Called on the network and on its moving average before a stage, after a resume, and with the last stage when
        a run is opened. It only sets attributes: all parameters exist from the start, no weight changes, nothing is
        drawn. A fresh network is that of the last stage.
        """

    def stage_kind(self, name: str, kinds: Sequence[str]) -> str:
        """Which of ``kinds`` a stage is of: ``plain`` and ``plain-24px`` are both of the kind ``plain``.

        For `begin_stage` of systems whose stages differ in what works; several of one kind may follow each other,
        with faces of growing size, say. `RecipeError` for another name.
        """
        kind = name.partition("-")[0]
        if kind not in kinds:
            raise RecipeError(
                f"stage {name!r}: those of {self.card.id} are named after their kind, {', '.join(kinds)}, with "
                f"more after a '-' where several are of one: {kinds[0]}-1"
            )
        return kind

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take published weights over, by timm's names and shapes, all but the classifier.

        They go into ``self.trunk``; systems whose timm network is no plain submodule of that name override it.
        """
        load_trunk(self, state)

    def recomputable(self) -> list[nn.Module]:
        """Parts whose activations can be computed anew instead of being kept.

        By default the elements of sequences and lists that consist of several layers, the innermost first, and
        sequences of plain layers outside of them, which `mien.training.compute.activations` runs in segments. Systems
        that do not call their parts as modules override it. `RecipeError` where there is nothing to compute anew.
        """
        blocks = composite_elements(self)
        parts = [*blocks, *plain_sequences(self, blocks)]
        if not parts:
            raise RecipeError(
                f"checkpoint_activations: {type(self).__name__} has no blocks and no sequences of layers that could be "
                "computed anew; leave it false"
            )
        return parts

    def before_mixing(self, images: Tensor) -> None:
        """Told the augmented batch before mixup or CutMix, without gradients; nothing to do by default.

        For sources whose training passes the faces as they are through the network too.
        """

    def loss(self, images: Tensor, targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Terms whose sum is minimised. Systems with auxiliary terms override it.

        Args:
            images: float (N, channels, S, S), normalised.
            targets: float (N, classes), rows sum to 1 (smoothed and mixed by the recipe).
            criterion: the recipe's loss.
        """
        return {"loss": criterion(self(images), targets)}


def build(card: Card, *, classes: int, channels: int | None, options: Mapping[str, object]) -> System:
    """Make the module of ``card``; see `mien.systems.create`.

    Raises:
        RecipeError: an option has no such name, a value of another kind than its default (see `check_values`), or one
            that the constructor refuses.
    """
    check_options(card, options)
    check_values(card, options)
    if classes < 2:
        raise InputError(f"a system tells at least 2 expressions apart, not {classes}")
    channels = card.input.channels if channels is None else channels
    if channels not in (1, 3):
        raise InputError(f"{card.id} takes images of 1 or 3 channels, not {channels}")
    if not issubclass(card.module, System):
        if card.kind == "ensemble":
            raise InputError(f"{card.id} is no network; `mien ensemble {card.id}` makes it of its trained members")
        raise InputError(f"{card.id} is no network; it is fitted by mien.train and measured by mien.evaluate")
    chosen = {**card.options, **options}
    try:
        module = card.module(classes=classes, channels=channels, **chosen)
    except RecipeError as error:
        said = str(error)
        raise RecipeError(said if said.startswith(card.id) else f"{card.id}: {said}") from error.__cause__
    except (MienError, ImportError, OSError):
        raise
    except Exception as error:
        names = changed(card, options)
        if not names:  # then the fault is not the caller's
            raise
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        if isinstance(error, IndexError) or said.startswith(("zip()", "not enough values", "too many values")):
            said = "the lists do not fit each other in length"
        raise RecipeError(f"{card.id} cannot be built with {told(names, options, card)}: {said}") from error
    module.card, module.options = card, {"classes": classes, "channels": channels, **dict(options)}
    return module


_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def composite_elements(module: nn.Module) -> list[nn.Module]:
    """The innermost elements of sequences and lists in ``module`` that consist of several layers themselves.

    Those within an element count only if they are more than half of its layers; otherwise it stands for them, as an
    Inception module does for the one branch in it that is a sequence of sequences.
    """
    found: list[nn.Module] = []
    for child in module.children():
        inner = composite_elements(child)
        composite = isinstance(module, _LISTS) and not isinstance(child, _LISTS[1:]) and len(list(child.children())) > 1
        if composite and 2 * count_layers(inner) <= count_layers([child]):
            inner = [child]
        found += inner
    return list(dict.fromkeys(found))


def plain_sequences(module: nn.Module, blocks: Iterable[nn.Module]) -> list[nn.Module]:
    """The outermost sequences of two or more layers in ``module`` that share nothing with ``blocks``."""
    blocks = set(blocks)
    found: list[nn.Module] = []
    for child in module.children():
        if child in blocks:
            continue
        apart = blocks.isdisjoint(child.modules())
        if apart and type(child).forward is nn.Sequential.forward and count_layers([child]) > 1:
            found.append(child)
        else:
            found += plain_sequences(child, blocks)
    return list(dict.fromkeys(found))


def count_layers(modules: Iterable[nn.Module]) -> int:
    """Number of convolutions, linear layers and the like in ``modules``: of those with a matrix or kernels."""
    parts = (part for module in modules for part in module.modules())
    return sum(any(p.ndim > 1 for p in part.parameters(recurse=False)) for part in parts)


def count_parameters(module: nn.Module) -> int:
    """Number of values in all parameters; buffers do not count."""
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def count_macs(module: nn.Module, channels: int, size: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one face of ``size`` px."""
    from torch.utils.flop_counter import FlopCounterMode

    training = module.training
    module.eval()
    parameter = next(module.parameters())
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, channels, size, size, device=parameter.device, dtype=parameter.dtype))
    module.train(training)
    return int(counter.get_total_flops()) // 2
