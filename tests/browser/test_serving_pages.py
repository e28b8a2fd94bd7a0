"""The service's pages in a real browser: an image dropped in, a camera that shows the portrait."""

from __future__ import annotations

import http.server
import io
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PORTRAIT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; `apt-get install chromium` has it"),
]


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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    camera = tmp_path_factory.mktemp("camera") / "portrait.mjpeg"
    face = Image.open(PORTRAIT).convert("RGB").resize((480, 480))
    with camera.open("wb") as out:
        for step in range(30):
            frame = Image.new("RGB", (640, 480), (90, 100, 110))
            frame.paste(face, (60 + 2 * step, 0))
            jpeg = io.BytesIO()
            frame.save(jpeg, "JPEG", quality=90)
            out.write(jpeg.getvalue())
    options = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options.append(f"--use-file-for-fake-video-capture={camera}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: object) -> Iterator[object]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})  # type: ignore[attr-defined]
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    # Chromium also notes every answer that is an error; the pages show those themselves.
    page.on("pageerror", lambda error: told.append(str(error)))
    yield page
    context.close()
    assert [text for text in told if "Failed to load resource" not in text] == []


def test_an_image_is_recognised_and_shown(page, address: str) -> None:  # type: ignore[no-untyped-def]
    page.goto(address)
    assert not page.is_visible("#picture")
    page.set_input_files("#file", str(PORTRAIT))
    page.wait_for_selector(".face")
    assert page.inner_text(".face b") == "happy"
    assert page.locator(".face dt").count() == 7
    assert re.match(r"1 face in \d+ ms", page.inner_text("#note"))
    assert page.is_visible("#picture")
    page.set_input_files("#file", {"name": "x.txt", "mimeType": "text/plain", "buffer": b"no image"})
    page.wait_for_selector("#note.warn")


def test_the_camera_is_followed_without_queueing(page, address: str) -> None:  # type: ignore[no-untyped-def]
    sent: list[int] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda payload: sent.append(len(payload))))
    page.goto(f"{address}/live")
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


def test_pages_fit_a_phone(browser, address: str) -> None:  # type: ignore[no-untyped-def]
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = context.new_page()
    for path in ("/", "/live", "/docs"):
        page.goto(address + path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    context.close()


def test_another_page_cannot_use_the_camera_road(browser, address: str) -> None:  # type: ignore[no-untyped-def]
    class Blank(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://localhost:{elsewhere.server_port}/")
        script = f"""new Promise(done => {{ const s = new WebSocket("{address.replace("http", "ws")}/v1/live");
            s.onclose = event => done(event.code); setTimeout(() => done(0), 9000); }})"""
        assert page.evaluate(script) == 4401
        context.close()
        elsewhere.shutdown()
