"""The pages: whole, small, offline, linked, escaped, and only as new as claims and results are."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from posixpath import dirname, join, normpath

import pytest

pytest.importorskip("jinja2")

import invented_results
from mien.errors import InputError, UnknownNameError
from mien.results import Ledger, load_all
from mien.site import build_site
from mien.site.audited import audit_tables
from mien.site.board import Board, Speed
from mien.site.board_page import board_page
from mien.site.datasets import class_counts, dataset, datasets, findings
from mien.site.frame import Frame, Source
from mien.site.pages import pages
from mien.site.rendering import script_json
from mien.site.system_pages import _commands
from mien.systems.claims import Publication, claims, publications
from mien.systems.described import described

KILOBYTES_PER_PAGE = 300


@pytest.fixture(scope="module")
def site(results_folder: Path) -> dict[str, bytes]:
    source = Source(load_all(results_folder), Ledger(results_folder / "ledger.jsonl"), url="https://example.org/board")
    return pages(source, results_folder)


def html(site: dict[str, bytes]) -> dict[str, str]:
    return {name: content.decode() for name, content in site.items() if name.endswith(".html")}


class _Page(HTMLParser):
    """Addresses, ids and balance of a page."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.ids.append(value)
            elif name.startswith("on"):
                self.handlers.append(name)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def test_there_is_a_page_for_everything(site: dict[str, bytes]) -> None:
    wanted = {"index.html", "about.html", "systems/index.html", "papers/index.html", "datasets/index.html"}
    wanted |= {f"systems/{name}.html" for name in described()}
    wanted |= {f"systems/{claim.system}.html" for claim in claims() if claim.system}
    wanted |= {f"papers/{paper.id}.html" for paper in publications()}
    wanted |= {f"datasets/{claim.dataset}.html" for claim in claims()}
    wanted |= {"boards/ckplus.html", "badges/vggnet.svg", "data/fer2013.csv", "systems/my-network.html"}
    assert wanted <= set(site)


def test_pages_are_small_balanced_and_have_one_heading(site: dict[str, bytes]) -> None:
    for name, text in html(site).items():
        page = _Page(text)
        assert page.open == [], name
        assert page.headings.count("h1") == 1, name
        assert len(set(page.ids)) == len(page.ids), name
        assert page.handlers == [], f"{name} has a script in an attribute"
        assert _bytes_without_data(text) + _shared_bytes() < KILOBYTES_PER_PAGE * 1000, name


def test_a_board_of_sixty_measured_systems_is_small_too(made: list[Board], results_folder: Path) -> None:
    # Compared for real they would take minutes; here the systems of the small board stand for all of them.
    small = made[0]
    measured = [row for row in small.rows if row.measured and row.claim is None and "<" not in row.name]
    stated = [row for row in small.rows if row.claim]
    own = measured[0].measured
    assert own is not None
    rows = []
    for at in range(98):
        base = stated[at] if at < len(stated) else replace(measured[0], name=f"Invented network {at}", key=f"n-{at}")
        value = 0.78 - 0.002 * at
        its = replace(
            own, rank=(1 + at // 2, 2 + at), accuracy=replace(own.accuracy, value=value, low=value - 0.01, high=0.79),
            speed=Speed("", "one", 100.0 * (1 + at), "here"),
        )  # fmt: skip
        rows.append(replace(base, measured=its if at < 60 else None, claim=base.claim or stated[at % 20].claim))
    board = replace(small, rows=tuple(rows), further=())
    frame = Frame(Source([], Ledger(results_folder / "ledger.jsonl")), [board])
    text = board_page(frame, board).decode()
    assert text.count("<tr id=") == 98
    assert _bytes_without_data(text) < 250_000, "the page alone"
    assert _bytes_without_data(text) + _shared_bytes() < KILOBYTES_PER_PAGE * 1000, "with style and script"


def _bytes_without_data(text: str) -> int:
    return len(re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL).encode())


def _shared_bytes() -> int:
    assets = files("mien.site").joinpath("assets")
    return sum(len(assets.joinpath(name).read_bytes()) for name in ("site.css", "site.js"))


def test_links_between_pages_lead_somewhere(site: dict[str, bytes]) -> None:
    ids = {name: set(_Page(text).ids) for name, text in html(site).items()}
    dead = []
    for name, text in html(site).items():
        for link in _Page(text).links:
            path, _, anchor = link.partition("#")
            if link.startswith(("https://", "http://", "data:")):
                continue
            target = normpath(join(dirname(name), path)) if path else name
            if target not in site or (anchor and anchor not in ids[target]):
                dead.append((name, link))
    assert dead == []


