"""The service's pages in a real browser: an image dropped in, a camera that shows the portrait."""

from __future__ import annotations

import http.server
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from windows import PORTRAIT, Open, windows

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mien", "serve", "--port", str(port)]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://localhost:{port}/readyz", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError("the service did not get ready")
        yield f"http://localhost:{port}"
    finally:
        service.send_signal(signal.SIGTERM)
        _, log = service.communicate(timeout=30)
    assert '"status": 500' not in log


@pytest.fixture
def open_page(chromium: Browser, address: str) -> Iterator[Open]:
    """Open a page of the service. Chromium notes every answer that is an error; the pages show those themselves."""
    with windows(chromium, expected=["Failed to load resource"]) as opened:
        yield lambda path, **options: opened(address + path, **options)


def test_an_image_is_recognised_and_shown(open_page: Open) -> None:
    page = open_page("/")
    assert not page.is_visible("#picture")
    page.set_input_files("#file", str(PORTRAIT))
    page.wait_for_selector(".face")
    assert page.inner_text(".face b") == "happy"
    assert page.locator(".face dt").count() == 7
    assert re.match(r"1 face in \d+ ms", page.inner_text("#note"))
    assert page.is_visible("#picture")
    page.set_input_files("#file", {"name": "x.txt", "mimeType": "text/plain", "buffer": b"no image"})
    page.wait_for_selector("#note.warn")


@pytest.mark.parametrize("width", [375, 1280])
def test_labels_are_readable_and_on_none_lies_another(open_page: Open, tmp_path: Path, width: int) -> None:
    crowd = Image.new("RGB", (1500, 900))
    face = Image.open(PORTRAIT).convert("RGB").resize((150, 150))
    for row in range(6):
        for column in range(10):
            crowd.paste(face, (150 * column, 150 * row))
    crowd.save(tmp_path / "crowd.png")
    page = open_page("/", width=width, height=800)
    page.evaluate("""() => {
        window.drawn = [];
        const fillText = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
            const size = parseFloat(this.font.match(/([0-9.]+)px/)[1]);
            const wide = this.measureText(text).width;
            drawn.push({ x, y, wide, size, seen: (size * this.canvas.clientWidth) / this.canvas.width });
            fillText.call(this, text, x, y);
        };
    }""")
    page.set_input_files("#file", str(tmp_path / "crowd.png"))
    page.wait_for_selector(".face", timeout=60_000)
    drawn = page.evaluate("drawn")
    assert len(drawn) >= 5
    assert min(label["seen"] for label in drawn) >= 11.9
    for number, one in enumerate(drawn):
        for other in drawn[:number]:
            across = (
                abs(one["x"] + one["wide"] / 2 - other["x"] - other["wide"] / 2) >= (one["wide"] + other["wide"]) / 2
            )
            assert across or abs(one["y"] - other["y"]) >= one["size"], (one, other)


def test_a_camera_without_a_face_says_so(open_page: Open) -> None:
    page = open_page("/live")
    page.evaluate("drawFaces = () => {}")  # the page as it is when the service finds none
    assert not page.is_visible("#none")
    page.evaluate("""() => { canvas.hidden = id("history").hidden = false; sent.width = seen.width = 64;
        sent.height = seen.height = 48; send = () => {}; receive({ faces: [] }); }""")
    assert page.inner_text("#none") == "No face in the picture"


def test_the_camera_is_followed_without_queueing(open_page: Open) -> None:
    sent: list[int] = []
    page = open_page("/live")
    page.on("websocket", lambda socket: socket.on("framesent", lambda payload: sent.append(len(payload))))
    page.click("#start")
    page.wait_for_selector(".face", timeout=30_000)
    assert page.inner_text(".face b") == "happy"
    for _ in range(100):
        if float(page.get_attribute("#picture", "data-rate") or 0) > 1:
            break
        page.wait_for_timeout(200)
    else:
        raise AssertionError("no more than one frame per second")
    assert page.get_attribute("#picture", "data-faces") == "1"
    page.click("#pause")
    page.wait_for_timeout(700)
    count = len(sent)
    page.wait_for_timeout(700)
    assert len(sent) == count > 2
    page.click("#pause")
    page.wait_for_timeout(1500)
    assert len(sent) > count
    with page.expect_download() as download:
        page.click("#snapshot")
    with Image.open(download.value.path()) as snapshot:
        assert snapshot.size == (640, 480)
    page.click("#mirror")
    assert page.get_attribute("#mirror", "aria-pressed") == "false"


def test_pages_fit_a_phone(open_page: Open) -> None:
    for path in ("/", "/live", "/docs"):
        page = open_page(path, width=360, height=740, scheme="dark")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path


def test_another_page_cannot_use_the_camera_road(chromium: Browser, address: str) -> None:
    class Blank(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"http://localhost:{elsewhere.server_port}/")
        script = f"""new Promise(done => {{ const s = new WebSocket("{address.replace("http", "ws")}/v1/live");
            s.onclose = event => done(event.code); setTimeout(() => done(0), 9000); }})"""
        assert page.evaluate(script) == 4401
        context.close()
        elsewhere.shutdown()
