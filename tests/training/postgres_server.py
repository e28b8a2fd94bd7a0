"""A PostgreSQL server of a test's own: made by initdb in a temporary folder, on a free port of loopback."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "s3cret/w{th}%odd@letters"
QUOTED = "s3cret%2Fw%7Bth%7D%25odd%40letters"


class Server:
    """A server that can be stopped hard and started again.

    Raises:
        pytest.skip: there is no PostgreSQL here, or nobody whom it would run as.
    """

    def __init__(self) -> None:
        self.bin = _programs()
        self.user = _user()
        self.folder = Path(tempfile.mkdtemp(prefix="mien-pg-", dir="/tmp"))
        self.port = _free_port()
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self.user:
            for path in (self.folder, password):
                shutil.chown(path, self.user)
        self._call("initdb", "-D", self.data, "-U", "me", "--auth=scram-sha-256", f"--pwfile={password}", "-N")
        with (self.folder / "data" / "postgresql.conf").open("a") as conf:
            # What a server of a real search has, and what it would never have: speed instead of safety.
            conf.write(f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{self.folder}'\n")
            conf.write("fsync=on\nshared_buffers=16MB\nmax_connections=40\n")

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    @property
    def url(self) -> str:
        return f"postgresql://me:{QUOTED}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        self._call("pg_ctl", "-D", self.data, "-w", "-t", "60", "-l", str(self.folder / "log"), "start")

    def stop(self, how: str = "immediate") -> None:
        """``immediate`` is what a crash is: nobody is told, and the next start recovers."""
        self._call("pg_ctl", "-D", self.data, "-w", "-m", how, "stop")

    def close(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, program: str, *words: str) -> None:
        extra: dict[str, Any] = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid} if self.user else {}
        done = subprocess.run(
            [self.bin / program, *words],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,  # pg_ctl hands its output to the server, which would keep a pipe open
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=120,
            **extra,
        )
        log = self.folder / "log"
        assert done.returncode == 0, f"{program}: {log.read_text() if log.exists() else done.returncode}"


def _programs() -> Path:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: [int(n) for n in re.findall(r"\d+", str(p))]
    )
    found += [Path(path).parent for path in (shutil.which("initdb"),) if path]
    for folder in reversed(found):
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    pytest.skip("there is no PostgreSQL server here (Debian: apt-get install postgresql); make test-full installs it")


def _user() -> str | None:
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
