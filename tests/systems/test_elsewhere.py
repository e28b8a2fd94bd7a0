"""Systems from elsewhere: files by path, packages by entry points."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from flat_file import flat_file
from mien import systems
from mien.errors import InputError, MissingExtraError, RunError, UnknownNameError
from mien.systems import brought, elsewhere
from mien.systems.card import Card

SYSTEM = flat_file(8)


def write(folder: Path, text: str = SYSTEM, name: str = "flat.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def nothing_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brought, "_cards", {})
    monkeypatch.setattr(brought, "_sources", {})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a package that offers systems, by what pip leaves behind."""

    def install(name: str, entries: str, text: str = SYSTEM) -> None:
        site = tmp_path / name
        (site / f"{name}_module").mkdir(parents=True)
        write(site / f"{name}_module", text, "__init__.py")
        (site / f"{name}-1.0.dist-info").mkdir()
        write(site / f"{name}-1.0.dist-info", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "METADATA")
        write(site / f"{name}-1.0.dist-info", f"[mien.systems]\n{entries}\n", "entry_points.txt")
        monkeypatch.syspath_prepend(str(site))

    yield install
    for site in tmp_path.iterdir():
        sys.modules.pop(f"{site.name}_module", None)


def test_a_file_gives_its_cards(tmp_path: Path) -> None:
    cards = elsewhere.load_file(write(tmp_path))
    assert list(cards) == ["flat"]
    assert isinstance(cards["flat"], Card)
    assert sys.modules[cards["flat"].module.__module__].CARDS["flat"] is cards["flat"]


def test_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = elsewhere.load_file(write(tmp_path / "a"))["flat"]
    second = elsewhere.load_file(
        write(tmp_path / "b", SYSTEM.replace("Flat(System)", "Other(System)").replace("Flat, grey", "Other, grey"))
    )["flat"]
    assert first.module.__module__ != second.module.__module__
    assert (first.module.__name__, second.module.__name__) == ("Flat", "Other")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "holds no systems; define CARDS"),
        ("CARDS = {}\n", "holds no systems; define CARDS"),
        ("CARDS = {'a': 1}\n", r"CARDS\['a'\] is a int, not a mien\.systems\.Card"),
        (SYSTEM.replace('{"flat"', '{"fat"'), r"CARDS\['fat'\] has the id 'flat'"),
        ("x = 1\ndef broken(:\n", r", line 2: SyntaxError: "),
        ("def f():\n    raise ValueError('no luck')\n\nf()\n", r", line 2: ValueError: no luck"),
        ("raise SystemExit(3)\n", r", line 1: SystemExit: 3"),
        ("import no_such_package\n", r", line 1: ModuleNotFoundError: No module named 'no_such_package'"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    before = set(sys.modules)
    with pytest.raises(InputError, match=message) as caught:
        elsewhere.load_file(write(tmp_path, text))
    assert str(tmp_path / "flat.py") in str(caught.value)
    assert not {name for name in set(sys.modules) - before if name.startswith("mien_file_")}


def test_a_relative_path_has_its_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "x = 1\nraise ValueError('no luck')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^flat\.py, line 2: ValueError: no luck"):
        elsewhere.load_file(Path("flat.py"))
    for file in ("flat.py", "flat.py:flat"):
        with pytest.raises(UnknownNameError, match=r"'flat\.py\S*' is a file and no id: `mien train`"):
            systems.check_name(file)


def test_no_file_and_no_python(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file"):
        elsewhere.load_file(tmp_path / "none.py")
    with pytest.raises(InputError, match="is no Python file"):
        elsewhere.load_file(write(tmp_path, name="flat.txt"))


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"mien\[train\]"):
        elsewhere.load_file(write(tmp_path, "import torch\n"))


def test_find_takes_files_and_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write(tmp_path))
    assert [card.id for card in elsewhere.find(path)] == ["flat"]
    assert [card.id for card in elsewhere.find("compact")] == ["compact"]
    assert [card.id for card in elsewhere.find(path, only="flat")] == ["flat"]
    with pytest.raises(UnknownNameError, match="did you mean 'flat'"):
        elsewhere.find(path, only="flot")
    with pytest.raises(UnknownNameError, match="did you mean 'compact'"):
        elsewhere.find("compct")
    monkeypatch.chdir(tmp_path)
    for name in ("notes.md", "compact"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"notes.md is no Python file"):
        elsewhere.find("notes.md")
    assert [card.id for card in elsewhere.find("compact")] == ["compact"], "a file of that name changes nothing"


def test_one_of_a_files_systems_is_found_by_its_id_behind_the_path(tmp_path: Path) -> None:
    two = SYSTEM.rstrip().removesuffix("}") + ', "other": Card("other", "Other", Flat, grey(8), 455)}'
    path = str(write(tmp_path, two))
    assert [card.id for card in elsewhere.find(path)] == ["flat", "other"]
    assert [card.id for card in elsewhere.find(f"{path}:other")] == ["other"]
    assert [card.id for card in elsewhere.find(f"{path}:other", only="other")] == ["other"]
    with pytest.raises(UnknownNameError, match=r"flat\.py holds no system 'othr'; did you mean 'other'"):
        elsewhere.find(f"{path}:othr")
    with pytest.raises(InputError, match="names one system and 'flat' is another; give one of the two"):
        elsewhere.find(f"{path}:other", only="flat")


