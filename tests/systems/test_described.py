"""What is known of systems without torch: the packaged file says what the code says."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mien import systems
from mien.errors import UnknownNameError
from mien.systems.described import FILE, describe, described, header, option_meanings, read


def test_every_system_is_described_in_the_order_of_the_registry() -> None:
    assert list(described()) == systems.names(), "run `python -m mien.training.describe`"


def test_a_description_holds_what_the_card_holds() -> None:
    card, about = systems.card("vggnet"), describe("vggnet")
    assert (about.title, about.parameters, about.paper) == (card.title, card.parameters, card.paper)
    assert about.input is not None
    assert about.input["size"] == card.input.size
    assert list(about.recipes) == list(card.recipes)
    assert 'system_id = "vggnet"' in about.recipes["mien"]["toml"]


PUBLISHED = {
    "efficientfer": 23_797_177,
    "resemotenet": 80_238_599,
    "mini-resemotenet-a": 20_069_383,
    "mini-resemotenet-b": 5_022_215,
    "mini-resemotenet-c": 1_257_991,
    "resnet18-tricks": 11_171_271,
    "vggnet": 29_890_759,
    "deepemotion": 66_877,
    "vgg19-bn": 20_038_983,
}
MILLIONS = {
    "emonext-t": 30.6,
    "emonext-s": 52.2,
    "emonext-b": 91.8,
    "emonext-l": 204.6,
    "emonext-xl": 362.3,
    "segmentation-vgg19": 169.2,
    "residual-masking-network": 137.8,
    "ad-corre": 26.1,
    "identiface": 20.6,
    "pramerdorfer-vgg": 1.8,
    "pramerdorfer-resnet": 5.3,
    "pramerdorfer-inception": 1.2,
}


def test_parameters_are_those_of_the_sources() -> None:
    """Stated here once more: the contract holds a network against its card, and both could change together."""
    found = {name: about.parameters for name, about in described().items() if about.parameters}
    assert {name: found[name] for name in PUBLISHED} == PUBLISHED
    assert {name: round(found[name] / 1e6, 1) for name in MILLIONS} == MILLIONS


def test_every_page_says_how_to_cite() -> None:
    pages = Path(__file__).parents[2] / "docs" / "systems"
    published = [name for name, about in described().items() if about.paper.title or about.paper.code]
    assert len(published) == len(described()) - 1, "compact alone is neither a paper's nor another repository's"
    silent = [name for name in published if "```bibtex\n@" not in (pages / f"{name}.md").read_text(encoding="utf-8")]
    assert silent == []


def test_the_view_of_a_page_is_one_that_its_recipe_can_be_measured_with() -> None:
    pages = Path(__file__).parents[2] / "docs" / "systems"
    for name, about in described().items():
        if about.kind != "network":
            continue
        page = (pages / f"{name}.md").read_text(encoding="utf-8")
        (view,) = re.findall(r"^mien evaluate .* --views (\S+)$", page, flags=re.MULTILINE)
        size = tomllib.loads(about.recipes["mien"]["toml"])["input"]["size"]
        assert view == f"tencrop@{size}" or not view.startswith("tencrop@"), name


def test_deviations_are_separate_sentences() -> None:
    about = describe("vggnet")
    assert len(about.deviations) == 7
    assert about.deviations[0].startswith("The public loader")
    assert "Deviations" not in about.text
    assert about.about.startswith("VGGNet on FER2013 (Khaireddin & Chen 2021): ")


def test_an_unknown_system_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="'vggnet'"):
        describe("vgnet")


def test_another_schema_is_refused() -> None:
    content = {**json.loads(FILE.read_text(encoding="utf-8")), "schema": "mien-cards@4"}
    with pytest.raises(ValueError, match="mien-cards@5"):
        read(json.dumps(content))


def test_reading_descriptions_loads_neither_torch_nor_numpy() -> None:
    code = "import sys; from mien.systems.described import described; described(); "
    code += "print({'torch', 'numpy', 'timm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_file_is_not_stale() -> None:
    from mien.training.describe import stale

    assert stale(macs=False) == [], "run `python -m mien.training.describe`"


@pytest.mark.full
def test_the_counts_in_the_file_are_not_stale() -> None:
    from mien.training.describe import stale

    assert stale() == [], "run `python -m mien.training.describe`"


@pytest.mark.parametrize("name", systems.names())
def test_what_a_file_says_is_what_its_module_says(name: str) -> None:
    said = header(inspect.getdoc(importlib.import_module(systems.home(name))) or "")
    about = describe(name)
    assert (about.about, about.text, about.deviations) == (said["about"], said["text"], said["deviations"])
    assert about.about.endswith(".")


@pytest.mark.parametrize("name", systems.networks())
def test_every_option_of_a_network_is_explained(name: str) -> None:
    about = describe(name)
    assert about.meanings.keys() == about.options.keys()
    # The file is read and not run: it says what the class itself says, or one that it is made from.
    docs = [inspect.cleandoc(of.__doc__ or "").replace("``", "`") for of in systems.card(name).module.__mro__]
    said = " ".join(" ".join(docs).split())
    assert all(f"{option}: {meaning}" in said for option, meaning in about.meanings.items())


def test_only_our_systems_have_a_home() -> None:
    with pytest.raises(UnknownNameError, match="'vggnet'"):
        systems.home("vgnet")


def test_a_class_may_be_called_like_the_one_it_is_made_from() -> None:
    text = "class Net(Net):\n    'A net.\\n\\n    Args:\\n        width: channels.'"
    assert option_meanings(text, "Net", ["width", "depth"]) == {"width": "channels."}
