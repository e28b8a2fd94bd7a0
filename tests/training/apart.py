"""A function in a process of its own that begins in a moment: forked from one that has imported torch and done nothing.

A fresh interpreter imports, for longer than the training of a test takes, what a training needs.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from mien.training.compute.lightning import PACKAGE

_IMPORTED = ["torch._dynamo", PACKAGE, "mien.cli", "mien.training.loop", "mien.evaluation"]


def begin(
    function: Callable[..., object], *arguments: object, said: Path, environment: Mapping[str, str] | None = None
) -> BaseProcess:
    """Call ``function(*arguments)`` with as many threads as here; what it says goes to the file ``said``.

    The process is one of `multiprocessing`: ``join`` waits for it, ``exitcode`` says how it ended.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    process = context.Process(
        target=_call, args=(function, arguments, torch.get_num_threads(), str(said), dict(environment or {}))
    )
    process.start()
    return process


def run(function: Callable[..., object], *arguments: object, said: Path) -> int:
    """The same to its end: 0, 1 after an exception, or minus the number of the signal that killed it."""
    process = begin(function, *arguments, said=said)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _call(
    function: Callable[..., object], arguments: tuple[object, ...], threads: int, said: str, environment: dict[str, str]
) -> None:
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.update(environment)
    torch.set_num_threads(threads)
    function(*arguments)
