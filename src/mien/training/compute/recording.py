"""The gradients of a step, recorded once as a CUDA graph and replayed.

A small network's kernels take microseconds, and so does the Python between two of them: an accelerator waits for its
host most of the time. A graph is launched as one. What changes from step to step (which faces, how much is mixed) is
written into tensors that the graph reads; random numbers go on from replay to replay as they do from step to step.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import RecordingError
from mien.training.pipeline.augmentation import Amount

Work = Callable[[Tensor, Amount | None], Tensor]


class RecordedStep:
    """Calls ``work`` as it is a few times, which are ordinary steps, then records it and replays the record.

    Args:
        work: rows of a batch and how much of it is mixed → the mean loss, without gradient; it leaves the gradients in
            the parameters. It must do the same to every batch of one size, and never wait for the device.
        module: whose parameters these are.
        generator: what ``work`` draws from, besides the device's own generator.
    """

    DEVICES = ("cuda",)
    WARM_UP = 3
    """Steps before a record: they choose algorithms and fill what is kept from step to step."""

    def __init__(self, work: Work, module: nn.Module, generator: torch.Generator) -> None:
        self.work, self.generator = work, generator
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.recorder = _Recorder(generator)
        self.kinds: dict[tuple[int, bool], _Kind] = {}

    def __call__(self, rows: Tensor, amount: Amount | None) -> Tensor:
        """Mean loss of a step, float (), which the next step overwrites; its gradients lie in the parameters."""
        # An epoch's batches have two sizes at most; with mixup and CutMix both on, each is a kind of its own.
        key = (len(rows), amount is not None and amount.box is not None)
        kind = self.kinds.get(key)
        if kind is None:
            kind = self.kinds[key] = _Kind.of(rows, amount)
        kind.take(rows, amount)
        if kind.replay is None and kind.seen < self.WARM_UP:
            kind.seen += 1
            return self.recorder.warm_up(lambda: self.work(kind.rows, kind.amount))
        if kind.replay is None:
            try:
                kind.replay, kind.loss = self.recorder.record(lambda: self.work(kind.rows, kind.amount))
            except RuntimeError as error:
                said = str(error).strip().splitlines() or [type(error).__name__]
                raise RecordingError(
                    f"a step of this training cannot be recorded ({said[0]}); add --set capture=false (slower, equal "
                    "but for rounding)"
                ) from error
            kind.gradients = [parameter.grad for parameter in self.parameters]
        assert kind.loss is not None
        for parameter, gradient in zip(self.parameters, kind.gradients, strict=True):
            parameter.grad = gradient
        kind.replay()
        return kind.loss


@dataclass
class _Kind:
    """Steps of one shape: what they read and what they leave."""

    rows: Tensor
    amount: Amount | None
    seen: int = 0
    replay: Callable[[], None] | None = None
    loss: Tensor | None = None
    gradients: list[Tensor | None] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Tensor, amount: Amount | None) -> _Kind:
        own = None
        if amount is not None:
            number, device = torch.zeros((), device=rows.device), rows.device
            box = None if amount.box is None else torch.zeros(4, dtype=torch.int64, device=device)
            own = Amount(number, None if amount.blend is None else number, box)
        return cls(torch.empty_like(rows), own)

    def take(self, rows: Tensor, amount: Amount | None) -> None:
        """Write what this step is about to where the record reads it; nothing of it waits for the device."""
        self.rows.copy_(rows)
        if amount is None or self.amount is None:
            return
        assert isinstance(self.amount.ratio, Tensor)
        self.amount.ratio.fill_(amount.ratio)
        if isinstance(self.amount.box, Tensor) and amount.box is not None:
            for place, value in zip(self.amount.box.unbind(), amount.box, strict=True):
                place.fill_(value)


class _Recorder:
    """CUDA's graphs, as far as they are needed here."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self._stream: Any = None
        self._pool: Any = None

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        """Run it where it will be recorded."""
        if self._stream is None:
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with _fastest(), torch.cuda.stream(self._stream):
            loss = work()
        current.wait_stream(self._stream)
        return loss

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What runs it again, and where its loss then stands; it is not run meanwhile."""
        graph = torch.cuda.CUDAGraph()
        # Newer PyTorch finds the generators itself, says so, and will drop the method.
        register = getattr(graph, "register_generator_state", None)
        if register is not None:
            register(self.generator)
        with _uncollected(), _fastest(), torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            loss = work()
        return graph.replay, loss


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's cyclic collector: an older graph that it frees meanwhile would break the record."""
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextlib.contextmanager
def _fastest() -> Iterator[None]:
    """Convolutions by the algorithm that is fastest when tried, each shape once."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    # Each search would give all cached memory back to the driver afterwards, and the next one ask for it again.
    torch._C._cudnn_set_conv_benchmark_empty_cache(False)
    try:
        yield
    finally:
        torch._C._cudnn_set_conv_benchmark_empty_cache(True)
        torch.backends.cudnn.benchmark = before
