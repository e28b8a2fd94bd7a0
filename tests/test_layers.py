"""The house stands: imports go down only, and torch stays where it belongs."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "mien"

# From the roof to the ground. Within a floor a part may use those to its right, never those to its left.
FLOORS = (
    ("__main__",),  # the process
    ("cli", "serving"),
    ("testing",),  # the checks that others run on their own systems; a verb runs them, too
    ("scale", "bench"),
    ("site", "audit", "explanation", "export", "ensembles"),
    ("training",),
    ("evaluation",),
    ("systems", "features", "recognition"),
    ("datasets", "faces"),
    ("results", "bundle", "layers"),
    ("store", "labels", "registry", "errors"),
    ("__init__",),  # the version and lazy names: anybody may ask it, it imports nobody
)
HEIGHT = {part: (floor, room) for floor, parts in enumerate(FLOORS) for room, part in enumerate(parts)}
WITHOUT_TORCH = {"results", "bundle", "store", "labels", "registry", "errors", "faces", "datasets", "recognition"}
WITHOUT_TORCH |= {"site", "cli", "__init__", "__main__"}
TORCH = frozenset({"torch", "torchvision", "timm", "lightning", "lightning_fabric", "safetensors", "pytorch_lightning"})

# Imports upwards that are meant: (file, module, why).
ALLOWED = {
    ("training/run.py", "mien.export"): "Run.export is a convenience of the public API; it is looked up when called",
    ("training/reproduction.py", "mien.ensembles.again"): "it takes any result; an ensemble's is looked up when met",
}


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    module: str
    typing_only: bool
    in_function: bool

    @property
    def importer(self) -> str:
        return part_of("mien." + self.file.removesuffix(".py").replace("/", "."))

    @property
    def imported(self) -> str:
        return part_of(self.module)

    def __str__(self) -> str:
        return f"src/mien/{self.file}:{self.line} imports {self.module}"


def part_of(module: str) -> str:
    """'mien.results.metrics' → 'results'; the package itself is '__init__'."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def imports_of(text: str, file: str) -> Iterator[Import]:
    """Every import of a file: statements at any depth, and import_module with a literal name."""

    def visit(node: ast.AST, typing_only: bool, in_function: bool) -> Iterator[Import]:
        def found(module: str) -> Import:
            return Import(file, node.lineno, module, typing_only, in_function)  # type: ignore[attr-defined]

        if isinstance(node, ast.Import):
            yield from (found(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative imports hide the layer; write mien.…"
            # `from mien import systems` imports a part, `from mien.errors import InputError` a name of one.
            whole = [f"mien.{alias.name}" for alias in node.names] if node.module == "mien" else [str(node.module)]
            yield from map(found, whole)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            literal = node.args[0] if node.args else None
            if called in ("import_module", "__import__") and isinstance(literal, ast.Constant):
                yield found(str(literal.value))
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.body:
                yield from visit(child, True, in_function)
            for child in node.orelse:
                yield from visit(child, typing_only, in_function)
            return
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, typing_only, inside)

    yield from visit(ast.parse(text), False, False)


@functools.cache
def own_imports() -> list[Import]:
    files = sorted(SOURCE.rglob("*.py"))
    return [item for path in files for item in imports_of(path.read_text("utf-8"), path.relative_to(SOURCE).as_posix())]


def upward(item: Import) -> bool:
    if item.typing_only or part_of("mien") == item.imported or not item.module.startswith("mien."):
        return False
    if item.imported == item.importer or (item.file, item.module) in ALLOWED:
        return False
    return HEIGHT[item.imported] <= HEIGHT[item.importer]


def test_every_part_of_the_house_has_its_floor() -> None:
    parts = {path.stem if path.suffix == ".py" else path.name for path in SOURCE.iterdir()}
    holds_code = {part for part in parts if (SOURCE / f"{part}.py").exists() or any((SOURCE / part).rglob("*.py"))}
    assert holds_code <= set(HEIGHT), "give the new part a floor in FLOORS, and in the design"


def test_imports_go_down_only() -> None:
    wrong = [str(item) for item in own_imports() if upward(item)]
    assert not wrong, "\n".join(wrong)


def test_parts_without_torch_import_none() -> None:
    wrong = [
        str(item)
        for item in own_imports()
        if item.importer in WITHOUT_TORCH and not item.typing_only and item.module.partition(".")[0] in TORCH
    ]
    assert not wrong, "\n".join(wrong)


def test_evaluation_imports_torch_only_when_handed_a_run() -> None:
    wrong = [
        str(item)
        for item in own_imports()
        if item.importer == "evaluation"
        and not (item.typing_only or item.in_function)
        and item.module.partition(".")[0] in TORCH
    ]
    assert not wrong, "\n".join(wrong)


def test_verbs_import_their_work_when_they_are_called() -> None:
    cheap = {"cli", "errors", "registry", "labels", "__init__"}
    wrong = [
        str(item)
        for item in own_imports()
        if item.importer == "cli"
        and not (item.typing_only or item.in_function)
        and item.module.partition(".")[0] == "mien"
        and item.imported not in cheap
    ]
    assert not wrong, "\n".join(wrong)


def test_allowed_exceptions_are_still_needed() -> None:
    used = {(item.file, item.module) for item in own_imports()}
    assert set(ALLOWED) <= used


@pytest.mark.parametrize(
    ("text", "file", "wrong"),
    [
        ("from mien.training import train", "results/schema.py", True),
        ("import mien.training.loop", "results/schema.py", True),
        ("from mien import training", "results/schema.py", True),
        ("def f():\n    from mien.cli import main", "export/onnx.py", True),
        ("import importlib\nimportlib.import_module('mien.export')", "training/loop.py", True),
        ("import importlib\nimportlib.import_module('mien.export')", "training/run.py", False),
        ("if TYPE_CHECKING:\n    from mien.training import Run", "results/schema.py", False),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from mien.training import Run", "results/schema.py", True),
        ("from mien.registry import Registry", "errors.py", True),
        ("from mien.errors import InputError", "registry.py", False),
        ("from mien.results.metrics import accuracy", "results/schema.py", False),
        ("from mien.faces import decode", "datasets/fer2013.py", False),
        ("from mien.datasets import Split", "faces/crop.py", True),
    ],
)  # fmt: skip
def test_the_reader_of_imports_sees_them(text: str, file: str, wrong: bool) -> None:
    assert any(upward(item) for item in imports_of(text, file)) == wrong