def test_no_page_asks_the_network_for_anything(site: dict[str, bytes]) -> None:
    for name, text in html(site).items():
        for tag in re.findall(r"<(?:link|script|img|source|iframe|object|use)\b[^>]*>", text):
            assert not re.search(r'(?:src|href)="(?:https?:)?//', tag), (name, tag)
    assert b"@import" not in site["assets/site.css"]
    assert b"url(" not in site["assets/site.css"]
    assert not re.search(rb"\bfetch\(|XMLHttpRequest|import\(", site["assets/site.js"])


def test_a_hostile_title_is_text_everywhere(site: dict[str, bytes]) -> None:
    seen = 0
    for name, text in html(site).items():
        assert "<img src=x" not in text, name
        seen += "&lt;img src=x" in text
    assert seen >= 3, "board, list of systems and its own page show the title"
    assert b"<img" not in site["badges/my-network.svg"]


def test_data_cannot_end_their_script_element(site: dict[str, bytes]) -> None:
    text = site["index.html"].decode()
    data = re.search(r'<script type="application/json" id="board-data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    sent = json.loads(data[1])
    assert any(row[sent["fields"].index("name")] == invented_results.HOSTILE for row in sent["rows"])
    assert "<" not in data[1]
    assert json.loads(str(script_json("</script>\u2028"))) == "</script>\u2028"


def test_the_csv_holds_every_row_and_no_formula(site: dict[str, bytes]) -> None:
    rows = list(csv.DictReader(io.StringIO(site["data/fer2013.csv"].decode("utf-8-sig"))))
    by_name = {row["name"]: row for row in rows}
    assert by_name["EfficientFER"]["claimed"] == "82.47"
    assert by_name["EfficientFER"]["measured"] == ""
    assert by_name["EfficientFER"]["extra_data"] == "ImageNet-1k; unknown"
    assert 0 < float(by_name["VGGNet"]["measured"]) < 1
    assert float(by_name["VGGNet"]["recall_happy"]) > 0
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "@"))]


def test_notes_stand_on_the_board_and_link_their_source(site: dict[str, bytes]) -> None:
    text = site["index.html"].decode()
    assert "5 expressions" in text
    assert 'href="https://github.com/ArnabKumarRoy02/ResEmoteNet/issues/12"' in text
    assert "CC BY-SA 4.0" in text


def test_a_system_page_says_what_is_measured_and_offers_it(site: dict[str, bytes], results_folder: Path) -> None:
    text = site["systems/vggnet.html"].decode()
    result = next(r for r in load_all(results_folder) if r.system == "vggnet")
    for wanted in (
        "73.28 %",
        "Deviations from the source",
        "@misc{khaireddin2021facial",
        "mien train vggnet",
        "clean@1",
    ):
        assert wanted in text
    assert f"data/{result.id}.npz" in text
    assert site[f"data/{result.id}.npz"] == result.path(results_folder).with_suffix(".npz").read_bytes()
    assert "https://example.org/board/badges/vggnet.svg" in text
    assert "data:image/png" not in text, "no face without being asked for"


def test_the_commands_of_a_system_page_are_those_that_made_its_result(results_folder: Path) -> None:
    result = next(r for r in load_all(results_folder) if r.system == "vggnet")
    about = described()["vggnet"]
    assert _commands("vggnet", about, None).splitlines()[0] == "mien train vggnet --seed 0"
    own = replace(result, recipe={**result.recipe, "name": "short", "distill": {"weight": 0.0}})
    assert _commands("vggnet", about, own).splitlines() == [
        f"mien systems info vggnet --recipe {own.id[:8]} --results results > short.toml",
        f"mien train vggnet --recipe short.toml --seed {own.seed}",
        f"mien evaluate runs/vggnet-short-{own.recipe_hash[:8]}-s{own.seed} --views {own.views}",
    ]
    taught = replace(own, recipe={**own.recipe, "distill": {"weight": 0.7}})
    assert "mien distill --teacher BUNDLE --student vggnet --recipe short.toml" in _commands("vggnet", about, taught)
    onward = replace(own, recipe={**own.recipe, "start": {"kind": "run"}})
    assert "mien train vggnet --recipe short.toml --init RUN --seed" in _commands("vggnet", about, onward)
    assert (
        _commands("pramerdorfer-eight", described()["pramerdorfer-eight"], None) == "mien ensemble pramerdorfer-eight"
    )


