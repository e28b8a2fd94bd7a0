"""The text of a Python file with one small system, `flat`, for tests of systems that somebody brings along."""


def flat_file(side: int, *, recipe: str = "") -> str:
    """It takes faces of ``side`` px; ``recipe`` is the text of its recipe `mien`."""
    recipes = f', recipes={{"mien": {recipe}}}' if recipe else ""
    return f"""
from torch import nn
from mien.systems.base import System
from mien.systems.card import Card, grey

class Flat(System):
    def __init__(self, *, classes, channels):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(channels * {side * side}, classes))

    def forward(self, images):
        return self.body(images)

CARDS = {{"flat": Card("flat", "Flat", Flat, grey({side}), {7 * side * side + 7}{recipes})}}
"""
