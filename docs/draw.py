"""The pictures of README and guides, drawn by the default bundle; each says in its EXIF which bundle that was.

python docs/draw.py            # the annotated portrait of the README
python docs/draw.py --pages    # the web page and the live page, too: needs Chromium, and onnxruntime-web from npm
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import mien
from mien.recognition import bundles, drawing

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[1]
PORTRAIT = ROOT / "examples" / "astronaut.jpg"
WIDTH = 1000
_DESCRIPTION = 0x010E  # EXIF: ImageDescription


def main(wanted: list[str]) -> None:
    """Draw what is wanted."""
    if wanted not in ([], ["--pages"]):
        raise SystemExit(f"unknown: {' '.join(wanted)}; {__doc__}")
    keep(drawing.draw(mien.Recognizer().predict(PORTRAIT)), ROOT / "examples" / "astronaut.faces.webp")
    if wanted:
        pages(ROOT / "docs" / "pictures")


def pages(folder: Path) -> None:
    """What a browser shows of the exported page and of ``mien live``."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from browser import chromium, film
    from mien.export import export_web

    with tempfile.TemporaryDirectory() as scratch:
        alone = export_web(bundles.default_bundle(), Path(scratch) / "web").path
        with chromium(camera=film(Path(scratch) / "portrait.mjpeg", 1280, 720)) as browser:
            page = browser.new_page(viewport={"width": WIDTH, "height": 673}, color_scheme="light")
            page.goto(alone.as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            for _ in range(2):  # the first image waits for the networks
                page.set_input_files("input[type=file]", str(PORTRAIT))
                page.wait_for_timeout(3_000)
            page.wait_for_selector(".face")
            shot(page, folder / "web.webp")
            command = [sys.executable, "-m", "mien", "live", "--no-browser"]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
                try:
                    page = browser.new_page(viewport={"width": WIDTH, "height": 735}, color_scheme="dark")
                    page.goto(address(service))
                    page.click("#start")
                    page.wait_for_selector(".face")
                    page.evaluate("for (const one of document.querySelectorAll('option')) one.text = 'Built-in camera'")
                    page.wait_for_timeout(15_000)  # fills the strip of the last seconds
                    shot(page, folder / "live.webp")
                finally:
                    service.terminate()


def address(service: subprocess.Popen[str]) -> str:
    """Where the live page is, as the service says when it begins to listen."""
    assert service.stderr is not None
    for line in service.stderr:
        if found := re.search(r"http://[\w.]+:\d+\S*", line):
            return found[0]
    raise SystemExit("the service ended before it said where it listens")


def shot(page: Page, path: Path) -> None:
    """Keep what the window shows."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        keep(picture.convert("RGB"), path)


def keep(picture: Image.Image, path: Path) -> None:
    """Write a WebP, because the repository stays small, that says which bundle it shows."""
    exif = Image.Exif()
    exif[_DESCRIPTION] = shown()
    picture.save(path, quality=42, method=6, exif=exif)
    print(path.relative_to(ROOT), f"{path.stat().st_size / 1000:.0f} kB")


def shown() -> str:
    """What a picture that the default bundle has drawn says of itself."""
    return f"default bundle {bundles.default_bundle().card.sha256}"


def find_stale() -> list[Path]:
    """The pictures that another bundle has drawn."""
    pictures = [ROOT / "examples" / "astronaut.faces.webp", *sorted((ROOT / "docs" / "pictures").glob("*.webp"))]
    return [path for path in pictures if said_by(path) != shown()]


def said_by(path: Path) -> object:
    """The description in the EXIF of a picture; None where there is none."""
    with Image.open(path) as picture:
        return picture.getexif().get(_DESCRIPTION)


if __name__ == "__main__":
    main(sys.argv[1:])
