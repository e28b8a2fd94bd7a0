"""Searches from several machines, on one PostgreSQL server that the test starts: nothing is lost, nothing is told."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import postgres_server
import pytest

pytest.importorskip("optuna")
pytest.importorskip("psycopg")

WORKER = Path(__file__).with_name("searching.py")


@pytest.fixture
def server() -> Iterator[postgres_server.Server]:
    server = postgres_server.Server()
    try:
        server.start()
        yield server
    finally:
        server.close()


class Machine:
    """A worker with a folder of its own, as on another machine."""

    def __init__(self, out: Path, storage: str, trials: int, pause: float = 0, *options: str) -> None:
        self.out = out
        self.log = out.with_suffix(".log")
        words = [sys.executable, str(WORKER), str(out), storage, str(trials), str(pause), *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log)

    @property
    def said(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def wait_for_epoch(self) -> None:
        line = self.said.readline()
        assert line.startswith(b"epoch"), (line, self.log.read_text())

    def end(self, seconds: float = 240) -> str:
        out, _ = self.process.communicate(timeout=seconds)
        return out.decode() + self.log.read_text()

    def search(self) -> dict[str, Any]:
        [path] = self.out.glob("*/search.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def made(search: dict[str, Any]) -> list[dict[str, Any]]:
    return [trial for trial in search["trials"] if trial["state"] == "complete"]


def alone(tmp_path: Path, trials: int) -> dict[str, Any]:
    """What one worker would have made that nobody disturbs."""
    machine = Machine(tmp_path / "alone", "", trials)
    assert "made" in machine.end()
    return machine.search()


def drawn(search: dict[str, Any]) -> list[str]:
    return sorted(json.dumps([trial["params"], trial["value"]]) for trial in made(search))


@pytest.mark.full
def test_a_killed_machine_loses_nothing(server: postgres_server.Server, tmp_path: Path) -> None:
    machines = [
        Machine(tmp_path / f"m{number}", server.url, 5, 0.4) for number in range(3)
    ]  # all at once, empty tables
    victim = machines[0]
    victim.wait_for_epoch()
    victim.process.kill()
    victim.process.communicate()
    for machine in machines[1:]:
        said = machine.end()
        assert "made" in said, said
        assert postgres_server.PASSWORD not in said
        assert postgres_server.QUOTED not in said
    one, two = (machine.search() for machine in machines[1:])
    assert one == two, "they tell the same story"
    assert len(made(one)) == 5, "not one too many, not one too few"
    [lost] = [trial for trial in one["trials"] if trial["state"] == "fail"]
    again = [trial["params"] for trial in made(one)]
    assert lost["params"] in again, "its trial was made again"
    assert drawn(one) == drawn(alone(tmp_path, 5)), "and all are what one machine would have drawn"
    assert len({json.dumps(params) for params in again}) == 5, "no machine draws what another one drew"
    assert one["storage"] == f"postgresql://me@127.0.0.1:{server.port}/postgres"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert postgres_server.PASSWORD.encode() not in data, path
            assert postgres_server.QUOTED.encode() not in data, path


@pytest.mark.full
def test_a_server_that_crashes_and_comes_back_loses_nothing(server: postgres_server.Server, tmp_path: Path) -> None:
    machines = [Machine(tmp_path / f"m{number}", server.url, 6, 0.3) for number in range(2)]
    for machine in machines:
        machine.wait_for_epoch()
    for _ in range(2):
        server.stop("immediate")
        time.sleep(6)  # longer than it takes to be thought dead
        server.start()
        time.sleep(1)
    for machine in machines:
        said = machine.end()
        assert "made" in said, said
        assert "Traceback" not in said
    one, two = (machine.search() for machine in machines)
    assert one == two
    assert [trial["state"] for trial in one["trials"]] == ["complete"] * 6, "nobody was thought dead meanwhile"
    assert drawn(one) == drawn(alone(tmp_path, 6))


@pytest.mark.full
def test_a_server_that_stays_away_ends_the_search_in_one_sentence(
    server: postgres_server.Server, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "m", server.url, 3, 0.2, "away=3")
    machine.wait_for_epoch()
    server.stop("fast")
    said = machine.end()
    assert machine.process.returncode == 1
    told = [line for line in said.splitlines() if not line.startswith("epoch")]
    assert len(told) == 1, said
    assert f"the storage postgresql://me@127.0.0.1:{server.port}/postgres has not answered for 3 seconds (" in told[0]
    assert "the same command goes on with the study, nothing is lost" in told[0]
    server.start()
    again = Machine(tmp_path / "m", server.url, 3)
    assert "made" in again.end()
    assert len(made(again.search())) == 3
    assert drawn(again.search()) == drawn(alone(tmp_path, 3))


@pytest.mark.full
def test_a_wrong_password_is_told_at_once_and_not_repeated(server: postgres_server.Server, tmp_path: Path) -> None:
    said = Machine(tmp_path / "m", server.url.replace(postgres_server.QUOTED, "wr0ng%40pass"), 3).end()
    assert "mien: the storage postgresql://me@127.0.0.1" in said
    assert "authentication failed" in said
    assert "Traceback" not in said
    assert "wr0ng" not in said
