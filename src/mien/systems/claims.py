"""Claims: what papers and leaderboards state. Nothing here was measured by mien, and results are of another type.

The numbers stand in ``claims.toml`` beside this file (CC-BY-SA 4.0, source in ``claims.LICENSE.md``). Neither torch
nor NumPy is needed to read them.
"""

from __future__ import annotations

import datetime
import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mien.errors import DataError, UnknownNameError
from mien.registry import suggestion

FILE = Path(__file__).with_name("claims.toml")
NOTE_KINDS = ("split", "classes", "extra data", "reports", "selection", "duplicates", "date", "value")
BIBTEX_TYPES = ("article", "inproceedings", "misc")


@dataclass(frozen=True)
class Code:
    """A public repository.

    Args:
        url: where it is.
        official: by the authors of the paper.
    """

    url: str
    official: bool = False


@dataclass(frozen=True)
class Note:
    """What a reader should know about a claim, in neutral words.

    Args:
        kind: one of `NOTE_KINDS`.
        text: one sentence or two.
        links: where it can be read.
    """

    kind: str
    text: str
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Publication:
    """A paper that states claims. Empty fields are unknown, never guessed.

    Args:
        id: its name in paths.
        title: as printed.
        authors: in order.
        date: ISO 8601 day of its first public version, or empty.
        year: of publication.
        type: of its BibTeX entry: article, inproceedings or misc.
        venue: journal or conference.
        doi: without a prefix.
        arxiv: number on arXiv.
        link: its page, where there is neither DOI nor arXiv number.
        tasks: what it is about.
        code: public repositories.
    """

    id: str
    title: str
    authors: tuple[str, ...] = ()
    date: str = ""
    year: int | None = None
    type: str = "misc"
    venue: str = ""
    doi: str = ""
    arxiv: str = ""
    link: str = ""
    tasks: tuple[str, ...] = ()
    code: tuple[Code, ...] = ()

    @property
    def url(self) -> str:
        """The page of the paper: arXiv, else the DOI, else whatever is known."""
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.doi}" if self.doi else self.link

    @property
    def pdf(self) -> str:
        """The PDF where it is public, or an empty string."""
        return f"https://arxiv.org/pdf/{self.arxiv}" if self.arxiv else ""

    def bibtex(self) -> str:
        """An entry for a bibliography, from the known fields only.

        Example:
            >>> print(publication("turtle").bibtex())
            @inproceedings{gadetsky2024let,
              title = {Let Go of Your Labels with Unsupervised Transfer},
              author = {Artyom Gadetsky and Yulun Jiang and Maria Brbić},
              booktitle = {International Conference on Machine Learning (ICML)},
              year = {2024},
              eprint = {2406.07236},
              archivePrefix = {arXiv},
              url = {https://arxiv.org/abs/2406.07236}
            }
        """
        venue = {"article": "journal", "inproceedings": "booktitle"}.get(self.type, "howpublished")
        known = {
            "title": self.title,
            "author": " and ".join(self.authors),
            venue: self.venue,
            "year": str(self.year or ""),
            "doi": self.doi,
            "eprint": self.arxiv,
            "archivePrefix": "arXiv" if self.arxiv else "",
            "url": self.url,
        }
        lines = ",\n".join(f"  {key} = {{{value}}}" for key, value in known.items() if value)
        return f"@{self.type}{{{self._key()},\n{lines}\n}}"

    def _key(self) -> str:
        words = [self.authors[0].split()[-1] if self.authors else self.id, str(self.year or ""), self.title.split()[0]]
        return "".join(letter for letter in "".join(words).lower() if letter.isascii() and letter.isalnum())


