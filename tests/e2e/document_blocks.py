"""Code blocks of the documents: found, checked for their form, run."""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A comment on the line above a block may say how it is tested: form (not run), full (run by `make test-full` only).
_FENCE = re.compile(
    r"(?:<!-- test: (?P<how>form|full) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_DEFAULT_MODEL = re.compile(r"Recognizer\((?!\"|model=)|mien predict(?!.*--model)|mien doctor")


@dataclass(frozen=True)
class Block:
    """One code block.

    Args:
        file: the document.
        line: 1-based line of its first line of code.
        language: bash, python, toml, …
        text: what stands in it.
        how: ``run``, ``form`` or ``full``.
    """

    file: Path
    line: int
    language: str
    text: str
    how: str = "run"

    @property
    def name(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"

    @property
    def uses_default_model(self) -> bool:
        return bool(_DEFAULT_MODEL.search(self.text))


def blocks(document: str | Path) -> list[Block]:
    file = ROOT / document
    text = file.read_text(encoding="utf-8")
    return [
        Block(file, text.count("\n", 0, m.start("text")) + 1, m["language"], m["text"], m["how"] or "run")
        for m in _FENCE.finditer(text)
    ]


def commands(block: Block) -> list[list[str]]:
    """The commands of a bash block as words: comments, pipes and redirections taken off, patterns not expanded."""
    lines = block.text.replace("\\\n", " ").splitlines()
    parts = (shlex.split(part, comments=True) for line in lines for part in re.split(r"\s\|\s", line))
    return [words[: words.index(">")] if ">" in words else words for words in parts if words]


def check_form(block: Block) -> None:
    """Nothing is run, but every command, option, field of a recipe and imported name exists."""
    if block.language == "bash":
        for words in commands(block):
            _check_command(words)
    elif block.language == "python":
        _check_names(ast.parse(block.text))
    elif block.language == "toml":
        tomllib.loads(block.text)


@dataclass
class Session:
    """Runs the blocks of one document in order: one folder, one namespace, like a reader who types them."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "document"})
    lacking: set[str] = field(default_factory=set)

    def run(self, block: Block) -> None:
        if block.language not in ("bash", "python"):
            check_form(block)
            return
        tree = ast.parse(block.text) if block.language == "python" else None
        if block.uses_default_model and (reason := no_default_model()) is not None:
            self.lacking |= _stored(tree) if tree else set()
            pytest.skip(reason)
        if tree and (missing := self.lacking & _loaded(tree) - _stored(tree)):
            self.lacking |= _stored(tree)
            pytest.skip(f"needs {', '.join(sorted(missing))} of a block that was skipped")
        with contextlib.chdir(self.folder):
            if tree:
                exec(compile(tree, block.name, "exec"), self.names)
                self.lacking -= _stored(tree)
                return
            for words in commands(block):
                _run_command(words)


def _run_command(words: list[str]) -> None:
    if words[0] != "mien":
        _check_command(words)
        return
    from mien.cli import main

    with pytest.raises(SystemExit) as end:
        main([path for word in words[1:] for path in _expanded(word)])
    assert not end.value.code, f"{shlex.join(words)}: exit status {end.value.code}"


def _expanded(word: str) -> list[str]:
    """What a shell makes of a pattern; a word that matches nothing stays."""
    return sorted(map(str, Path().glob(word))) or [word] if "*" in word else [word]


def _check_command(words: list[str]) -> None:
    shown = shlex.join(words)
    if words[0] == "mien":
        from mien.cli import command_line

        command, rest = command_line(), words[1:]
        while hasattr(command, "commands"):
            assert rest, f"{shown}: no verb"
            assert rest[0] in command.commands, f"{shown}: there is no verb {rest[0]!r}"
            command, rest = command.commands[rest[0]], rest[1:]
        context = command.make_context(words[-1], list(rest))  # raises where an option or argument is wrong
        for recipe_field in context.params.get("set_") or ():
            from mien import systems
            from mien.training import recipe_of
            from mien.training.search.space import get_space

            given = context.params
            trained = given.get("system") or given.get("student") or get_space(given["space"]).system
            recipe_of(systems.card(trained), "mien").set([recipe_field])
    elif words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shown}: {done.stderr}"
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for asked in re.findall(r"\[([\w,]+)\]", shown):
            assert set(asked.split(",")) <= set(extras), f"{shown}: unknown extra"
    elif words[0] == "pytest":
        assert all((ROOT / word).exists() for word in words[1:] if "/" in word), f"{shown}: no such tests"
    elif words[0] == "python" and words[1:2] and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file(), f"{shown}: no such file"
    elif words[0] == "torchrun":
        _check_command(["mien", *words[words.index("mien") + 1 :]])
    elif words[0] == "sbatch":
        _check_command(shlex.split(words[words.index("--wrap") + 1].replace("$SLURM_ARRAY_TASK_ID", "1")))
    else:
        others = ("curl", "docker", "export", "createuser", "createdb")
        assert words[0] in others, f"the test does not know what to do with: {shown}"


def _check_names(tree: ast.AST) -> None:
    import mien

    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mien"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mien":
            assert hasattr(mien, node.attr) or importlib.import_module(f"mien.{node.attr}")


def no_default_model() -> str | None:
    from mien.errors import BundleError
    from mien.recognition.bundles import default_bundle

    try:
        default_bundle()
    except BundleError as error:
        return f"no default bundle: {error}"
    return None


def _stored(tree: ast.AST) -> set[str]:
    return {name for name, stored in _names(tree) if stored}


def _loaded(tree: ast.AST) -> set[str]:
    return {name for name, stored in _names(tree) if not stored}


def _names(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, isinstance(node.ctx, ast.Store)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name, True) for alias in node.names)
