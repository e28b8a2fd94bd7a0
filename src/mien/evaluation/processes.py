"""Several processes that do one job together, started by torchrun. Alone, all of it costs nothing and needs no torch.

Every process runs the same program in the same order; what only one may do (write, note, fetch) the first one does for
all. Whoever waits for another waits for a bounded time, and says then whom it waited for.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from mien.errors import ProcessError
from mien.evaluation.devices import check_device, device_of
from mien.store.launch import launched, local_rank

T = TypeVar("T")

TIMEOUT = 600.0
"""Seconds that one process waits for another, unless the caller says something else."""

_ROLL_CALL = 10.0
"""Seconds in which those who are still there have to say so; torchrun leaves 30 before it kills."""

_LISTENING = 1.0
"""Seconds between two looks whether the roll is called."""

_meeting: dict[str, Any] = {}
"""The store where the processes of this job meet, under ``store``; ``noticed`` where this one knows of a loss."""


@dataclass(frozen=True)
class Processes:
    """The processes of a job, seen from one of them. `joined` makes it.

    Attributes:
        rank: number of this one, from 0.
        count: how many they are.

    Example:
        >>> alone = Processes()
        >>> alone.first, alone.on_first(lambda: 3), alone.from_all("a"), alone.any(False)
        (True, 3, ['a'], False)
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes and speaks for all."""
        return self.rank == 0

    def on_first(self, work: Callable[[], T]) -> T:
        """Let the first process alone do something; all get what it returns, which can be pickled.

        Raises:
            Exception: in the first process what ``work`` raises.
            ProcessError: in the others, with the same message.
        """
        if self.count == 1:
            return work()
        found: Any = None
        failure: Exception | None = None
        if self.first:
            try:
                found = work()
            except Exception as error:  # the others wait for an answer, whatever happened
                failure = error
        value, said = self._sent((found, None if failure is None else str(failure)))
        if failure is not None:
            raise failure
        if said is not None:
            raise ProcessError(said)
        answer: T = value
        return answer

    def from_all(self, value: T) -> list[T]:
        """What each process gives, in their order."""
        if self.count == 1:
            return [value]
        import torch.distributed as distributed

        found: list[Any] = [None] * self.count
        with self.watched():
            distributed.all_gather_object(found, value)
        return found

    def any(self, flag: bool) -> bool:
        """Whether it holds for at least one of them."""
        if self.count == 1:
            return flag
        import torch
        import torch.distributed as distributed

        answer = torch.tensor([int(flag)])
        with self.watched():
            distributed.all_reduce(answer, op=distributed.ReduceOp.MAX)
        return bool(answer.item())

    @contextlib.contextmanager
    def first_ahead(self) -> Iterator[None]:
        """A block that the others enter when the first process has left it: what it fetched lies there then."""
        if not self.first:
            self.any(False)
        try:
            yield
        finally:
            if self.first:
                self.any(False)

    def check_same(self, what: str, value: Callable[[], str]) -> None:
        """Refuse to go on (`ProcessError`) where the processes were given different things, as ``value`` tells them."""
        if self.count == 1:
            return
        digest = value()
        others = [rank for rank, theirs in enumerate(self.from_all(digest)) if theirs != digest]
        if others:
            raise ProcessError(
                f"the processes were given different {what} (rank {self.rank} and rank {others[0]}); start all of them "
                "with the same command, the same version and the same files"
            )

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """A block in which processes wait for each other: one that is lost becomes a `ProcessError` in the others."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not _is_about_others(error):
                raise
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends us soon: say first what happened
            _meeting["noticed"] = True
            atexit.unregister(_leave)  # nobody is there to say goodbye to
            raise ProcessError(self._loss(error)) from error

    def _sent(self, value: Any) -> Any:
        """What the first process gives, in all of them."""
        import torch.distributed as distributed

        box = [value]
        with self.watched():
            distributed.broadcast_object_list(box, src=0)
        return box[0]

    def _loss(self, error: RuntimeError) -> str:
        """Who is lost: all who still live say so at the place where they met."""
        missing = list(range(self.count))
        with contextlib.suppress(RuntimeError):
            store, ends = _meeting["store"], time.monotonic() + _ROLL_CALL
            store.set(f"{_roll()}/call", b"1")
            while missing and time.monotonic() < ends:
                missing = [rank for rank in missing if not store.check([f"{_roll()}/{rank}"])]
                time.sleep(0.05)
        if missing and len(missing) < self.count:
            ranks = f"rank {missing[0]}" if len(missing) == 1 else f"ranks {', '.join(map(str, missing))}"
            lost = f"the process of {ranks} ({self.count} in all) no longer answers: killed, out of memory or cut off"
        else:
            lost = f"the processes lost each other ({str(error).splitlines()[0][:200]})"
        return f"{lost}; this job ends here"


