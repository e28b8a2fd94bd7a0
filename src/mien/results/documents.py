"""Numbers in README and docs come from recorded results: marked blocks are filled by a program, never by hand.

A block is written in Markdown as a pair of comments; what stands between them is replaced::

    <!-- mien:results table=ranking protocol=fer2013/private@1 -->
    <!-- /mien:results -->

    It reaches <!-- mien:results value=accuracy bundle=default views=one -->…<!-- /mien:results --> …

Tables: ``ranking``, ``selection``, ``openings``, ``protocols``, and ``measured`` of one ``system``. A value is that of
the result which the selection split prefers among those that match; ``id``, ``system``, ``kind``, ``views``,
``protocol`` and ``seed`` choose, and ``bundle=default`` what was measured with the very file that is shipped; whoever
fills says which one that is.

Three more kinds of blocks quote what is no result (`mien.results.quotes`):

- ``fact=copies.PrivateTest.Training``: counted from the packaged facts about FER2013;
- ``recorded=leak_check value=negatives.choosing.faces form=percent``: out of ``benchmarks/recorded``;
- ``frozen=benchmarks/framing.py@7aa3f1a digest=1a2b3c4d``: a passage that was measured or cited once and is not
  measured again. ``frozen`` says by what, or where it is cited from; the digest of the text makes a later edit stale.
  ``digest=new`` seals a new passage.

Outside of blocks a document may not hold a number that looks measured: a percentage that is no usual level, or a
number with thousands. A setting is written as code (`2,000` draws). Diaries (``LOG.md``, ``CHANGELOG.md``) may type
what they saw on their day, and pages that a program generates answer to that program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mien.errors import DataError, InputError
from mien.registry import suggestion
from mien.results import quotes, tables
from mien.results.ledger import Ledger
from mien.results.schema import LEDGER, Result
from mien.results.verification import load_all
from mien.store import write_text

NOTHING_YET = "not measured yet"
DEFAULT_PROTOCOL = "fer2013/private@1"
_BLOCK = re.compile(r"<!-- mien:results(?P<words>(?: [^\s<>]+)*) -->(?P<body>.*?)<!-- /mien:results -->", re.DOTALL)
_MARK = re.compile(r"<!-- /?mien:results")
_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_NUMBER = re.compile(r"\b\d+(?:\.\d+)? ?%|\b\d{1,3}(?:,\d{3})+\b")
_LEVELS = {"5%", "10%", "50%", "80%", "90%", "95%", "99%", "100%"}
_DIARIES = ("LOG.md", "CHANGELOG.md")
_GENERATED = re.compile(r"<!-- (?:Generated|Written) by")
_FILTERS = ("id", "system", "kind", "views", "protocol", "seed")


@dataclass(frozen=True)
class Stale:
    """A document whose blocks say something else than the results.

    Args:
        file: its path.
        line: 1-based line of the first such block, or of the first number that was typed.
        typed: that number; empty where a block is stale.
    """

    file: Path
    line: int
    typed: str = ""


def documents(root: str | Path) -> list[Path]:
    """The documents that may hold blocks: Markdown at the top, in ``docs/`` and in ``results/``."""
    root = Path(root)
    return sorted({*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("results/*.md")})


def fill(
    root: str | Path,
    *,
    folder: str | Path | None = None,
    check: bool = False,
    shipped: Mapping[str, str] | None = None,
) -> list[Stale]:
    """Fill every block of every document below ``root`` from the results.

    Args:
        root: folder with README.md and docs/.
        folder: the results; ``root/results`` by default.
        check: change nothing, only say what is stale, and which numbers were typed.
        shipped: name of a bundle → SHA-256 of its graph, for blocks that say ``bundle=…``.

    Returns:
        The documents that were, or with ``check`` are, stale.

    Raises:
        DataError: a block that cannot be read, with file and line.
    """
    root = Path(root)
    folder = Path(folder) if folder is not None else root / "results"
    source = _Source(load_all(folder) if folder.is_dir() else [], Ledger(folder / LEDGER), root, shipped or {})
    stale = []
    for path in documents(root):
        text = path.read_text(encoding="utf-8")
        filled, line = _filled(text, source, path)
        if line is not None:
            stale.append(Stale(path, line))
            if not check:
                write_text(path, filled)
        if check and (found := _typed(text, path)) is not None:
            stale.append(found)
    return stale


def render(
    text: str,
    results: Sequence[Result],
    ledger: Ledger,
    root: Path = Path(),
    *,
    shipped: Mapping[str, str] | None = None,
) -> str:
    """One document's text with its blocks filled; measurements are those below ``root``, ``shipped`` as for `fill`."""
    return _filled(text, _Source(results, ledger, root, shipped or {}), Path("text"))[0]


@dataclass(frozen=True)
class _Source:
    results: Sequence[Result]
    ledger: Ledger
    root: Path = Path()
    shipped: Mapping[str, str] = field(default_factory=dict)


