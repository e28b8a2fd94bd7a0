"""What comes back from a lent machine: one file of results, ledger and logs, and weights in pieces.

Openings of a test split must not vanish between two calls. A call therefore begins with `begin`, which goes on from
the longest of three ledgers (the one at home, the one in what came back, the one in the working folder) and refuses
where they contradict each other; it ends with `pack`; at home `collect` takes over what continues the ledger there.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PIECE = (16 << 20) - 4096
PIECES = 7  # and one file of results: eight in all
ALL = (64 << 20) - (1 << 19)
"""Bytes that come back at most, results and weights together."""
RESULTS, LEDGER, TRIAL = "results.tar.gz", "results/ledger.jsonl", "trial.status"
HALF = "weights.half.safetensors"
_DESCRIBED = (".json", ".jsonl", ".npz", ".toml", ".log", ".status", ".epochs")
_HEADER = 2048
"""Bytes that a file takes in a tar besides its own, at most."""


def work_folder(out: Path) -> Path:
    """Where a call works that packs into ``out``: beside it, since what lies in it would all come back."""
    return out.resolve().parent / f".{out.name}.work"


def begin(out: Path, home: Path, *, trial: bool = False) -> Path:
    """The working folder of a call, made ready: with what earlier calls left, if anything of it would be lost.

    Args:
        out: where earlier calls have packed, and this one will.
        home: the ledger at home.
        trial: it records nothing; it begins anew, and only where nothing but trials was.

    Returns:
        The folder; its ledger holds every line that the one at home, ``out`` and the folder itself held.

    Raises:
        SystemExit: the ledgers contradict each other, or a trial would take the place of what was recorded.
    """
    state = work_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    packed, tried = _packed(out), (state / TRIAL).exists()
    if trial:
        if (state.exists() and not tried) or (packed and TRIAL not in packed):
            sys.exit(f"{out} holds what was recorded, and a trial would take its place; give the trial another --out")
        shutil.rmtree(state, ignore_errors=True)
        (state / "results").mkdir(parents=True)
        (state / TRIAL).write_text("nothing here was recorded\n")
        return state
    if tried:
        shutil.rmtree(state)
    came = {} if TRIAL in packed else packed
    ledgers = {
        str(home): _lines(home.read_bytes() if home.exists() else b""),
        f"{out / RESULTS}": _lines(came.get(LEDGER, b"")),
        f"{state / LEDGER}": _lines((state / LEDGER).read_bytes() if (state / LEDGER).exists() else b""),
    }
    place, longest = max(ledgers.items(), key=lambda item: len(item[1]))
    for other, lines in ledgers.items():
        if not longest.startswith(lines):
            sys.exit(
                f"{other} holds openings that {place} lacks, and neither continues the other; nothing was begun. Take "
                "over what came back (training_queue.py --collect OUT), or give another --out"
            )
    covers = ledgers[f"{state / LEDGER}"] == longest
    if not covers or (not came and longest == ledgers[str(home)]):  # nothing there that is not at home, or less
        shutil.rmtree(state, ignore_errors=True)
    _unpack(came, out, state)
    target = state / LEDGER
    target.parent.mkdir(parents=True, exist_ok=True)
    if longest and not (target.exists() and _lines(target.read_bytes()) == longest):
        target.write_bytes(longest)
    return state


def room(others: int = 0) -> int:
    """Bytes for weights, beside results of a usual size and so many further files."""
    return min((PIECES - others) * PIECE, ALL) - (1 << 20)


def pack(state: Path, out: Path) -> list[str]:
    """One file of results, ledger and run descriptions; then the weights, cut into pieces, small ones first.

    So one large network does not take the room of twenty small ones, among them those that are to be shipped.

    Further files in ``out`` count against what comes back.

    Returns:
        Names of the runs whose weights found no room.
    """
    names = [path for path in sorted(state.rglob("*")) if path.is_file() and not _hidden(path, state)]
    _write_tar(out / RESULTS, [path for path in names if path.suffix in _DESCRIBED], state)
    pieces = [out / f"weights.tar.{number}" for number in range(PIECES)]
    others = [path for path in out.iterdir() if path not in (*pieces, out / RESULTS)]
    sizes = sum(path.stat().st_size for path in (out / RESULTS, *others))
    left = min((PIECES - len(others)) * PIECE, ALL - sizes) - (1 << 16)
    chosen, without = [], []
    for path in sorted((path for path in names if path.name == HALF), key=lambda path: (path.stat().st_size, path)):
        if path.stat().st_size + _HEADER < left:
            left -= path.stat().st_size + _HEADER
            chosen.append(path)
        else:
            without.append(path.parent.name)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in chosen:
            tar.add(path, str(path.relative_to(state)))
    data = content.getvalue() if chosen else b""
    for number, part in enumerate(pieces):
        piece = data[number * PIECE : (number + 1) * PIECE]
        part.write_bytes(piece) if piece else part.unlink(missing_ok=True)
    return without


def save_rarely() -> None:
    """From now on a training writes a checkpoint a minute, the first after one, not one after each of its short epochs.

    Four times the weights, and a wait for the disk, every few seconds cost more than a lost minute.
    """
    from mien.training import checkpoints

    checkpoints.SAVE_RATE = 1
    checkpoints.SAVE_FIRST = checkpoints.LONGEST_SHARE


def halve(folder: Path) -> Any:
    """Round the weights to half precision and make that the run: what is measured is what can be brought back.

    Vectors stay as they are: they take no room, and a variance need not lie within what half precision can say.
    """
    import torch

    from mien.training import Run
    from mien.training.weights import hash_weights, load_tensors, save_tensors

    full = folder / "weights.safetensors"
    state, metadata = load_tensors(full if full.exists() else folder / HALF)  # of a run that came back in part
    half = {k: v.half() if v.is_floating_point() and v.ndim > 1 else v for k, v in state.items()}
    whole = {k: v.float() if v.dtype == torch.float16 else v for k, v in half.items()}
    save_tensors(folder / HALF, half, metadata)
    save_tensors(full, whole, metadata)
    run = Run.open(folder)
    run.info.update(weights_sha256=hash_weights(whole), rounded="float16")
    run.save_info()
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return run


def collect(came_back: Path, results: Path, runs: Path) -> int:
    """Take over results whose ledger continues ours, and runs with their weights made whole again."""
    from mien.results import Ledger
    from mien.store.atomic import write_text

    packed = {**_packed(came_back), **_weights(came_back)}
    if not packed and not records(came_back):
        print(f"{came_back} holds nothing that a queue or a speedrun packed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in packed.items():
            _put(root, name, content)
        theirs, ours = root / LEDGER, results / "ledger.jsonl"
        before = ours.read_bytes() if ours.exists() else b""
        after = theirs.read_bytes() if theirs.exists() else before
        if not after.startswith(before):
            print("the ledger that came back does not continue the one here; nothing was taken over", file=sys.stderr)
            return 1
        ledger = Ledger(theirs if theirs.exists() else ours)
        noted = {**ledger.recorded(), **ledger.withdrawn()}  # the chain holds, or this says where it does not
        if lost := [run["result"] for run in records(came_back) if run["result"] and run["result"] not in noted]:
            print(
                f"{came_back}/speedrun.json tells of results that the ledger beside it does not hold "
                f"({', '.join(lost)}): openings were lost on the way; nothing was taken over",
                file=sys.stderr,
            )
            return 1
        for path in sorted((root / "results").rglob("*")):
            target = results / path.relative_to(root / "results")
            if path.is_file() and path != theirs and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
                print(f"took over {target}")
        if theirs.exists():
            write_text(ours, after.decode())
        _take_runs(root, runs)
    print("now: mien results verify")
    return 0


def records(out: Path) -> list[dict[str, Any]]:
    """The runs of the file of records that a speedrun left in ``out``; none where there is none."""
    path = out / "speedrun.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["runs"]) if path.exists() else []


# --- parts ------------------------------------------------------------------------------------------------------------


def _take_runs(root: Path, runs: Path) -> None:
    from mien.training.weights import load_tensors, save_tensors

    for half in sorted(root.glob(f"runs/*/{HALF}")):
        target = runs / half.parent.name
        if target.exists():
            print(f"{target} is there already; left as it is")
            continue
        tensors, metadata = load_tensors(half)
        shutil.copytree(half.parent, target)
        whole = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
        save_tensors(target / "weights.safetensors", whole, metadata)
        print(f"took over {target}")


def _unpack(packed: dict[str, bytes], out: Path, state: Path) -> None:
    """Put what came back into the working folder, where it lacks it; runs only that came back with their weights."""
    weights = _weights(out) if packed else {}
    whole = {Path(name).parent for name in weights} & {
        Path(name).parent
        for name, data in packed.items()
        if name.endswith("/run.json") and "rounded" in json.loads(data)
    }
    for name, data in {**packed, **weights}.items():
        if not (state / name).exists() and (Path(name).parts[0] != "runs" or Path(name).parent in whole):
            _put(state, name, data)


def _packed(out: Path) -> dict[str, bytes]:
    path = out / RESULTS
    if not path.exists():
        return {}
    with tarfile.open(path) as tar:
        return _files(tar)


def _weights(out: Path) -> dict[str, bytes]:
    pieces = b"".join(path.read_bytes() for path in sorted(out.glob("weights.tar.*")))
    if not pieces:
        return {}
    with tarfile.open(fileobj=io.BytesIO(pieces)) as tar:
        return _files(tar)


def _files(tar: tarfile.TarFile) -> dict[str, bytes]:
    """The regular files of an archive by their names in it."""
    found = {}
    for member in tar:
        stream = tar.extractfile(member) if member.isfile() else None
        if stream is not None:
            found[member.name] = stream.read()
    return found


def _put(folder: Path, name: str, data: bytes) -> None:
    """Write a file below ``folder``, never beside it; Python 3.11.0 to 3.11.3 have no filters for that."""
    target = (folder / name).resolve()
    if target.is_relative_to(folder.resolve()):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _lines(ledger: bytes) -> bytes:
    """The whole lines of a ledger: a torn last one is mended by whoever appends next."""
    return ledger[: ledger.rfind(b"\n") + 1]


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _write_tar(target: Path, files: Iterable[Path], root: Path) -> None:
    part = target.with_suffix(".part")
    with tarfile.open(part, "w:gz") as tar:
        for path in files:
            tar.add(path, str(path.relative_to(root)))
    part.replace(target)
