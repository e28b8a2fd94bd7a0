"""The page that recognises in the browser alone: the same answers as Python, no connection, usable by everybody."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import mien
from mien.errors import FetchError
from real_data import real_data

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.full
EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
ASK = "text => ask(new Blob([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))]))"
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mien.export import export_web
    from mien.recognition.default import default_bundle

    try:
        return export_web(default_bundle(), tmp_path_factory.mktemp("web")).path.parent
    except FetchError as error:
        pytest.skip(f"onnxruntime-web cannot be fetched from npm: {error}")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A plain static server; what it is asked for beyond the page is a fault."""
    asked: list[str] = []

    class Static(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Static, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
    assert set(asked) == {"/"}


@pytest.fixture
def open_web(chromium: Browser) -> Iterator[Open]:
    contexts: list[Any] = []
    said: list[str] = []

    def opened(where: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(where)
        page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == [], "the console stays empty"


def ask(page: Page, data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(ASK, base64.b64encode(data).decode())
    return found


def assert_same(found: dict[str, Any], data: bytes, what: str, within: float = 1e-3) -> None:
    expected = mien.Recognizer(threads=1).predict(data)
    assert (found["width"], found["height"]) == expected.size, what
    assert len(found["faces"]) == len(expected), what
    for face, row in zip(found["faces"], expected, strict=True):
        assert list(face["probabilities"]) == list(row.probabilities), what
        assert list(face["probabilities"].values()) == pytest.approx(list(row.probabilities.values()), abs=within), what
        assert face["box"] == pytest.approx(list(row.box), abs=0.05), what
        assert (face["label"], face["decided"]) == (row.label, row.decided), what


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_the_example_gets_the_same_answer_as_in_python(open_web: Open, address: str) -> None:
    page = open_web(address)
    data = EXAMPLE.read_bytes()
    assert_same(ask(page, data), data, "the example")
    portrait = Image.open(EXAMPLE)
    tall = Image.new("RGB", (200, 900), (90, 100, 110))
    tall.paste(portrait.resize((190, 190)), (5, 300))
    others = {
        "grey": encoded(portrait.convert("L"), "PNG"),
        "palette": encoded(portrait.quantize(200), "PNG"),
        "webp": encoded(portrait, "WEBP", lossless=True),
        "tiny": encoded(portrait.resize((40, 40)), "PNG"),
        "large": encoded(portrait.resize((3000, 3000)), "JPEG"),
        "tall": encoded(tall, "PNG"),
        "cut off": encoded(portrait.crop((190, 60, 330, 190)), "PNG"),
        "nothing": encoded(Image.new("RGB", (64, 64)), "PNG"),
    }
    for what, image in others.items():
        assert_same(ask(page, image), image, what)


def test_exif_turns_the_image_as_in_python(open_web: Open, address: str) -> None:
    page = open_web(address)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = encoded(Image.open(EXAMPLE).resize((300, 400)), "JPEG", exif=exif, quality=95)
        assert_same(ask(page, image), image, f"orientation {orientation}")


def test_what_is_transparent_lies_on_white(open_web: Open, address: str) -> None:
    page = open_web(address)
    image = Image.open(EXAMPLE).convert("RGBA")
    ramp = np.linspace(120, 255, image.width).astype(np.uint8)
    image.putalpha(Image.fromarray(np.tile(ramp, (image.height, 1))))
    data = encoded(image, "PNG")
    assert_same(ask(page, data), data, "alpha", within=0.02)  # browsers blend with a rounding of their own


def test_photographs_get_the_same_answers_as_in_python(open_web: Open, address: str) -> None:
    found = sorted(real_data("photos").glob("*.jpg"))
    assert found
    page = open_web(address)
    for photo in found:
        assert_same(ask(page, photo.read_bytes()), photo.read_bytes(), photo.name)


def test_it_opens_from_the_disk_and_shows_what_was_chosen(open_web: Open, folder: Path) -> None:
    page = open_web((folder / "index.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "first choose"
    with page.expect_file_chooser() as chooser:
        page.click(".choose")
    chooser.value.set_files(str(EXAMPLE))
    page.wait_for_selector(".face")
    assert page.inner_text(".face b") == "happy"
    assert page.inner_text("#note").startswith("1 face in ")
    assert page.is_visible("#picture")
    assert page.is_visible("#again")
    page.set_input_files("#file", {"name": "x.txt", "mimeType": "text/plain", "buffer": b"no image"})
    page.wait_for_selector("#note.warn")
    assert page.inner_text("#note").startswith("This is no image")
    drop = """text => { const files = new DataTransfer();
        files.items.add(new File([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))], "dropped.jpg"));
        document.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true })); }"""
    page.evaluate(drop, base64.b64encode(EXAMPLE.read_bytes()).decode())
    page.wait_for_selector(".face")


def test_no_connection_can_be_made_from_it(chromium: Browser, address: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    reached: list[str] = []
    page.on("requestfinished", lambda request: reached.append(request.url))
    page.goto(address)
    for script in (
        f"fetch('{address}index.html?secret').then(() => 'sent', () => 'refused')",
        "fetch('https://example.org/').then(() => 'sent', () => 'refused')",
        f"new Promise(done => {{ const image = new Image(); image.onload = () => done('sent');"
        f" image.onerror = () => done('refused'); image.src = '{address}secret.png'; }})",
    ):
        assert page.evaluate(script) == "refused"
    page.evaluate("navigator.sendBeacon('/secret', 'x')")  # says only that it was taken
    page.wait_for_timeout(300)
    assert [url for url in reached if not url.startswith("blob:")] == [address]
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(chromium: Browser, folder: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    context = chromium.new_context(color_scheme=scheme, bypass_csp=True)  # axe is put into the page as a script
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    page.set_input_files("#file", str(EXAMPLE))
    page.wait_for_selector(".face", timeout=60_000)
    page.click("summary")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    assert [f"{f['id']}: {f['help']}: {n['html'][:160]}" for f in found for n in f["nodes"][:3]] == []
    context.close()


def test_a_phone_shows_all_of_it(open_web: Open, address: str) -> None:
    page = open_web(address, width=360, height=740, scheme="dark")
    page.set_input_files("#file", str(EXAMPLE))
    page.wait_for_selector(".face")
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert (
        json.loads(page.evaluate("document.getElementById('mien-settings').textContent"))["card"]["name"] == "default"
    )