@dataclass(frozen=True)
class Claim:
    """A number that a paper or a leaderboard states. Empty fields are unknown, never guessed.

    Args:
        dataset: id of the data set, ``fer2013``.
        metric: ``accuracy`` unless said otherwise.
        model: name of the system there.
        value: in per cent; None where the source at hand gives none.
        rank: place on the leaderboard of FER2013; None for numbers that only a paper states.
        system: id of the system in mien; None where there is none.
        paper: the publication the source names, or None.
        further_papers: other publications about the system.
        date: ISO 8601 day, or empty.
        year: of publication, or None.
        extra_data: data beyond the data set: empty when there are none, ``unknown`` for what is not disclosed.
        listed_extra_data: what the leaderboard says about extra data; None where it says nothing.
        listed_code: the leaderboard lists code that was not found.
        split: which faces were tested; empty where it is not stated.
        classes: number of expressions, or None.
        code: public repositories.
        notes: what a reader should know.
    """

    dataset: str
    metric: str
    model: str
    value: float | None = None
    rank: int | None = None
    system: str | None = None
    paper: Publication | None = None
    further_papers: tuple[Publication, ...] = ()
    date: str = ""
    year: int | None = None
    extra_data: tuple[str, ...] = ()
    listed_extra_data: bool | None = None
    listed_code: bool = False
    split: str = ""
    classes: int | None = None
    code: tuple[Code, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def authors(self) -> tuple[str, ...]:
        """Of the system's own paper where the source names a report about several."""
        papers = [*self.further_papers, *([self.paper] if self.paper else [])]
        return papers[0].authors if papers else ()


def claims(system: str | None = None, dataset: str | None = None) -> tuple[Claim, ...]:
    """The published numbers, in the order of the file: the leaderboard of FER2013 by place, then the rest.

    Args:
        system: only those of this system.
        dataset: only those about this data set.

    Raises:
        UnknownNameError: no claim is about that data set. A system without claims is no error: it has none.

    Example:
        >>> [(claim.model, claim.value, claim.year) for claim in claims(system="vggnet")]
        [('VGGNet', 73.28, 2021)]
        >>> [claim.model for claim in claims(dataset="ckplus")]
        ['DeepEmotion']
    """
    found = _read()[1]
    if dataset is not None and dataset not in (known := {claim.dataset for claim in found}):
        raise UnknownNameError(f"no claim is about a data set {dataset!r}; {suggestion(dataset, known)}")
    return tuple(c for c in found if system in (None, c.system) and dataset in (None, c.dataset))


def publications() -> tuple[Publication, ...]:
    """The papers of all claims, in the order of the file."""
    return tuple(_read()[0].values())


def publication(name: str) -> Publication:
    """The paper of that id; an unknown one raises `UnknownNameError`."""
    papers = _read()[0]
    if name not in papers:
        raise UnknownNameError(f"no paper is called {name!r}; {suggestion(name, papers)}")
    return papers[name]


def parse(text: str, file: str | Path = FILE) -> tuple[dict[str, Publication], tuple[Claim, ...]]:
    """Papers by id, and claims, from the text of such a file.

    Raises:
        DataError: the text is no TOML, or an entry has an unknown, missing or impossible field.
    """
    try:
        content = tomllib.loads(text)
        if unknown := sorted(set(content) - {"paper", "claim"}):
            raise ValueError(f"there is no table {unknown[0]!r}; {suggestion(unknown[0], ('paper', 'claim'))}")
        papers: dict[str, Publication] = {}
        for entry in content.get("paper", ()):
            paper = _paper(entry)
            if paper.id in papers:
                raise ValueError(f"two papers are called {paper.id!r}")
            papers[paper.id] = paper
        found = tuple(_claim(entry, papers) for entry in content.get("claim", ()))
    except (ValueError, TypeError) as error:
        raise DataError(f"{error}; mend the file", file=file) from None
    keys = [(claim.dataset, claim.metric, claim.model) for claim in found]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise DataError(f"{' · '.join(twice[0])} is claimed twice; keep one entry", file=file)
    return papers, found


@functools.cache
def _read() -> tuple[dict[str, Publication], tuple[Claim, ...]]:
    return parse(FILE.read_text(encoding="utf-8"))


def _paper(entry: Mapping[str, Any]) -> Publication:
    values = _values(Publication, entry, {"url": "link"})
    paper = Publication(**{**values, "code": _code(entry.get("code", ()))})
    if paper.type not in BIBTEX_TYPES:
        raise ValueError(f"the type of {paper.id!r} is one of {', '.join(BIBTEX_TYPES)}, not {paper.type!r}")
    _check_links(paper.id, [paper.link] if paper.link else [])
    _check_date(paper.id, paper.date)
    return paper


def _claim(entry: Mapping[str, Any], papers: Mapping[str, Publication]) -> Claim:
    values = _values(Claim, entry, {})
    if missing := sorted({"dataset", "metric", "model"} - set(entry)):
        raise ValueError(f"a claim lacks {missing[0]!r}")
    name = f"{entry['dataset']} · {entry['model']}"
    for key in (*([entry["paper"]] if "paper" in entry else []), *entry.get("further_papers", ())):
        if key not in papers:
            raise ValueError(f"{name}: no paper is called {key!r}; {suggestion(key, papers)}")
    paper = papers[entry["paper"]] if "paper" in entry else None
    values["paper"] = paper
    values["further_papers"] = tuple(papers[key] for key in entry.get("further_papers", ()))
    values["date"] = entry.get("date", paper.date if paper else "")
    values["year"] = entry.get("year", paper.year if paper else None)
    values["code"] = _code(entry["code"]) if "code" in entry else (paper.code if paper else ())
    values["notes"] = tuple(
        Note(**{**_values(Note, note, {}), "links": tuple(note.get("links", ()))}) for note in entry.get("notes", ())
    )
    claim = Claim(**values)
    if claim.value is not None and not 0 <= claim.value <= 100:
        raise ValueError(f"{name}: a value in per cent lies in 0–100, not {claim.value}")
    for note in claim.notes:
        if note.kind not in NOTE_KINDS:
            raise ValueError(f"{name}: the kind of a note is one of {', '.join(NOTE_KINDS)}, not {note.kind!r}")
        _check_links(name, note.links)
    _check_date(name, claim.date)
    return claim


def _values(kind: type, entry: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The entry with the names of the fields of ``kind``; lists become tuples."""
    known = {field.name for field in fields(kind)}
    values = {}
    for key, value in entry.items():
        name = renamed.get(key, key)
        if name not in known or key in renamed.values():
            raise ValueError(f"{kind.__name__} has no field {key!r}; {suggestion(key, known)}")
        values[name] = tuple(value) if isinstance(value, list) else value
    return values


def _code(entries: Iterable[Mapping[str, Any]]) -> tuple[Code, ...]:
    code = tuple(Code(**entry) for entry in entries)
    for repository in code:
        _check_links("code", [repository.url])
    return code


def _check_links(name: str, links: Iterable[str]) -> None:
    # Pages link what stands here: nothing but the web, so that no link can run a script.
    for link in links:
        if not link.startswith("https://"):
            raise ValueError(f"{name}: a link begins with https://, not {link[:30]!r}")


def _check_date(name: str, date: str) -> None:
    if date:
        try:
            datetime.date.fromisoformat(date)
        except ValueError:
            raise ValueError(f"{name}: a date is YYYY-MM-DD, not {date!r}") from None
