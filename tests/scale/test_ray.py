"""With Ray and a real S3-compatible server, both on this machine. Long: only `make test-full` runs them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import standin

ray = pytest.importorskip("ray", reason="Ray is not installed; make test-full installs it (extra scale)")
parquet = pytest.importorskip("pyarrow.parquet")

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for workers in /proc"),
]

COUNT = 160
SECRET = "hunter2-secret-access-key"


@dataclass(frozen=True)
class Photos:
    folder: Path
    bundle: Path
    one: Path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, bundle_path: Path) -> Photos:
    """Faces, a file that is no image and one that is cut off, and the table of one process."""
    base = tmp_path_factory.mktemp("many")
    folder = base / "photos"
    for number in range(COUNT):
        path = folder / "ab"[number % 2] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(standin.photograph(["sad", "happy"][: 1 + number % 2])[0]).save(path)
    (folder / "a" / "0006.png").write_text("no image")
    cut = folder / "b" / "0011.png"
    cut.write_bytes(cut.read_bytes()[:200])
    one = base / "one.parquet"
    done = mien("predict", folder, "-r", "--model", bundle_path, "--crops", "--out", one)
    assert done.returncode == 2, done.stderr
    return Photos(folder, bundle_path, one)


def mien(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    with started(*arguments, **environment) as process:
        out, err = process.communicate(timeout=540)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mien", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def rows(table: str | Path, prefix: str = "") -> list[dict[str, object]]:
    """In the order of the files; a message may name its file by another address."""
    found = parquet.read_table(table).to_pylist()
    for row in found:
        row["message"] = row["message"] and row["message"].replace(row["file"], "")
        row["file"] = str(row["file"]).removeprefix(prefix)
    return sorted(found, key=lambda row: (row["file"], row["face"] or 0))


def workers(mark: str) -> list[int]:
    """Processes of ours that recognise: the environment is inherited, so no other job of the machine is meant."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"MapWorker" in (folder / "cmdline").read_bytes() and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def wait_for(what: str, condition: object, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, f"{process.communicate()} before {what}"
        assert time.monotonic() < until, what
        time.sleep(0.02)


def test_no_row_is_lost_or_doubled_when_workers_and_the_job_itself_are_killed(photos: Photos, tmp_path: Path) -> None:
    out, mark = tmp_path / "many.parquet", uuid.uuid4().hex
    command = ["predict", photos.folder, "--model", photos.bundle, "--crops", "--engine", "ray", "--workers", "2"]
    environment = {"MIEN_TEST_MARK": mark}

    def parts() -> int:
        return len(list(out.glob("part-*.parquet")))

    # A worker in the middle.
    process = started(*command, "--out", out, **environment)
    wait_for("the first part", lambda: parts() >= 1, process)
    victims = workers(mark)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    wait_for("a part after it", lambda: parts() >= 4, process)
    # The job itself, as a power cut would.
    killed = parts() < COUNT // 16
    process.kill()
    process.communicate()
    assert killed, "it was done before it could be killed"
    wait_for_none(mark)
    kept = parts()
    again = mien(*command, "--out", out, "--json", **environment)
    assert again.returncode == 2, again.stderr  # two files are no images
    assert again.stderr == ""
    summary = json.loads(again.stdout)
    assert (summary["files"], summary["errors"]) == (COUNT, 2)
    assert 0 < summary["resumed"] < COUNT
    assert summary["resumed"] >= 16 * kept - 16
    assert rows(out) == rows(photos.one)
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith("part-")) == ["_SUCCESS", "_mien"]
    wait_for_none(mark)


def wait_for_none(mark: str) -> None:
    until = time.monotonic() + 60
    while workers(mark):
        assert time.monotonic() < until, "workers outlive their job"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's S3 server; gives its address."""
    pytest.importorskip("moto", reason="moto is not installed; make test-full installs it (extra test-scale)")
    pytest.importorskip("s3fs", reason="s3fs is not installed; make test-full installs it (extra scale)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/"):
                    break
                assert process.poll() is None
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def login(server: str, key: str = "AKIAEXAMPLE") -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@pytest.fixture(scope="module")
def bucket(server: str, photos: Photos) -> str:
    """The same photographs as objects."""
    import s3fs

    store = s3fs.S3FileSystem(key="AKIAEXAMPLE", secret=SECRET, endpoint_url=server)
    store.mkdir("faces")
    store.put(str(photos.folder), "faces/photos", recursive=True)
    return server


def test_object_store_in_and_out(bucket: str, photos: Photos, tmp_path: Path) -> None:
    import s3fs

    command = ["predict", "s3://faces/photos", "--model", photos.bundle, "--crops", "--engine", "ray", "--workers", "2"]
    command += ["--out", "s3://faces/out/many.parquet"]
    done = mien(*command, **login(bucket))
    assert done.returncode == 2, done.stderr
    assert f"in {COUNT} files; 2 could not be read" in done.stderr
    store = s3fs.S3FileSystem(key="AKIAEXAMPLE", secret=SECRET, endpoint_url=bucket)
    store.get("faces/out/many.parquet", str(tmp_path / "back.parquet"), recursive=True)
    assert rows(tmp_path / "back.parquet", "s3://faces/photos/") == rows(photos.one, f"{photos.folder}/")
    for path in (tmp_path / "back.parquet").rglob("*"):  # no credentials anywhere in what was written
        assert path.is_dir() or (SECRET.encode() not in path.read_bytes() and b"AKIA" not in path.read_bytes())
    # A lost part is the only thing that is done again.
    lost = next(name for name in store.ls("faces/out/many.parquet") if "part-" in name)
    store.rm_file(lost)
    store.rm_file("faces/out/many.parquet/_SUCCESS")
    again = mien(*command, "--json", **login(bucket))
    assert json.loads(again.stdout)["resumed"] == COUNT - 16
    # Finished: nothing is done.
    assert json.loads(mien(*command, "--json", **login(bucket)).stdout)["resumed"] == COUNT


def look_at_keys(server: str, *, after: int) -> None:
    """The server looks at keys after so many requests. As text: of a form it would read no body."""
    address, kind = f"{server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(address, data=str(after).encode(), headers=kind, method="POST"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("bucket", "there is no bucket s3://nowhere; check its name"),
        ("folder", "there is nothing at s3://faces/none; check the address"),
        ("out", "there is no bucket s3://nowhere; check its name"),
        ("login", "there are no credentials for s3://faces; check AWS_ACCESS_KEY_ID"),
        ("server", "s3://faces cannot be reached"),
        ("key", "s3://faces does not accept the credentials (InvalidAccessKeyId)"),
    ],
)
def test_what_is_wrong_with_a_store_is_one_sentence(wrong: str, said: str, bucket: str, photos: Photos) -> None:
    source = {"bucket": "s3://nowhere/photos", "folder": "s3://faces/none"}.get(wrong, "s3://faces/photos")
    out = "s3://nowhere/t.parquet" if wrong == "out" else f"s3://faces/{wrong}.parquet"
    environment = login(bucket)
    if wrong == "login":
        environment = {**environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    if wrong == "server":
        environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    if wrong == "key":  # from now on the server looks at keys
        look_at_keys(bucket, after=0)
    try:
        done = mien(
            "predict", source, "--model", photos.bundle, "--crops", "--engine", "ray", "--out", out, **environment
        )
    finally:
        if wrong == "key":
            look_at_keys(bucket, after=100_000_000)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert SECRET not in done.stderr
    assert "AKIA" not in done.stderr
