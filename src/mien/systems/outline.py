"""A network as a table of its parts: what comes out of each, how many parameters it has, how much it computes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_CONTAINERS = (nn.ModuleList, nn.ModuleDict)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_SHORT = {"BatchNorm2d": "BN", "BatchNormAct2d": "BN", "Linear": "linear", "MaxPool2d": "max pooling",
          "AvgPool2d": "average pooling", "AdaptiveAvgPool2d": "average pooling", "SelectAdaptivePool2d": "average",
          "LayerNorm": "LN", "LayerNorm2d": "LN"}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One row of the table.

    Args:
        name: of the part in the network, as in its weights.
        what: it is.
        output: shape that leaves it, without the batch; None where it is no module of its own.
        parameters: values in its parameters.
        macs: multiply-accumulates of its convolutions and matrix products for one face.
    """

    name: str
    what: str
    output: tuple[int, ...] | None
    parameters: int
    macs: int


@torch.no_grad()
def outline(module: nn.Module, channels: int, size: int) -> list[Part]:
    """The parts of a network in the order in which a face passes them; their sums are those of the whole network.

    Like blocks that follow each other are one part, and so are convolutions of one resolution that follow each
    other. A network on the ``meta`` device costs neither memory nor time.

    Args:
        module: the network.
        channels: of the face.
        size: side of the face in pixels.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 7))
        >>> for part in outline(network, 1, 8):
        ...     print(part.what, part.output, part.parameters, part.macs)
        conv 3×3 (4, 6, 6) 40 1296
        max pooling (4, 3, 3) 0 0
        linear (7,) 259 252
    """
    calls, total = _trace(module, channels, size)
    names = {part: name for name, part in module.named_modules()}
    groups = [group for group in _groups(module, calls) if any(part in calls or _count(part) for part in group)]
    groups.sort(key=lambda group: min((calls[part].order for part in group if part in calls), default=1 << 30))
    alike = itertools.groupby(groups, lambda group: _likeness(group, calls, names))
    groups = [[part for group in run for part in group] for _, run in alike]
    rows = [
        Part(
            _name([names[part] for part in group]),
            _what(group, names),
            next((calls[part].output for part in reversed(group) if part in calls), None),
            sum(_count(part) for part in group),
            sum(calls[part].macs for part in group if part in calls),
        )
        for group in groups
    ]
    for name, own in _own_parameters(module, {part for group in groups for part in group}):
        rows.append(Part(name, "parameters", tuple(own.shape), own.numel(), 0))
    if rest := total - sum(row.macs for row in rows):
        rows.append(Part("", "between the parts", None, 0, rest))
    return rows


@dataclass
class _Call:
    order: int
    entered: tuple[int, ...] = ()
    output: tuple[int, ...] | None = None
    macs: int = 0


def _trace(module: nn.Module, channels: int, size: int) -> tuple[dict[nn.Module, _Call], int]:
    """What happens to every module when one face passes, and the multiply-accumulates of all."""
    calls: dict[nn.Module, _Call] = {}
    started: list[int] = []
    training, handles = module.training, []

    def before(part: nn.Module, inputs: tuple[object, ...]) -> None:
        found = calls.setdefault(part, _Call(len(calls)))
        if inputs and isinstance(inputs[0], Tensor):
            found.entered = tuple(inputs[0].shape[1:])
        started.append(counter.get_total_flops())

    def after(part: nn.Module, inputs: object, out: object) -> None:
        calls[part].macs += (counter.get_total_flops() - started.pop()) // 2
        if isinstance(out, Tensor):
            calls[part].output = tuple(out.shape[1:])

    for part in module.modules():
        handles += [part.register_forward_pre_hook(before), part.register_forward_hook(after)]
    parameter = next(module.parameters())
    module.eval()
    try:
        with FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, channels, size, size, device=parameter.device, dtype=parameter.dtype))
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    return calls, counter.get_total_flops() // 2


