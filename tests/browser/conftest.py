"""A real browser, without a window and without a network. Tests are skipped, saying so, where there is none."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from windows import Open, launched, windows

import invented_results

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PORTRAIT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of the portrait, which the browser takes for its camera: 640 × 480."""
    path = tmp_path_factory.mktemp("camera") / "portrait.mjpeg"
    face = Image.open(PORTRAIT).convert("RGB").resize((480, 480))
    with path.open("wb") as out:
        for step in range(30):
            frame = Image.new("RGB", (640, 480), (90, 100, 110))
            frame.paste(face, (60 + 2 * step, 0))
            jpeg = io.BytesIO()
            frame.save(jpeg, "JPEG", quality=90)
            out.write(jpeg.getvalue())
    return path


@pytest.fixture(scope="module")
def chromium(camera: Path) -> Iterator[Browser]:
    """A browser for the tests of one module, since other modules may start their own."""
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with launched(*options, f"--use-file-for-fake-video-capture={camera}") as browser:
        yield browser


@pytest.fixture(scope="session")
def pages_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from invented results and a submission whose title is HTML."""
    pytest.importorskip("jinja2")
    from mien.site import build_site

    results = invented_results.board(tmp_path_factory.mktemp("results"))
    invented_results.submit(results)
    return build_site(tmp_path_factory.mktemp("pages") / "site", results).folder


@pytest.fixture
def open_page(chromium: Browser, pages_folder: Path) -> Iterator[Open]:
    """Open a page of the site from the disk."""
    with windows(chromium) as opened:

        def page_of_the_site(name: str = "index.html", **options: object) -> Page:
            address, _, anchor = name.partition("#")
            where = (pages_folder / address).as_uri() + (f"#{anchor}" if anchor else "")
            return opened(where, accept_downloads=True, offline=True, **options)

        yield page_of_the_site
