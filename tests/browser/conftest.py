"""A real browser, without a window and without a network. Tests are skipped, saying so, where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from windows import Open, film, launched, windows

import invented_results

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of the portrait, which the browser takes for its camera: 640 × 480."""
    return film(tmp_path_factory.mktemp("camera") / "portrait.mjpeg", 640, 480)


@pytest.fixture(scope="module")
def chromium(camera: Path) -> Iterator[Browser]:
    """A browser for the tests of one module, since other modules may start their own."""
    with launched(camera=camera) as browser:
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