def _groups(module: nn.Module, calls: dict[nn.Module, _Call]) -> Iterator[list[nn.Module]]:
    """Modules that make one row each, together all of the network."""
    plain: list[nn.Module] = []
    for key, part in module.named_children():
        if _is_leaf(part):
            plain.append(part)
            continue
        yield from _runs(plain, calls)
        plain = []
        if _alike(part) and len(shapes := _by_shape(part, calls)) > 1:
            yield from shapes
        elif key == "trunk" or part not in calls or (isinstance(part, nn.Sequential) and not _alike(part)):
            yield from _groups(part, calls)
        else:
            yield [part]
    yield from _runs(plain, calls)


def _runs(layers: list[nn.Module], calls: dict[nn.Module, _Call]) -> Iterator[list[nn.Module]]:
    """Single layers in a row: one group per resolution, pools and what has no effect apart."""
    kept = [layer for layer in layers if _count(layer) or isinstance(layer, _POOLS) or _changes(layer, calls)]

    def kind(layer: nn.Module) -> object:
        shape = calls[layer].output if layer in calls else None
        return (id(layer) if isinstance(layer, _POOLS) or not _count(layer) else 0, shape[1:] if shape else id(layer))

    for _, run in itertools.groupby(kept, kind):
        yield list(run)


def _changes(layer: nn.Module, calls: dict[nn.Module, _Call]) -> bool:
    """Whether a layer without parameters alters shapes: a global pooling does, an activation does not."""
    if layer not in calls or isinstance(layer, nn.Flatten):
        return False
    return calls[layer].output != calls[layer].entered


def _alike(part: nn.Module) -> bool:
    """Blocks of one class, one after the other."""
    children = list(part.children())
    if not isinstance(part, nn.Sequential) or not children or _is_leaf(children[0]):
        return False
    return len({type(child) for child in children}) == 1 and type(children[0]) is not nn.Sequential


def _by_shape(part: nn.Module, calls: dict[nn.Module, _Call]) -> list[list[nn.Module]]:
    """Blocks in a row, those together whose outputs have one shape."""
    runs = itertools.groupby(part.children(), lambda block: calls[block].output if block in calls else None)
    return [list(run) for _, run in runs]


def _likeness(group: list[nn.Module], calls: dict[nn.Module, _Call], names: dict[nn.Module, str]) -> object:
    """Equal for single blocks that differ in nothing a reader of the table sees."""
    block = group[0]
    if len(group) > 1 or _is_leaf(block) or isinstance(block, nn.Sequential) or block not in calls:
        return id(block)
    return type(block), calls[block].output, names[block].rpartition(".")[0]


def _is_leaf(part: nn.Module) -> bool:
    return next(part.children(), None) is None and not isinstance(part, _CONTAINERS)


def _count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _own_parameters(module: nn.Module, shown: set[nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """Parameters that lie beside the parts."""
    inside = {id(parameter) for part in shown for parameter in part.parameters()}
    yield from ((name, own) for name, own in module.named_parameters() if id(own) not in inside)


def _name(names: list[str]) -> str:
    """``features.0`` … ``features.3`` → ``features.0–3``."""
    first, last = names[0], names[-1]
    if first == last:
        return first
    parent = first.rpartition(".")[0]
    return f"{first}–{last.removeprefix(parent + '.')}"


def _what(group: list[nn.Module], names: dict[nn.Module, str]) -> str:
    if len(group) == 1 and isinstance(group[0], nn.Sequential):
        children = list(group[0].children())
        return f"{len(children)} × {_kind(children[0])}" if len(children) > 1 else _kind(children[0])
    kinds = [_kind(part) for part in group]
    first = list(dict.fromkeys(kinds))
    often = kinds.count(first[0])
    text = ", ".join(first)
    return f"{often} × ({text})" if often > 1 and len(first) > 1 else f"{often} × {text}" if often > 1 else text


def _kind(part: nn.Module) -> str:
    if isinstance(part, nn.Conv2d):
        height, width = part.kernel_size
        depthwise = "depthwise " if part.groups == part.in_channels > 1 else ""
        stride = f", stride {part.stride[0]}" if part.stride[0] > 1 else ""
        return f"{depthwise}conv {height}×{width}{stride}"
    if not _is_leaf(part) and isinstance(part, nn.Sequential):
        return ", ".join(dict.fromkeys(_kind(child) for child in part if _count(child)))
    name = type(part).__name__
    return _SHORT.get(name, name)
