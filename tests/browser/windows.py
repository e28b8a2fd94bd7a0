"""Windows of a real browser, without a screen: how every test here opens a page, and what it looks for in it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_browser = _load(Path(__file__).parents[2] / "benchmarks" / "browser.py")
film, PORTRAIT = _browser.film, _browser.PORTRAIT


@contextlib.contextmanager
def launched(**options: Any) -> Iterator[Browser]:
    """The browser of the benchmarks; the test is skipped, saying so, where there is none."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with contextlib.ExitStack() as held:
        try:
            browser = held.enter_context(_browser.chromium(**options))
        except FileNotFoundError as error:
            pytest.skip(str(error))
        yield browser


def barriers(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using a page; skipped, saying so, where there is no axe."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    return [f"{fault['id']}: {fault['help']}: {node['html'][:160]}" for fault in found for node in fault["nodes"][:3]]


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