def test_what_is_a_file_is_one_question(tmp_path: Path, package, monkeypatch: pytest.MonkeyPatch) -> None:
    package("strangers", "flat = strangers_module")
    path = write(tmp_path, SYSTEM.replace('"flat"', '"loud"'), "LOUD.PY")
    assert [card.id for card in elsewhere.find(str(path))] == ["loud"], "endings in capitals are endings"
    assert brought.bring(str(path)) == "loud"
    monkeypatch.chdir(tmp_path)
    for name in ("flat", "loud", "compact", "notes"):
        (tmp_path / name).touch()
        assert brought.is_file(name) == (name == "notes"), "a system that goes by a name is not hidden by a file"
    assert [card.title for card in elsewhere.find("flat")] == ["Flat"]
    for what in ("notes", "./notes", "../tiny"):
        with pytest.raises(InputError, match=r"is no (Python )?file"):
            brought.bring(what)
    with pytest.raises(UnknownNameError, match="no system is called 'notes'"):
        systems.check_name("notes")


def test_a_file_has_its_annotations_as_they_are_written(tmp_path: Path) -> None:
    """Not as strings, which the first line of the module that runs it makes of its own."""
    text = SYSTEM.replace("*, classes, channels", "*, classes: int, channels: int")
    (card,) = elsewhere.find(str(write(tmp_path, text)))
    assert card.module.__init__.__annotations__["classes"] is int


def test_a_packages_author_may_give_its_own_file(package, tmp_path: Path) -> None:
    package("strangers", "flat = strangers_module")
    own = tmp_path / "strangers" / "strangers_module" / "__init__.py"
    (card,) = elsewhere.find(str(own))
    assert card.module is not systems.card("flat").module
    brought.check_own_id(card)
    assert brought.bring(own) == "flat"
    assert brought.source("flat") == {}, "it goes by its id, as for everybody else"
    (tmp_path / "copy").mkdir()
    with pytest.raises(InputError, match="the id 'flat' is that of a plug-in of strangers; give yours another one"):
        brought.bring(write(tmp_path / "copy"))


def test_a_run_of_a_file_that_was_packed_later(package, tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    brought.bring(write(tmp_path / "before"))
    noted = brought.source("flat")
    brought._cards.clear()
    brought._sources.clear()
    package("strangers", "flat = strangers_module")
    brought.check_brought("flat", noted, "runs/flat")  # the same file
    with pytest.raises(RunError, match=r"of flat\.py \(000000000000…\), and that of mien or of an installed package"):
        brought.check_brought("flat", {**noted, "sha256": "0" * 64}, "runs/flat")


def test_an_installed_package_adds_a_system(package) -> None:
    package("strangers", "flat = strangers_module")
    assert list(elsewhere.installed()) == ["flat"]
    assert systems.card("flat").title == "Flat"
    assert systems.create("flat", classes=3).options == {"classes": 3, "channels": 1}
    with pytest.raises(UnknownNameError, match="did you mean 'flat'"):
        systems.check_name("flaat")


def test_a_broken_package_names_itself_and_breaks_nothing_else(package) -> None:
    package("broken", "flat = broken_module\nother = broken_module", "raise RuntimeError('not today')")
    assert list(elsewhere.installed()) == ["flat", "other"]
    with pytest.raises(InputError, match="the plug-in 'flat' of broken: RuntimeError: not today"):
        systems.card("flat")
    assert systems.card("compact").id == "compact"


def test_a_package_may_promise_more_than_it_holds(package) -> None:
    package("short", "flot = short_module")
    with pytest.raises(InputError, match="the plug-in 'flot' of short: its CARDS hold no 'flot'; did you mean 'flat'"):
        systems.card("flot")


def test_two_packages_of_one_name_clash(package) -> None:
    package("first", "flat = first_module")
    package("second", "flat = second_module")
    with pytest.raises(InputError, match="two plug-ins are called 'flat': first and second; uninstall or rename one"):
        systems.card("flat")


def test_a_package_cannot_take_the_place_of_ours(package) -> None:
    package("greedy", "compact = greedy_module")
    assert systems.card("compact").title == "Compact"
    with pytest.raises(InputError, match="the plug-in 'compact' of greedy has the name of a system of mien"):
        elsewhere.refuse_clash("compact")


def test_the_list_shows_packages_systems_and_says_of_a_broken_one_what_is_wrong(
    package, capsys: pytest.CaptureFixture[str]
) -> None:
    from mien.cli import main

    def said(*arguments: str) -> tuple[str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["systems", "list", *arguments])
        assert not caught.value.code
        return tuple(capsys.readouterr())

    package("good", "flat = good_module")
    package("broken", "crooked = broken_module", "raise RuntimeError('not today')")
    package("greedy", "compact = greedy_module")
    entries = {entry["id"]: entry for entry in json.loads(said("--json")[0]) if "package" in entry}
    assert (entries["flat"]["title"], entries["flat"]["package"]) == ("Flat", "good")
    assert "not today" in entries["crooked"]["error"]
    assert "has the name of a system of mien" in entries["compact"]["error"]
    out, err = said()
    assert "vggnet" in out
    assert "plug-in of good" in out
    assert "the plug-in 'crooked' of broken: RuntimeError: not today" in " ".join(err.split())


def test_what_is_known_of_a_packages_system_is_told(package, capsys: pytest.CaptureFixture[str]) -> None:
    from mien.cli import main

    package("one", "flat = one_module", '"""A flat thing (Doe 2020).\n\nPaper: none.\n"""\n' + SYSTEM)
    for arguments, told in (([], "A flat thing (Doe 2020).\n"), (["--json"], '"about": "A flat thing (Doe 2020)."')):
        with pytest.raises(SystemExit) as caught:
            main(["systems", "info", "flat", *arguments])
        assert not caught.value.code
        assert told in capsys.readouterr().out
