"""Runs the command line in forked children, and kills them: ``python zygote.py`` reads one request per line of JSON.

A child is ready in a moment, because the parent has imported everything; so a kill meets the work, not the imports. It
is killed with SIGKILL at a step (its n-th change of a file or folder below its own folder, just before it happens) or
after a time in seconds. The answer says how it ended, how many steps it made, and what it said.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
import time
from typing import Any

_NAMES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def serve() -> None:
    import matplotlib.backends.backend_agg  # noqa: F401
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import optuna.visualization.matplotlib  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch

    import mien.cli
    import mien.ensembles
    import mien.evaluation
    import mien.export
    import mien.recognition
    import mien.training.search  # noqa: F401
    from mien.training.compute.lightning import fabric_module

    fabric_module()
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)


def _run(request: dict[str, Any]) -> dict[str, Any]:
    told, tell = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(told)
        _child(request, tell)
    os.close(tell)
    after = request.get("after")
    if after is not None and not select.select([told], [], [], after)[0]:
        os.kill(child, signal.SIGKILL)
    steps = b""
    while piece := os.read(told, 1 << 16):
        steps += piece
    os.close(told)
    _, status = os.waitpid(child, 0)
    with open(os.path.join(request["folder"], "..", "said"), encoding="utf-8", errors="replace") as said:  # noqa: PTH118, PTH123
        text = said.read()
    return {
        "code": os.waitstatus_to_exitcode(status),
        "steps": int(steps or b"0"),
        "seconds": time.monotonic() - started,
        "said": text,
    }


def _child(request: dict[str, Any], tell: int) -> None:
    folder, deadly, count = request["folder"], request.get("step"), 0
    said = os.open(os.path.join(folder, "..", "said"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # noqa: PTH118
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(folder)
    os.environ.update(request.get("environment", {}))
    tempfile.tempdir = None  # asked again

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            path, _, flags = given
            changes = isinstance(flags, int) and flags & _WRITING
        else:
            path, changes = given[0] if given else None, event in _NAMES
        if not changes or not isinstance(path, str | bytes | os.PathLike):
            return
        if os.path.abspath(os.fsdecode(path)).startswith(folder):  # noqa: PTH100
            count += 1
            if count == deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    code = 1
    try:
        import mien.cli

        mien.cli.main(request["words"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(tell, str(count).encode())
        os._exit(code)


if __name__ == "__main__":
    serve()
