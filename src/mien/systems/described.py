"""What is known of every system, readable without torch: cards, sizes, deviations and recipes as plain values.

``cards.json`` is written by ``python -m mien.training.describe`` and never edited; a test says when it is stale. It
holds the recipe that all networks start from once, and of each recipe what differs from it. What the header of a
system's file says is not in it but read from that file, without importing it.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.errors import UnknownNameError
from mien.registry import suggestion
from mien.store.toml import toml_lines
from mien.systems import home
from mien.systems.card import Paper

FILE = Path(__file__).with_name("cards.json")
SCHEMA = "mien-cards@5"
HEADER = ("about", "text", "deviations", "file")
"""What is read from the system's file; it is no part of ``cards.json``."""
_STATEMENTS = ("Known", "Reconstructed", "Public code", "Recipe")
_DEVIATIONS = re.compile(r"^Deviations\b[^\n:]*:?", re.MULTILINE)


@dataclass(frozen=True)
class Described:
    """One system in plain values.

    Args:
        id: its name on the command line.
        title: its name in tables.
        kind: network, classical, ensemble or clustering.
        about: first line of its file's header.
        text: the rest of the header, deviations aside: sources, what is known, what was reconstructed.
        deviations: where it departs from its source, one sentence or two each.
        paper: where it comes from.
        parameters: for seven expressions; None where there are none to count.
        input: ``size``, ``channels``, ``colour``, ``mean``, ``std``, ``resize`` where a recipe does not say otherwise;
            None where it takes no images.
        parts: rows of the table of the network as it was published (`mien.systems.outline.Part`), in the order a face
            passes them.
        options: architecture options and their defaults.
        views: the view that the source reports.
        extra_data: data beyond FER2013 that the source used.
        pretrained: timm's name of the published weights that it can start from; empty where it has none.
        recipes: recipe name → ``hash``, ``toml`` and ``macs``: those of one face at the recipe's own input, or None.
        network: name of its class.
        file: path of the system's Python file; empty where there is none.
    """

    id: str
    title: str
    kind: str
    about: str
    text: str
    deviations: tuple[str, ...]
    paper: Paper
    parameters: int | None
    input: Mapping[str, Any] | None
    parts: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]
    views: tuple[str, ...]
    extra_data: tuple[str, ...]
    recipes: Mapping[str, Mapping[str, Any]]
    pretrained: str = ""
    network: str = ""
    file: str = ""

    @functools.cached_property
    def meanings(self) -> Mapping[str, str]:
        """Option → what it is, as the class of the network explains it in its file, which is not imported."""
        if not self.file:
            return {}
        try:
            return option_meanings(Path(self.file).read_text(encoding="utf-8"), self.network, self.options)
        except (OSError, UnicodeDecodeError, SyntaxError):
            if self.id in described():
                raise  # of our own it is a programming error
            return {}  # a stranger's file, in a zip or in another encoding

    @property
    def published(self) -> str:
        """The recipe that shows it as its source has it: ``faithful``, else the first one."""
        return "faithful" if "faithful" in self.recipes else next(iter(self.recipes), "")

    @property
    def takes(self) -> Mapping[str, Any] | None:
        """What the recipe `published` feeds it, with the fields of ``input``."""
        if self.input is None or self.kind != "network" or not self.published:
            return self.input
        return {**self.input, **tomllib.loads(self.recipes[self.published]["toml"]).get("input", {})}

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for one face in the recipe `published`; None where they were not counted."""
        counted: int | None = self.recipes.get(self.published, {}).get("macs")
        return counted


@functools.cache
def described() -> Mapping[str, Described]:
    """Every system by id, in the order of the registry.

    Example:
        >>> described()["vggnet"].parameters
        29890759
    """
    return read(FILE.read_text(encoding="utf-8"))


def describe(name: str) -> Described:
    """One system; an unknown name raises `UnknownNameError`."""
    if name not in described():
        raise UnknownNameError(f"no system is called {name!r}; {suggestion(name, described())}")
    return described()[name]


def read(text: str) -> Mapping[str, Described]:
    """The systems in the text of such a file; it is our own, so a field more or less is a programming error."""
    return {
        name: from_entry({**entry, **header(_docstring(file)), "file": str(file)})
        for name, entry in entries(text).items()
        for file in (FILE.with_name(f"{home(name).rpartition('.')[2]}.py"),)
    }


def entries(text: str) -> dict[str, dict[str, Any]]:
    """The plain values in the text of such a file by system, with whole recipes and the parts' columns named."""
    content = json.loads(text)
    if content.get("schema") != SCHEMA:
        raise ValueError(f"cards.json is not of schema {SCHEMA!r}; run `python -m mien.training.describe`")
    for entry in content["systems"].values():
        start = content["recipe"] if entry["kind"] == "network" else {}
        entry["parts"] = [dict(zip(content["columns"], row, strict=True)) for row in entry["parts"]]
        for recipe in entry["recipes"].values():
            recipe["toml"] = "\n".join(toml_lines(_over(start, recipe.pop("set"))))
    systems: dict[str, dict[str, Any]] = content["systems"]
    return systems