def joined(timeout: float | None = None) -> Processes:
    """The processes that torchrun started, this one among them; they meet at the first call.

    Args:
        timeout: seconds that one waits for another from then on.

    Raises:
        ProcessError: they did not meet within that time.
    """
    if not launched():
        return Processes()
    import torch.distributed as distributed

    if not distributed.is_initialized():
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        wait = datetime.timedelta(seconds=timeout or TIMEOUT)
        import torch

        try:
            store, rank, count = next(rendezvous("env://", timeout=wait))
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=PrefixStore("mien/group", store),
                rank=rank,
                world_size=count,
                timeout=wait,
            )
        except (RuntimeError, ValueError) as error:
            raise ProcessError(
                f"the processes did not meet within {wait.total_seconds():g} s ({str(error).splitlines()[0][:200]}); "
                "check that torchrun runs on every machine with the same --rdzv-endpoint and --nnodes"
            ) from error
        _meeting["store"] = store
        _Answering(store, rank).start()
        atexit.register(_leave)
    return Processes(distributed.get_rank(), distributed.get_world_size())


def own_device(device: str) -> str:
    """The device of this process where several share a machine: ``cuda`` becomes ``cuda:1`` in the second one.

    So does ``auto`` where it means ``cuda``.

    Raises:
        InputError: it is not there.
    """
    if launched():
        device = device_of(device)
        device = f"cuda:{local_rank()}" if device == "cuda" else device
    check_device(device)
    return device


def first_to_say(sentence: str) -> bool:
    """Whether no other process of the job has said this before; they tend to fail alike."""
    store = _meeting.get("store")
    if store is None:
        return True
    try:
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        digest = hashlib.sha256(sentence.encode()).hexdigest()
        return bool(store.add(f"mien/said/{attempt}/{digest}", 1) == 1)
    except RuntimeError:
        return True


class _Answering(threading.Thread):
    """Says that this process lives when one that noticed a loss calls the roll, also while the process waits itself.

    Gloo tells a loss only to those that exchange something with the lost one; the others go on waiting. They are ended
    here, after the one that called has said whom it misses.
    """

    def __init__(self, store: Any, rank: int) -> None:
        super().__init__(name="mien-answering", daemon=True)
        self.store, self.rank, self.over = store.clone(), rank, threading.Event()
        atexit.register(self.end)

    def run(self) -> None:
        with contextlib.suppress(RuntimeError):  # the store is gone: so is the job
            while not self.store.check([f"{_roll()}/call"]):
                if self.over.wait(_LISTENING):
                    return
            self.store.set(f"{_roll()}/{self.rank}", b"1")
            if not self.over.wait(_ROLL_CALL) and "noticed" not in _meeting:
                os._exit(2)  # nothing else gets a thread out of Gloo; torchrun would kill it some seconds later

    def end(self) -> None:
        """Before Python ends."""
        self.over.set()
        self.join(_LISTENING)


def _roll() -> str:
    """Where in the store this attempt's roll is called."""
    return f"mien/here/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _leave() -> None:
    import torch.distributed as distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _is_about_others(error: RuntimeError) -> bool:
    """PyTorch has classes for some of these failures; Gloo's are plain and are known by their words."""
    import torch.distributed as distributed

    if isinstance(error, distributed.DistError):
        return True
    text = str(error).lower()
    return any(
        word in text
        for word in ("gloo", "nccl", "connection closed by peer", "connection reset", "broken pipe", "timed out")
    )
