"""The board in a real browser: sorting, filters, CSV, comparison, themes, phones, keyboard, accessibility."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from windows import barriers

import invented_results

PAGES = (
    "index.html", "systems/index.html", "systems/vggnet.html", "systems/efficientfer.html", "systems/my-network.html",
    "papers/index.html", "papers/resemotenet.html", "datasets/index.html", "datasets/fer2013.html",
    "boards/ckplus.html", "about.html",
)  # fmt: skip
FOCUSED = "(e => e.closest('tr')?.dataset.key || e.name || e.id || e.tagName)(document.activeElement)"
KEYS = "rows => rows.filter(r => !r.hidden).map(r => r.dataset.key)"


def shown(page: Any) -> list[str]:
    """Keys of the visible rows, from the top."""
    found: list[str] = page.eval_on_selector_all("table.board tbody tr", KEYS)
    return found


def data(page: Any) -> dict[str, Any]:
    """The rows' values by key."""
    sent = page.evaluate("JSON.parse(document.getElementById('board-data').textContent)")
    rows = [dict(zip(sent["fields"], row, strict=True)) for row in sent["rows"]]
    return {row["key"]: row for row in rows}


def sort(page: Any, label: str) -> list[dict[str, Any]]:
    page.select_option("select[name=sort]", label=label)
    values = data(page)
    return [values[key] for key in shown(page)]


def known(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows if row[name] not in (None, "")]


def test_the_board_opens_sorts_and_says_nothing_on_the_console(open_page: Any) -> None:
    """The quick look that every change gets; the rest runs with the long tests."""
    page = open_page()
    assert page.title() == "FER2013: claimed and measured · mien"
    measured = [row["measured"] for row in sort(page, "Accuracy (best first)")]
    assert measured[:3] == sorted((m for m in measured if m is not None), reverse=True)
    names = [row["name"].lower() for row in sort(page, "Model name (A→Z)")]
    assert names.index("ad-corre") < names.index("emonext") < names.index("vggnet")


@pytest.mark.full
class TestSorting:
    def test_five_orders_of_the_original_board_and_two_of_claims(self, open_page: Any) -> None:
        page = open_page()
        for label, name, reverse in (
            ("Accuracy (best first)", "measured", True),
            ("Accuracy (worst first)", "measured", False),
            ("Claimed accuracy (best first)", "claimed", True),
            ("Claimed accuracy (worst first)", "claimed", False),
            ("Date (newest first)", "date", True),
            ("Date (oldest first)", "date", False),
        ):
            rows = sort(page, label)
            values = known(rows, name)
            assert values == sorted(values, reverse=reverse), label
            assert all(row[name] in (None, "") for row in rows[len(values) :]), f"{label}: unknown comes last"

    def test_headings_sort_and_say_so(self, open_page: Any) -> None:
        page = open_page()
        claimed = page.locator("th[data-sort=claimed]")
        claimed.locator("button").click()
        assert claimed.get_attribute("aria-sort") == "descending"
        assert data(page)[shown(page)[0]]["claimed"] == 82.47
        claimed.locator("button").press("Enter")
        assert claimed.get_attribute("aria-sort") == "ascending"
        assert page.locator("th[data-sort=measured]").get_attribute("aria-sort") == "none"


@pytest.mark.full
class TestFilters:
    def test_hiding_extra_data(self, open_page: Any) -> None:
        page = open_page()
        before = shown(page)
        page.check("text=Hide extra data")
        rows = [data(page)[key] for key in shown(page)]
        assert 0 < len(rows) < len(before)
        assert all(row["extra_data"] == [] for row in rows)
        assert page.locator(".count").inner_text().startswith(f"{len(rows)} of ")
        page.click("text=Reset")
        page.wait_for_function(
            f"document.querySelectorAll('table.board tbody tr:not([hidden])').length === {len(before)}"
        )

    def test_views_year_size_and_words(self, open_page: Any) -> None:
        page = open_page()
        page.select_option("select[name=view]", "flip")
        assert {data(page)[key]["view"] for key in shown(page)} == {"flip"}
        page.select_option("select[name=view]", "all")
        assert len(shown(page)) == 5, "two systems under two views, and a submission"
        page.select_option("select[name=view]", "headline")
        page.select_option("select[name=from]", "2024")
        assert all(data(page)[key]["year"] >= 2024 for key in shown(page))
        page.select_option("select[name=from]", "")
        page.fill("input[name=search]", "minaee")
        assert shown(page) == ["deepemotion"]
        page.fill("input[name=search]", "nobody wrote this")
        assert shown(page) == []
        assert page.locator(".empty").is_visible()
        page.click("text=Reset them")
        page.wait_for_function("document.querySelector('.empty').hidden")

    def test_only_what_was_measured(self, open_page: Any) -> None:
        page = open_page()
        page.check("text=Measured only")
        assert {data(page)[key]["system"] for key in shown(page)} == {"vggnet", "compact", "my-network"}


@pytest.mark.full
def test_the_csv_is_what_is_shown(open_page: Any) -> None:
    page = open_page()
    page.fill("input[name=search]", "ionescu")
    page.select_option("select[name=sort]", label="Claimed accuracy (worst first)")
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.suggested_filename == "fer2013.csv"
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == ["Local Learning BOW", "Local Learning Deep+BOW"]
    assert rows[0]["claimed"] == "67.48"
    page.click("text=Reset")
    page.select_option("select[name=view]", "submitted")
    with page.expect_download() as download:
        page.click("#csv")
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert [row["name"] for row in csv.DictReader(io.StringIO(text))] == [invented_results.HOSTILE]


