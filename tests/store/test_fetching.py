from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import standin
from mien.cli import main
from mien.errors import FetchError, InputError, UnknownNameError
from mien.recognition import Recognizer
from mien.store import download as module
from mien.store.download import download
from mien.store.fetching import fetch, fetched, list_fetched
from mien.store.manifest import Entry, Manifest, packaged_manifest, read_manifest

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A server whose manners can be spoiled: what was asked for is kept in ``ranges``."""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        self.content = CONTENT
        self.supports_ranges = True
        self.cut: Callable[[int], int | None] = lambda request: None  # bytes after which the connection is closed
        self.status: Callable[[int], int | None] = lambda request: None
        self.slow = 0.0  # seconds for each 10,000 bytes
        self.wrong_range = False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number, asked = len(outer.ranges), self.headers.get("Range")
                outer.ranges.append(asked)
                if (status := outer.status(number)) is not None:
                    self.send_response(status)
                    if status == 302:
                        self.send_header("Location", "file:///etc/passwd")
                    self.end_headers()
                    return
                start = int(asked[6:-1]) if asked and outer.supports_ranges else 0
                if start >= len(outer.content):
                    self.send_error(416)
                    return
                body = outer.content[start:]
                self.send_response(206 if start else 200)
                if start:
                    said = start - 1 if outer.wrong_range else start
                    self.send_header("Content-Range", f"bytes {said}-{len(outer.content) - 1}/{len(outer.content)}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                end = outer.cut(number)
                try:
                    for at in range(0, len(body[:end]), 10_000):
                        self.wfile.write(body[:end][at : at + 10_000])
                        time.sleep(outer.slow)
                except OSError:
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/model.onnx"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


def take(server: Server, folder: Path, **changes: Any) -> Path:
    return download((server.url,), folder / "m.onnx", **{"sha256": SHA256, "bytes": len(CONTENT), **changes})


def test_a_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = take(server, tmp_path, progress=lambda *of: seen.append(of))
    assert path.read_bytes() == CONTENT
    assert (seen[0], seen[-1]) == ((0, 300_000), (300_000, 300_000))
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut = lambda request: 100_000 if request < 2 else None
    assert take(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_what_was_had_is_kept_for_the_next_run(server: Server, tmp_path: Path) -> None:
    server.cut = lambda request: 20_000
    with pytest.raises(FetchError, match=r"80,000 of 300,000 bytes are kept, the same command goes on"):
        take(server, tmp_path)
    assert not (tmp_path / "m.onnx").exists()
    server.cut = lambda request: None
    assert take(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=80000-"


@pytest.mark.parametrize("manner", ["supports_ranges", "wrong_range"])
def test_a_server_without_ranges_is_read_from_the_start(server: Server, tmp_path: Path, manner: str) -> None:
    setattr(server, manner, manner == "wrong_range")
    server.cut = lambda request: 100_000 if request == 0 else None
    assert take(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges[:2] == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(CONTENT[:-1] + b"x", "another file than the pinned one"), (CONTENT + b"x", "more than the 300,000 bytes")],
)
def test_another_file_is_refused_and_nothing_is_kept(server: Server, tmp_path: Path, content: bytes, said: str) -> None:
    server.content = content
    with pytest.raises(FetchError, match=said):
        take(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_stale_beginning_does_not_spoil_the_file_for_ever(server: Server, tmp_path: Path) -> None:
    part = tmp_path / f".m.onnx.{SHA256[:16]}.part"
    for stale in (b"x" * 1000, b"x" * 300_000, b"x" * 400_000):
        part.write_bytes(stale)
        try:
            path = take(server, tmp_path)
        except FetchError:  # the beginning was another file's; it is gone now
            path = take(server, tmp_path)
        assert path.read_bytes() == CONTENT


def test_the_next_address_is_tried(server: Server, tmp_path: Path) -> None:
    server.status = lambda request: 404 if request == 0 else None
    path = download((server.url, server.url), tmp_path / "m.onnx", sha256=SHA256, bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "requests", "said"), [(404, 1, "404"), (503, 4, "503"), (302, 1, "file")])
def test_refusals_are_named(server: Server, tmp_path: Path, status: int, requests: int, said: str) -> None:
    server.status = lambda request: status
    with pytest.raises(FetchError, match=said):
        take(server, tmp_path)
    assert len(server.ranges) == requests


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)
    for url in ("http://127.0.0.1:9/x.onnx", (tmp_path / "nowhere.onnx").as_uri()):
        with pytest.raises(FetchError, match="could not be fetched"):
            download((url,), tmp_path / "m.onnx", sha256=SHA256, bytes=9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_download_goes_on(server: Server, tmp_path: Path) -> None:
    server.slow = 0.01
    code = (
        "from mien.store.download import download; "
        f"download(({server.url!r},), {str(tmp_path / 'm.onnx')!r}, sha256={SHA256!r}, bytes={len(CONTENT)})"
    )
    part = tmp_path / f".m.onnx.{SHA256[:16]}.part"
    for had in (20_000, 150_000):
        with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "no_proxy": "127.0.0.1"}) as process:
            while process.poll() is None and (not part.exists() or part.stat().st_size < had):
                time.sleep(0.002)
            with pytest.raises(FetchError, match="another process is fetching"):
                take(server, tmp_path)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "m.onnx").exists()
    server.slow = 0
    assert take(server, tmp_path).read_bytes() == CONTENT
    assert all(asked is not None and int(re.findall(r"\d+", asked)[0]) >= 20_000 for asked in server.ranges[1:])


# The manifest and the cache folder


@pytest.fixture
def manifest(tmp_path: Path, bundle_path: Path) -> Path:
    """A manifest beside the bundle that it names by a relative address."""
    folder = tmp_path / "site"
    folder.mkdir()
    model = bundle_path.read_bytes()
    (folder / "strips.onnx").write_bytes(model)
    entry = {
        "name": "strips", "kind": "bundle", "urls": ["strips.onnx"], "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(), "licence": "MIT", "about": "a stand-in",
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"format": "mien-manifest@1", "files": [entry]}))
    return folder / "manifest.json"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_a_fetched_bundle_is_known_by_its_name_also_elsewhere(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"no bundle is called 'strips'.*mien fetch NAME --manifest"):
        Recognizer("strips", detector=None)
    assert run("fetch", "strips", "--manifest", manifest) == 0
    assert "fetched" in capsys.readouterr().err
    assert run("fetch", "strips", "--manifest", manifest, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["new"] is False
    with pytest.raises(InputError, match="'strips' is a bundle, not a detector"):
        fetched("strips", "detector")

    (tmp_path / "cache").rename(tmp_path / "stick")  # carried to another machine
    manifest.unlink()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "stick"))
    recognizer = Recognizer("strips", detector=None)
    assert recognizer.classify(standin.face("fear")[None]).labels == ["fear"]

    (tmp_path / "stick" / "models" / "strips.onnx").write_bytes(b"damaged")
    assert [item["intact"] for item in list_fetched()] == [False]
    with pytest.raises(FetchError, match="remove it and run: mien fetch strips"):
        Recognizer("strips")


def test_the_list_says_what_there_is(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    assert run("fetch", "--all", "--manifest", manifest, "--to", tmp_path / "stick") == 0
    assert run("fetch", "--json", "--to", tmp_path / "stick") == 0
    listed = {item["name"]: item["fetched"] for item in json.loads(capsys.readouterr().out)}
    assert listed == {"yunet": False, "strips": True}
    assert run("fetch") == 0
    assert "yunet" in capsys.readouterr().out
    assert run("fetch", "yunett") == 2
    assert "did you mean 'yunet'?" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_the_packaged_manifest_pins_everything() -> None:
    entries = list(packaged_manifest())
    assert [entry.name for entry in entries] == ["yunet"]
    assert all(url.startswith("https://") for entry in entries for url in entry.urls)
    assert all(entry.licence for entry in entries)


def test_a_manifest_may_lie_on_a_server(server: Server, manifest: Path) -> None:
    server.content = manifest.read_bytes()
    url = server.url.replace("model.onnx", "a/manifest.json")
    assert read_manifest(url)["strips"].urls == (url.replace("manifest.json", "strips.onnx"),)
    server.content = b" " * (2 << 20)
    with pytest.raises(FetchError, match="no manifest"):
        read_manifest(url)


GOOD = {"name": "a", "kind": "bundle", "urls": ["https://example.org/a"], "sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../a"}, "no name for a file"),
        ({"name": "A"}, "no name for a file"),
        ({"kind": "model"}, "bundle or detector"),
        ({"urls": ["ftp://example.org/a"]}, "https, http or file"),
        ({"urls": []}, "one or more"),
        ({"urls": "https://example.org"}, "an object with"),
        ({"sha256": "0" * 63}, "no hash"),
        ({"sha256": ""}, "no hash"),
        ({"bytes": 0}, "bytes lie"),
        ({"bytes": 1 << 40}, "bytes lie"),
        ({"size": 3}, "unknown fields: size"),
    ],
)
def test_a_careless_manifest_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Entry.from_json({**GOOD, **change})
    Entry.from_json(GOOD)


def test_broken_manifests_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    for text, said in (("{", "no JSON"), ("[]", "of the format"), ('{"format": "mien-manifest@1"}', "of the format")):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            read_manifest(path)
    with pytest.raises(FetchError, match="check the address"):
        read_manifest(tmp_path / "none.json")
    entry = Entry.from_json(GOOD)
    with pytest.raises(InputError, match="twice"):
        Manifest([entry, entry])
    with pytest.raises(UnknownNameError):
        Manifest([entry])["b"]
    with pytest.raises(FetchError):
        fetch(entry.from_json({**GOOD, "urls": [(tmp_path / "none").as_uri()]}), cache=tmp_path)