def _over(start: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What is set within groups replaces what the start says, in the order of the start."""
    made = dict(start)
    for key, value in changes.items():
        within = start.get(key)
        made[key] = _over(within, value) if isinstance(within, Mapping) and isinstance(value, Mapping) else value
    return made


def from_entry(entry: Mapping[str, Any]) -> Described:
    """The plain values of one system, its header included (`mien.training.describe.entry`), as an object."""
    paper: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry["paper"].items()
    }
    lists = {key: tuple(entry[key]) for key in ("parts", "views", "extra_data")}
    return Described(**{**entry, **lists, "paper": Paper(**paper)})


def header(docstring: str) -> dict[str, Any]:
    r"""What the docstring of a system's file says of it: ``about``, ``text`` and ``deviations`` of `Described`.

    Args:
        docstring: without the indentation of its lines; double backticks become single ones.

    Example:
        >>> header("A network.\n\nPaper: none.\n\nDeviations:\n- No dropout.\n- Grey faces.")["deviations"]
        ('No dropout.', 'Grey faces.')
    """
    about, _, rest = docstring.replace("``", "`").partition("\n")
    text, items = rest, [""]
    if found := _DEVIATIONS.search(rest):
        text, after = rest[: found.start()], rest[found.end() :].strip()
        items = re.split(r"^- ", after, flags=re.MULTILINE) if after.startswith("- ") else [after]
    deviations = tuple(" ".join(item.split()) for item in items if item.strip())
    return {"about": about, "text": text.strip(), "deviations": deviations}


def paragraphs(text: str) -> list[str]:
    r"""A header's text as paragraphs and items (``- …``) of one line each.

    A line that begins a new kind of statement begins a paragraph.

    Example:
        >>> paragraphs("Paper: none.\nKnown: the\nlayers.\n\n- One\n  item.")
        ['Paper: none.', 'Known: the layers.', '- One item.']
    """
    parts = re.split(rf"\n\s*\n|\n(?=- )|\n(?=(?:{'|'.join(_STATEMENTS)})\b)", text)
    return [" ".join(part.split()) for part in parts if part.strip()]


def option_meanings(source: str, name: str, options: Iterable[str]) -> dict[str, str]:
    r"""What the class of a network says of architecture options under ``Args:``.

    Args:
        source: the text of the file that holds the class, which is parsed and not run.
        name: of the class; what it does not explain its bases in that file may.
        options: names of the options.

    Example:
        >>> option_meanings("class A:\n 'A.\\n\\nArgs:\\n    width: channels\\n        at first.'", "A", ["width"])
        {'width': 'channels at first.'}
    """
    classes = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}
    explained: dict[str, str] = {}
    line, passed = [name], set[str]()
    while line:
        # A class may be called like the one that it is made from, which lies in another file.
        if (found := classes.get(each := line.pop(0))) is not None and each not in passed:
            passed.add(each)
            explained = {**_arguments(ast.get_docstring(found) or ""), **explained}
            line += [base.id for base in found.bases if isinstance(base, ast.Name)]
    return {option: explained[option] for option in options if option in explained}


def _arguments(docstring: str) -> dict[str, str]:
    """The section ``Args:`` of a docstring whose indentation is gone: name → text on one line."""
    section = re.search(r"^Args:\n((?:(?: {4}.*)?(?:\n|\Z))*)", docstring, re.MULTILINE)
    items = re.split(r"^ {4}(?=\w+: )", section[1], flags=re.MULTILINE) if section else []
    pairs = (" ".join(item.split()).replace("``", "`").partition(": ") for item in items if item.strip())
    return {name: text for name, _, text in pairs}


@functools.cache
def _docstring(file: Path) -> str:
    """That of a Python file, which is not imported; an unusual beginning of a file is parsed in full."""
    source = file.read_text(encoding="utf-8")
    whole = source if not source.startswith('"""') else source[: source.index('"""', 3) + 3]
    return ast.get_docstring(ast.parse(whole)) or ""
