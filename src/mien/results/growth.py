"""Results and ledger only grow: what a git revision holds is still there, the ledger and each json byte for byte.

Predictions may be packed anew (decision 0012), but hold the very same arrays.

`mien results verify` follows the ledger that lies in the folder. Whoever rewrites the whole ledger, results and all,
leaves a folder in which everything fits together; only an older copy can tell. Git keeps older copies.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path

from mien.errors import InputError, MienError
from mien.results.arrays import hash_arrays, read_arrays
from mien.results.ledger import Ledger
from mien.results.validation import NAMES, with_known

_KEPT = (".json", ".npz")


def grown(folder: str | Path, revision: str, *, ledger_name: str = "ledger.jsonl") -> list[tuple[str, str]]:
    """What ``folder`` has lost or changed since a revision of the git repository that it lies in.

    A result may be gone if the ledger says today that it was withdrawn, and why.

    Args:
        folder: with the ledger and the results below it.
        revision: what git calls a commit: ``HEAD^``, ``origin/main``, a tag, a hash.
        ledger_name: of the ledger in the folder.

    Returns:
        Name of a file and what is wrong with it, for each; empty when everything only grew.

    Raises:
        InputError: no git repository, no git, or no such revision there.
    """
    folder = Path(folder)
    if revision.startswith("-"):
        raise InputError(f"{revision!r} is no revision; give what git calls a commit, e.g. HEAD^ or origin/main")
    commit = _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
    listed = _git(folder, "ls-tree", "-r", "-z", commit, "--", ".").decode().split("\0")
    findings = []
    then = b""
    blobs: dict[str, str] = {}
    for entry in filter(None, listed):
        about, _, name = entry.partition("\t")
        blobs[name] = about.split()[2]
    if ledger_name in blobs:
        then = _git(folder, "cat-file", "blob", blobs[ledger_name])
    path = folder / ledger_name
    now = path.read_bytes() if path.is_file() else b""
    if not now.startswith(then):
        line = next((n for n, (a, b) in enumerate(_pairs(then, now), 1) if a != b), 1)
        findings.append(
            (ledger_name, f"line {line} is not what it was at {revision}: the ledger is only ever appended to")
        )
    withdrawn = Ledger(path).withdrawn()
    for name, blob in blobs.items():
        here = folder / name
        if here.suffix not in _KEPT or here.stem in withdrawn:
            continue
        if not here.is_file():
            message = f"was there at {revision} and is gone; put it back, or note why with `mien results withdraw`"
            findings.append((name, message))
        elif _blob(here.read_bytes(), len(blob)) != blob and not _packed_anew(here, folder, blob):
            findings.append((name, f"is not what it was at {revision}; a recorded result never changes"))
    return findings


def _packed_anew(here: Path, folder: Path, blob: str) -> bool:
    """Whether an npz holds what it held, rows that its protocol knows put back on both sides."""
    if here.suffix != ".npz":
        return False
    try:
        with tempfile.TemporaryDirectory() as aside:
            before = Path(aside) / here.name
            before.write_bytes(_git(folder, "cat-file", "blob", blob))
            protocol = "/".join(here.relative_to(folder).parts[:-2])
            then, now = (hash_arrays(with_known(read_arrays(path, NAMES), protocol)) for path in (before, here))
    except MienError:  # no predictions, or of no protocol that is known
        return False
    return then == now


def _pairs(then: bytes, now: bytes) -> list[tuple[bytes, bytes | None]]:
    new = now.splitlines()
    return [(line, new[k] if k < len(new) else None) for k, line in enumerate(then.splitlines())]


def _blob(data: bytes, digits: int) -> str:
    """The name that git gives to a file of these bytes; repositories name by SHA-1 (40 digits) or SHA-256."""
    digest = hashlib.sha256() if digits == 64 else hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % len(data))
    digest.update(data)
    return digest.hexdigest()


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"git cannot be asked what {folder} held before ({error})") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else "there is no such revision"
        raise InputError(f"git does not know what {folder} held before ({reason}); a shallow clone lacks history")
    return done.stdout