def _filled(text: str, source: _Source, path: Path) -> tuple[str, int | None]:
    """The text with its blocks filled, and the line of the first block that changed."""
    fenced = [found.span() for found in _FENCE.finditer(text)]
    first: int | None = None
    parts: list[str] = []
    at = 0
    marks = 0
    for block in _BLOCK.finditer(text):
        if any(start <= block.start() < end for start, end in fenced):
            continue
        marks += 2
        line = text.count("\n", 0, block.start()) + 1
        words = block["words"]
        try:
            if " frozen=" in words:
                words, body = _frozen(words, block["body"]), block["body"]
            else:
                body = _body(words.split(), source)
        except InputError as error:
            raise DataError(str(error), file=path, line=line) from None
        if (words, body) != (block["words"], block["body"]) and first is None:
            first = line
        parts += [text[at : block.start("words")], words, text[block.end("words") : block.start("body")], body]
        at = block.end("body")
    outside = [
        found for found in _MARK.finditer(text) if not any(start <= found.start() < end for start, end in fenced)
    ]
    if len(outside) != marks:
        line = text.count("\n", 0, outside[-1].start()) + 1 if outside else 1
        raise DataError("a block of mien:results is not closed, or its first line is malformed", file=path, line=line)
    return "".join([*parts, text[at:]]), first


def _typed(text: str, path: Path) -> Stale | None:
    """The first number outside of blocks that looks measured."""
    if path.name in _DIARIES or _GENERATED.search(text, 0, 400):
        return None
    for pattern in (_BLOCK, _FENCE, _CODE):
        text = pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in _NUMBER.finditer(text):
        if found[0].replace(" ", "") not in _LEVELS:
            return Stale(path, text.count("\n", 0, found.start()) + 1, found[0])
    return None


def _frozen(words: str, body: str) -> str:
    """The words of a frozen block with its digest; an edited body is refused."""
    options = _options(words.split())
    if set(options) != {"frozen", "digest"}:
        raise InputError("a frozen block says frozen=SOURCE digest=…; digest=new seals a new passage")
    now = quotes.digest(body)
    if options["digest"] not in ("new", now):
        raise InputError(
            "a frozen passage was edited; put back what was measured, or say by what it was measured again (frozen=…) "
            "and digest=new"
        )
    return f" frozen={options['frozen']} digest={now}"


def _options(words: list[str]) -> dict[str, str]:
    options = dict(word.partition("=")[::2] for word in words)
    if len(options) < len(words) or not all(options.values()):
        raise InputError("a block says key=value, each key once")
    return options


def _body(words: list[str], source: _Source) -> str:
    options = _options(words)
    if set(options) == {"fact"}:
        return quotes.fact(options["fact"])
    if "recorded" in options:
        if not {"recorded", "value"} <= set(options) <= {"recorded", "value", "form"}:
            raise InputError("a block of a recorded measurement says recorded=FILE value=PATH, and form=… where needed")
        return quotes.recorded(source.root, options["recorded"], options["value"], options.get("form", ""))
    if len({"table", "value"} & set(options)) != 1:
        raise InputError("a block says table=…, value=…, fact=…, recorded=… or frozen=…")
    if unknown := sorted(set(options) - {"table", "value", "bundle", *_FILTERS}):
        words_known = ("table", "value", "bundle", *_FILTERS)
        raise InputError(f"a block cannot say {unknown[0]!r}; {suggestion(unknown[0], words_known)}")
    if "table" in options:
        return _table(options, source)
    wanted = {"protocol": DEFAULT_PROTOCOL, **{key: text for key, text in options.items() if key in _FILTERS}}
    if "bundle" in options:
        if options["bundle"] not in source.shipped:
            known = suggestion(options["bundle"], source.shipped) if source.shipped else "none was given"
            raise InputError(f"no bundle called {options['bundle']!r} is shipped; {known}")
        wanted["weights_sha256"] = source.shipped[options["bundle"]]
    chosen = [
        result for result in source.results if all(str(getattr(result, key)) == text for key, text in wanted.items())
    ]
    best = tables.preferred(chosen)
    return NOTHING_YET if best is None else tables.value(best, options["value"])


def _table(options: dict[str, str], source: _Source) -> str:
    protocol = options.get("protocol", DEFAULT_PROTOCOL)
    makers: dict[str, Callable[[], tables.Table]] = {
        "ranking": lambda: tables.ranking(source.results, source.ledger.counts(protocol), protocol),
        "selection": lambda: tables.selections(source.results, protocol),
        "measured": lambda: tables.measured(source.results, protocol, options.get("system", "")),
        "openings": lambda: tables.openings(source.ledger),
        "protocols": tables.protocol_table,
    }
    if options["table"] not in makers:
        raise InputError(f"there is no table {options['table']!r}; {suggestion(options['table'], makers)}")
    own = {"system"} if options["table"] == "measured" else set()
    if missing := own - set(options):
        raise InputError(f"the table {options['table']} says of which {missing.pop()}")
    if extra := sorted(set(options) - {"table", "protocol"} - own):
        raise InputError(f"a table cannot be narrowed by {extra[0]!r}")
    made = makers[options["table"]]()
    text = made.markdown() if made.rows else NOTHING_YET
    if options["table"] == "openings":
        text += f"\n\n{len(source.ledger.openings())} openings; the ledger ends with `{source.ledger.head()[:16]}`."
    return f"\n{text}\n"
