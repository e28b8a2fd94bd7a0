"""``mien leaderboard`` and ``mien report``: what they print, what they refuse, when the committed tables are stale."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("jinja2")

from mien.cli import application
from mien.errors import InputError
from mien.site import recorded_speeds, stale_tables

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(application(), [*map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.output


def test_the_pages_are_built(results_folder: Path, tmp_path: Path) -> None:
    code, said = run("leaderboard", "--out", tmp_path / "site", "--results", results_folder, "--json")
    assert code == 0
    built = json.loads(said)
    assert built["pages"] > 40
    assert (tmp_path / "site" / "index.html").is_file()


def test_one_thing_at_a_time() -> None:
    with pytest.raises(InputError, match="--out FOLDER"):
        run("leaderboard")
    with pytest.raises(InputError, match="--out FOLDER"):
        run("leaderboard", "--check", "--tables")


def test_stale_tables_are_found_and_written(results_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copytree(results_folder, tmp_path / "results")
    code, said = run("leaderboard", "--check", "--root", tmp_path)
    assert code == 1
    assert "docs/leaderboard.md is stale" in said
    assert not (tmp_path / "docs" / "leaderboard.md").exists(), "a check writes nothing"
    assert run("leaderboard", "--tables", "--root", tmp_path)[0] == 0
    assert run("leaderboard", "--check", "--root", tmp_path) == (0, "")
    table = tmp_path / "docs" / "leaderboard.csv"
    table.write_text(table.read_text().replace("82.47", "99.99"))
    assert json.loads(run("leaderboard", "--check", "--root", tmp_path, "--json")[1]) == [
        {"file": "docs/leaderboard.csv"}
    ]


def test_the_committed_tables_are_fresh() -> None:
    tables = [name for name in stale_tables(ROOT) if name.startswith(("docs/leaderboard", "src/"))]
    assert tables == [], "run `mien leaderboard --tables`"


def test_outside_a_repository_the_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--root"):
        stale_tables(tmp_path)


def test_a_report_is_written(results_folder: Path, tmp_path: Path) -> None:
    path = next(results_folder.rglob("compact/*.json"))
    code, said = run("report", path, "--out", tmp_path / "r.html", "--results", results_folder, "--json")
    assert code == 0
    assert json.loads(said)["bytes"] == (tmp_path / "r.html").stat().st_size


def test_a_speed_counts_only_for_the_bundle_that_was_timed() -> None:
    assert recorded_speeds({"bundle": {"sha256": "another"}}, []) == []


def test_without_the_templates_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        "import mien.site\n"
        "try:\n    mien.site.build_site\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mien[site]" in done.stdout
