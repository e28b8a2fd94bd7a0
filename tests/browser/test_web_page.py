"""The page that recognises in the browser alone: the same answers as Python, no connection, usable by everybody."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from windows import PORTRAIT, Open, barriers, windows

import mien
from mien.errors import FetchError
from real_data import real_data

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.full
ASK = "text => ask(new Blob([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))]))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mien.export import export_web
    from mien.recognition.bundles import default_bundle

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
    """Open the exported page wherever it lies, and wait until it can answer."""
    with windows(chromium) as opened:
        yield functools.partial(opened, until="html[data-ready]")


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
    data = PORTRAIT.read_bytes()
    assert_same(ask(page, data), data, "the example")
    portrait = Image.open(PORTRAIT)
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
        image = encoded(Image.open(PORTRAIT).resize((300, 400)), "JPEG", exif=exif, quality=95)
        assert_same(ask(page, image), image, f"orientation {orientation}")


def test_what_is_transparent_lies_on_white(open_web: Open, address: str) -> None:
    page = open_web(address)
    image = Image.open(PORTRAIT).convert("RGBA")
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
    chooser.value.set_files(str(PORTRAIT))
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
    page.evaluate(drop, base64.b64encode(PORTRAIT.read_bytes()).decode())
    page.wait_for_selector(".face")


HELD = """() => {
    const held = document.activeElement, styles = getComputedStyle(held), box = held.getBoundingClientRect();
    return { name: held === document.body ? "" : (held.getAttribute("aria-label") ?? held.innerText).split("\\n")[0],
        line: styles.outlineStyle === "none" ? 0 : parseFloat(styles.outlineWidth), colour: styles.outlineColor,
        paper: getComputedStyle(document.body).backgroundColor,
        seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight }; }"""


def held(page: Page) -> dict[str, Any]:
    """What has the focus, and how that is shown."""
    found: dict[str, Any] = page.evaluate(HELD)
    return found


def stops(page: Page) -> list[str]:
    """Where Tab leads from the beginning of the page until it leaves it; every place shows that it has the focus."""
    page.locator("body").evaluate("body => { body.tabIndex = -1; body.focus(); body.removeAttribute('tabindex'); }")
    found: list[str] = []
    for _ in range(20):
        page.keyboard.press("Tab")
        there = held(page)
        if not there["name"]:
            return found
        assert there["seen"], there
        assert there["line"] >= 2, there
        assert contrast(there["colour"], there["paper"]) >= 3, there
        found.append(there["name"])
    raise AssertionError(f"the focus never leaves the page: {found}")


def contrast(one: str, other: str) -> float:
    """Of two colours ``rgb(r, g, b)``, 1–21 (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        assert re.fullmatch(r"rgb\(\d+, \d+, \d+\)", colour), colour
        shares = [int(part) / 255 for part in re.findall(r"\d+", colour)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def eventually(page: Page, condition: str) -> None:
    """Asks again and again; `Page.wait_for_function` does so inside the page, whose policy forbids it."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


def chosen_by(page: Page, key: str, *files: Any) -> None:
    """A key opens the browser's window for files, and these are chosen in it."""
    with page.expect_file_chooser() as chooser:
        assert page.evaluate("document.hasFocus()")
        page.keyboard.press(key)
    chooser.value.set_files(*files)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_image_is_chosen_by_keyboard_alone(open_web: Open, address: str, scheme: str) -> None:
    page = open_web(address, scheme=scheme)
    assert stops(page) == ["Choose an image", "Camera", "About this page"]
    page.focus("#invite .choose")
    chosen_by(page, "Enter", str(PORTRAIT))
    page.wait_for_selector(".face")
    assert held(page)["name"] == "Another image", "the button that was pressed is gone; its successor is next"
    assert stops(page) == ["Another image", "Camera", "About this page"]
    page.focus("summary")
    for name in ("Camera", "Another image"):
        page.keyboard.press("Shift+Tab")
        assert held(page)["name"] == name
    chosen_by(page, "Space", {"name": "x.txt", "mimeType": "text/plain", "buffer": b"no image"})
    page.wait_for_selector("#note.warn")
    assert held(page)["name"] == "Choose an image"
    chosen_by(page, "Space", str(PORTRAIT))
    page.wait_for_selector(".face")


def test_the_rest_opens_scrolls_and_closes_by_keyboard(open_web: Open, address: str) -> None:
    page = open_web(address, height=500)
    crowd = Image.new("RGB", (1200, 400), (90, 100, 110))
    for left in (0, 400, 800):
        crowd.paste(Image.open(PORTRAIT).resize((400, 400)), (left, 0))
    page.focus("#invite .choose")
    chosen_by(page, "Enter", {"name": "crowd.png", "mimeType": "image/png", "buffer": encoded(crowd, "PNG")})
    page.wait_for_selector(".face >> nth=2")
    assert stops(page) == ["Another image", "Camera", "Faces", "About this page"]
    page.focus("summary")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("End")
    eventually(page, "document.getElementById('faces').scrollTop > 0")
    page.keyboard.press("Tab")
    for key, opened in (("Space", True), ("Enter", False), ("Enter", True)):
        page.keyboard.press(key)
        assert page.locator("details").evaluate("details => details.open") is opened
    page.keyboard.press("Tab")
    assert "onnxruntime-web" in held(page)["name"], "the licences"
    assert held(page)["line"] >= 2


def test_the_camera_is_started_and_stopped_by_keyboard(open_web: Open, address: str) -> None:
    page = open_web(address)
    page.focus("#camera")
    for start, stop in (("Space", "Escape"), ("Enter", "Enter"), ("Enter", "Space")):
        page.keyboard.press(start)
        page.wait_for_selector("#camera[aria-pressed=true]")
        assert held(page)["name"] == "Stop the camera"
        eventually(page, "Number(document.getElementById('picture').dataset.rate) > 0")
        page.wait_for_selector(".face")
        page.keyboard.press(stop)
        page.wait_for_selector("#camera[aria-pressed=false]")
        assert held(page)["name"] == "Camera"
        assert page.evaluate(
            "document.getElementById('video').srcObject.getTracks().every(t => t.readyState === 'ended')"
        )


def test_an_image_is_pasted_by_keyboard(open_web: Open, address: str) -> None:
    page = open_web(address, permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """text => navigator.clipboard.write([new ClipboardItem({ "image/png":
            new Blob([Uint8Array.from(atob(text), letter => letter.charCodeAt(0))], { type: "image/png" }) })])""",
        base64.b64encode(encoded(Image.open(PORTRAIT), "PNG")).decode(),
    )
    page.keyboard.press("Control+V")
    page.wait_for_selector(".face")
    assert page.inner_text(".face b") == "happy"


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
    context = chromium.new_context(color_scheme=scheme, bypass_csp=True)  # axe is put into the page as a script
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    page.set_input_files("#file", str(PORTRAIT))
    page.wait_for_selector(".face", timeout=60_000)
    page.click("summary")
    assert barriers(page) == []
    context.close()


def test_a_phone_shows_all_of_it(open_web: Open, address: str) -> None:
    page = open_web(address, width=360, height=740, scheme="dark")
    page.set_input_files("#file", str(PORTRAIT))
    page.wait_for_selector(".face")
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert (
        json.loads(page.evaluate("document.getElementById('mien-settings').textContent"))["card"]["name"] == "default"
    )
