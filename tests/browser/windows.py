"""Windows of a real browser, without a screen: how every test here opens a page."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]


@contextlib.contextmanager
def launched(*options: str) -> Iterator[Browser]:
    """The system's Chromium (Debian: package ``chromium``), or that of ``playwright install chromium``.

    A process can drive one playwright at a time; the test is skipped, saying so, where there is no browser.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with api.sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium is installed: apt-get install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *options])
        yield browser
        browser.close()


@contextlib.contextmanager
def windows(browser: Browser, *, expected: Collection[str] = ()) -> Iterator[Open]:
    """A function that opens an address in a window of its own; whatever a console says is a failure in the end.

    Args:
        browser: a launched one.
        expected: beginnings of what a console may say.
    """
    contexts: list[Any] = []
    said: list[str] = []

    def opened(
        address: str,
        *,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        until: str = "",
        **options: Any,
    ) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(f"{request.url} failed"))
        page.goto(address)
        if until:
            page.wait_for_selector(until, state="attached", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [text for text in said if not text.startswith(tuple(expected))] == [], "the console stays empty"