@pytest.mark.full
class TestComparing:
    def test_two_rows_side_by_side(self, open_page: Any) -> None:
        page = open_page()
        page.check("tr[data-key=vggnet] .pick input")
        assert page.locator(".comparebar .open").is_disabled()
        page.check("tr[data-key=compact] .pick input")
        page.click(".comparebar .open")
        dialog = page.locator("dialog[open]")
        text = dialog.inner_text()
        assert "exact McNemar" in text or "paired bootstrap" in text
        for wanted in ("VGGNet", "Compact", "Measured accuracy", "Recall of disgust", "73.28 %"):
            assert wanted in text
        assert page.url.endswith("#compare=vggnet,compact") or page.url.endswith("#compare=compact,vggnet")
        page.keyboard.press("Escape")
        assert dialog.count() == 0
        assert "#" not in page.url

    def test_a_third_choice_replaces_the_first(self, open_page: Any) -> None:
        page = open_page()
        for key in ("vggnet", "compact", "efficientfer"):
            page.check(f"tr[data-key={key}] .pick input")
        assert page.locator("tr.chosen").count() == 2
        assert not page.is_checked("tr[data-key=vggnet] .pick input")

    def test_a_claim_is_not_compared_with_a_result(self, open_page: Any) -> None:
        page = open_page("index.html#compare=compact,efficientfer")
        text = page.locator("dialog[open]").inner_text()
        assert "a claim and a result are not compared" in text

    def test_an_address_with_nonsense_opens_the_board(self, open_page: Any) -> None:
        page = open_page("index.html#compare=nobody,<script>")
        assert page.locator("dialog[open]").count() == 0


@pytest.mark.full
def test_hostile_names_stay_text(open_page: Any) -> None:
    for name in ("index.html", "systems/my-network.html", "systems/index.html"):
        page = open_page(name)
        assert page.evaluate("window.hacked") is None
        assert invented_results.HOSTILE in page.inner_text("main")
    page = open_page("index.html#compare=my-network,compact")
    assert invented_results.HOSTILE in page.locator("dialog[open]").inner_text()
    assert page.evaluate("window.hacked") is None


@pytest.mark.full
def test_light_and_dark(open_page: Any) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = open_page(), open_page(scheme="dark")
    assert light.evaluate(colour) != dark.evaluate(colour)
    before = light.evaluate(colour)
    light.click(".theme")
    assert light.evaluate(colour) == dark.evaluate(colour)
    light.reload()
    assert light.evaluate(colour) == dark.evaluate(colour), "the choice is kept"
    light.click(".theme")
    assert light.evaluate(colour) == before


@pytest.mark.full
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_a_phone(open_page: Any, name: str) -> None:
    page = open_page(name, width=360, height=740)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360, f"{name} is {wide} px wide"


@pytest.mark.full
@pytest.mark.parametrize("width", [768, 1024, 1280, 1680])
def test_nothing_is_wider_than_the_window(open_page: Any, width: int) -> None:
    page = open_page(width=width)
    for columns in ("overview", "quality", "recall", "cost"):
        page.click(f"label[for=cols-{columns}]")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, columns


@pytest.mark.full
def test_rows_are_cards_on_a_phone(open_page: Any) -> None:
    page = open_page(width=390, height=844)
    row = page.locator("tr[data-key=vggnet]")
    assert row.evaluate("row => getComputedStyle(row).display") == "grid"
    assert row.locator("td:nth-child(6)").is_visible()
    assert page.locator("svg.narrow").first.is_visible()
    assert not page.locator("svg.wide").first.is_visible()


@pytest.mark.full
def test_everything_is_reached_by_keyboard(open_page: Any) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(FOCUSED))
    assert {"chart", "cols", "search", "sort", "view", "csv", "vggnet", "efficientfer"} <= reached
    page.focus("#chart-time")
    page.keyboard.press("ArrowRight")
    assert page.is_checked("#chart-macs")
    assert page.locator("figure.chart-macs").is_visible()


@pytest.mark.full
def test_the_page_does_not_shift_while_it_loads(open_page: Any) -> None:
    page = open_page()
    page.wait_for_timeout(300)
    shifts = page.evaluate(
        """() => new Promise(done => { let sum = 0;
        new PerformanceObserver(list => { for (const e of list.getEntries()) if (!e.hadRecentInput) sum += e.value; })
            .observe({type: "layout-shift", buffered: true});
        setTimeout(() => done(sum), 200); })"""
    )
    assert shifts < 0.02


@pytest.mark.full
def test_bibtex_can_be_copied(open_page: Any) -> None:
    page = open_page("papers/turtle.html")
    page.click(".copy")
    page.wait_for_function("['Copied', 'Selected'].includes(document.querySelector('.copy').textContent)")


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_accessibility(open_page: Any, name: str, scheme: str) -> None:
    assert barriers(open_page(name, scheme=scheme)) == []


@pytest.mark.full
def test_the_board_works_without_a_script(chromium: Any, pages_folder: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((pages_folder / "index.html").as_uri())
    assert re.search(r"82\.47", page.inner_text("table.board"))
    page.click("label[for=cols-recall]")
    assert page.locator("th:text-is('disgust')").is_visible()
    context.close()