def test_a_system_without_results_has_its_page(site: dict[str, bytes]) -> None:
    text = site["systems/efficientfer.html"].decode()
    assert "82.47 %" in text
    assert "not yet" in text
    assert "Users" not in text or "reports" in text.lower()


def test_a_paper_page_lists_its_claims_over_data_sets(site: dict[str, bytes]) -> None:
    text = site["papers/resemotenet.html"].decode()
    for wanted in (
        "79.79 %",
        "94.76 %",
        "72.93 %",
        "75.67 %",
        "https://arxiv.org/pdf/2409.10545",
        "(official)",
        "72.39",
    ):
        assert wanted in text
    assert "unofficial" in site["papers/deepemotion.html"].decode()


def test_a_paper_page_says_what_was_reproduced(site: dict[str, bytes]) -> None:
    text = site["papers/vggnet.html"].decode()
    reproduced = text[text.index("Our reproduction") : text.index("Cite")]
    assert re.search(r"<b>[+−]\d\.\d</b> <span class=\"soft\">points", reproduced), "the gap to the claim"
    assert "systems/vggnet.html" in reproduced
    assert "not measured yet" in site["papers/resemotenet.html"].decode()


@pytest.mark.parametrize("paper", publications(), ids=lambda paper: paper.id)
def test_every_paper_page_has_all_its_parts(site: dict[str, bytes], paper: Publication) -> None:
    text = unescape(site[f"papers/{paper.id}.html"].decode())
    repositories = {c.url for c in paper.code} | {c.url for k in claims() if k.paper is paper for c in k.code}
    for wanted in (*paper.authors, paper.date, *paper.tasks, paper.url, paper.pdf, *repositories, paper.bibtex()):
        assert wanted in text, wanted
    for claim in claims():
        if claim.paper is paper and claim.value is not None:
            assert f"{claim.value:.2f} %" in text


@pytest.mark.parametrize("name", datasets())
def test_every_data_set_page_has_all_its_parts(site: dict[str, bytes], name: str) -> None:
    data, text = datasets()[name], unescape(site[f"datasets/{name}.html"].decode())
    assert data.homepage
    assert data.licence
    assert data.year
    assert data.size or name == "fer2013"
    given = [v["text"] for v in data.variants] + [c["said"] for c in data.corrections]
    for wanted in (data.modality, str(data.year), data.licence, data.homepage, data.size, data.get, *given):
        assert wanted in text, wanted
    stated = [claim for claim in claims() if claim.dataset == name]
    assert all(claim.model in text for claim in stated)
    assert ("Latest results over all tasks" in text) == bool(stated)


def test_the_data_set_page_corrects_the_usual_description(site: dict[str, bytes]) -> None:
    text = site["datasets/fer2013.html"].decode()
    for wanted in ("grey", "35,887", "547", "28,709", "288", "mien data import fer2013"):
        assert wanted in text
    assert class_counts().rows[1] == ("disgust", "436", "56", "55", "547")
    assert any("57 of these groups" in sentence for sentence in findings())


def test_unknown_data_sets_get_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="'fer2013'"):
        dataset("fer2012")


def test_an_audit_is_shown_and_a_wrong_file_refused(tmp_path: Path, results_folder: Path) -> None:
    path = tmp_path / "audit.json"
    table = {"title": "Copies & more", "columns": ["of", "faces"], "rows": [["a<b", 3], ["c", None]], "note": "n"}
    path.write_text(json.dumps({"tables": {"copies": table}}))
    found = audit_tables(path)
    assert found[0].rows == (("a<b", "3"), ("c", "–"))
    path.write_text("{}")
    with pytest.raises(InputError, match="data audit"):
        audit_tables(path)


def test_a_site_replaces_only_a_site(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    out = tmp_path / "site"
    first = build_site(out, results)
    assert first.pages > 40
    assert (out / "index.html").is_file()
    (out / "old.html").write_text("stale")
    build_site(out, results)
    assert not (out / "old.html").exists()
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="no site of mien"):
        build_site(other, results)
    assert (other / "thesis.txt").read_text() == "precious"
    with pytest.raises(InputError, match="no folder"):
        build_site(out, tmp_path / "absent")
