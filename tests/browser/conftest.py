"""A real browser, without a window and without a network. Tests are skipped, saying so, where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import invented_results

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]


@pytest.fixture(scope="module")  # a process can drive one playwright at a time; other modules may start their own
def chromium() -> Iterator[Browser]:
    """The system's Chromium (Debian: package ``chromium``), or that of ``playwright install chromium``."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with api.sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium is installed: apt-get install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


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
    """Open a page of the site from the disk; whatever its console says is a failure."""
    contexts: list[Any] = []
    said: list[str] = []

    def opened(name: str = "index.html", *, width: int = 1280, height: int = 900, scheme: str = "light") -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(f"{request.url} failed"))
        address, _, anchor = name.partition("#")
        page.goto((pages_folder / address).as_uri() + (f"#{anchor}" if anchor else ""))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == [], "the console stays empty"
