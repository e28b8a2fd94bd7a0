from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from mien import systems
from mien.systems.base import System, count_macs, count_parameters


def test_macs_and_parameters_of_a_known_network() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 3)
    )
    assert count_parameters(module) == 36 + 8 + 771
    assert count_macs(module.train(), 1, 8) == 64 * 36 + 768
    assert module.training, "counting left the network in another mode"
    assert int(module[1].num_batches_tracked) == 0


@pytest.mark.parametrize(("system", "macs"), [("compact", 77_000_000), ("vggnet", 450_000_000)])
def test_macs_at_the_cards_input(system: str, macs: int) -> None:
    card = systems.card(system)
    found = count_macs(systems.create(system), card.input.channels, card.input.size)
    assert 0.5 < found / macs < 2


def test_the_default_loss_is_the_recipes() -> None:
    class One(System):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)) * self.weight

    images, targets = torch.ones(2, 3, 4, 4), torch.eye(3)[:2]
    terms = One().loss(images, targets, lambda logits, wanted: (logits - wanted).abs().sum())
    assert {name: float(value.detach()) for name, value in terms.items()} == {"loss": 4.0}
    with pytest.raises(NotImplementedError, match="One has no penultimate features"):
        One().embed(images)


def test_names_and_cards_load_no_torch_before_they_are_asked() -> None:
    code = "import sys; from mien import systems; systems.names(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["torch"] = None
from mien import systems
from mien.errors import MissingExtraError
try:
    systems.card("compact")
except MissingExtraError as error:
    assert "mien[train]" in str(error)
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("turtle", "training turtle needs packages that are not installed: pip install 'mien[classical]'"),
        ("compact", "training compact needs packages that are not installed: pip install 'mien[train]'"),
        ("turtel", "no system is called 'turtel'; did you mean 'turtle'?"),
    ],
)
@pytest.mark.parametrize("missing", ["torch", "sklearn"])
def test_training_names_the_extra_of_the_system_as_the_command_does(system: str, said: str, missing: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
import mien
from mien.cli import main
try:
    mien.train({system!r}, None, None)
except mien.errors.MienError as error:
    print(error)
main(["train", {system!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stdout
    assert done.stderr.strip() == f"mien: {done.stdout.strip()}"
