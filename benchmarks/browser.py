"""A browser without a screen, and a film that it takes for its camera: for `service.py`, and for tests/browser."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

PORTRAIT = Path(__file__).resolve().parents[1] / "examples" / "astronaut.jpg"


@contextlib.contextmanager
def chromium(*options: str, camera: Path | None = None) -> Iterator[Any]:
    """The system's Chromium (Debian: package ``chromium``), or that of ``playwright install chromium``.

    A process can drive one playwright at a time.

    Args:
        *options: of the browser's command line.
        camera: what its camera shows, a film as of `film`; nobody is asked for leave.

    Raises:
        FileNotFoundError: there is none.
    """
    from playwright.sync_api import sync_playwright

    if camera is not None:
        options += ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
        options += (f"--use-file-for-fake-video-capture={camera}",)
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            raise FileNotFoundError(
                "no Chromium is installed: apt-get install chromium, or playwright install chromium"
            )
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *options])
        yield browser
        browser.close()


def film(path: Path, width: int, height: int) -> Path:
    """The portrait, as high as the picture, moves to the right for 30 frames: an ``.mjpeg``; returns its path."""
    with Image.open(PORTRAIT) as portrait:
        face = portrait.convert("RGB").resize((height, height))
    with path.open("wb") as out:
        for step in range(30):
            frame = Image.new("RGB", (width, height), (90, 100, 110))
            frame.paste(face, (width * 5 // 32 + step * width // 320, 0))
            jpeg = io.BytesIO()
            frame.save(jpeg, "JPEG", quality=90)
            out.write(jpeg.getvalue())
    return path
