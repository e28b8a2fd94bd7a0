"""Ledger and results only grow: compared with what git holds."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from mien.errors import InputError
from mien.results import Result, verify
from mien.results.arrays import write_arrays
from mien.results.growth import grown
from mien.results.validation import without_known
from mien.results.verification import paths
from mien.results.withdrawal import withdraw

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> None:
    names = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *names, *arguments], check=True, capture_output=True)


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """Four results in the folder ``results`` of a repository, committed."""
    shutil.copytree(recorded, tmp_path / "results")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "results")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path / "results"


def test_growth_is_fine(folder: Path, invent) -> None:
    assert grown(folder, "HEAD") == []
    invent(folder, system="emonext").save(folder)
    assert grown(folder, "HEAD") == []
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "second")
    assert verify(folder, against="HEAD^").holds
    assert verify(folder, against="HEAD").holds


def test_a_rewritten_history_that_fits_together_is_found(folder: Path, invent) -> None:
    """Everything in the folder fits; only the older copy tells that a result and its opening are gone."""
    shutil.rmtree(folder)
    invent(folder, system="compact", seed=7).save(folder)
    assert verify(folder).holds
    found = {finding.file: finding.message for finding in verify(folder, against="HEAD").findings}
    assert "line 1 is not what it was at HEAD" in found["ledger.jsonl"]
    gone = [name for name, message in found.items() if "is gone" in message]
    assert len(gone) == 8  # a json and an npz each


def test_lines_cut_off_the_end_are_found(folder: Path) -> None:
    ledger = folder / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:-1]))
    assert grown(folder, "HEAD")[0] == (
        "ledger.jsonl", f"line {len(lines)} is not what it was at HEAD: the ledger is only ever appended to"
    )  # fmt: skip


def test_a_changed_file_is_found(folder: Path) -> None:
    path = next(paths(folder))
    path.with_suffix(".npz").write_bytes(b"other")
    path.write_text(path.read_text() + "\n")
    names = {name for name, message in grown(folder, "HEAD") if "never changes" in message}
    assert names == {path.relative_to(folder).with_suffix(suffix).as_posix() for suffix in (".json", ".npz")}


def test_predictions_may_be_packed_anew_but_not_changed(folder: Path) -> None:
    """Results recorded before decision 0012 hold their rows; without them they are the same results."""
    path = next(iter(paths(folder)))
    npz, whole = path.with_suffix(".npz"), Result.load(path).arrays
    write_arrays(npz, whole)
    git(folder, "commit", "-q", "-a", "-m", "with rows")
    write_arrays(npz, without_known(whole, "fer2013/private@1"))
    assert "M" in subprocess.run(["git", "-C", str(folder), "status", "--short"], capture_output=True, text=True).stdout
    assert grown(folder, "HEAD") == []
    changed = {**whole, "test_scores": whole["test_scores"][::-1]}
    write_arrays(npz, without_known(changed, "fer2013/private@1"))
    assert [name for name, _ in grown(folder, "HEAD")] == [str(npz.relative_to(folder))]


def test_a_withdrawal_is_in_the_open(folder: Path) -> None:
    withdraw(next(paths(folder)), folder, "trained on test faces")
    assert grown(folder, "HEAD") == []


def test_what_git_cannot_tell_is_said(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match="there is no such revision"):
        grown(folder, "nowhere")
    with pytest.raises(InputError, match="is no revision"):
        grown(folder, "--all")
    with pytest.raises(InputError, match="not a git repository"):
        grown(tmp_path_factory.mktemp("plain"), "HEAD")


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mien.cli import main

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["results", *arguments])
        return int(stop.value.code or 0), capsys.readouterr().out

    assert run("verify", str(folder), "--against", "HEAD")[0] == 0
    some = next(paths(folder)).stem
    status, out = run("withdraw", some, "--reason", "a slip", "--results", str(folder), "--json")
    assert status == 0
    assert (json.loads(out)["id"], json.loads(out)["reason"]) == (some, "a slip")
    (folder / "ledger.jsonl").write_text("")
    status, out = run("verify", str(folder), "--against", "HEAD", "--json")
    assert status == 1
    assert any(finding["file"] == "ledger.jsonl" for finding in json.loads(out)["findings"])
    empty = folder.parent / "empty"
    empty.mkdir()
    assert run("verify", str(empty)) == (
        0,
        "There are no results here, and nothing in the ledger: nothing was checked.\n",
    )
