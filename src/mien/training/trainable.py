"""Which parameters learn: the rest keeps its values and its running statistics."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mien.errors import RecipeError
from mien.registry import suggestion


class Trainable:
    """Turns the parameters of a network on and off by the beginnings of their names.

    Args:
        module: the network, as it was made: what did not learn then never does.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.able = {name: parameter.requires_grad for name, parameter in module.named_parameters()}

    def choose(self, prefixes: Sequence[str]) -> None:
        """Let only the parameters below ``prefixes`` learn; none given means all. `RecipeError` for one without any."""
        for prefix in prefixes:
            if not any(_below(name, prefix) for name in self.able):
                parts = {
                    ".".join(name.split(".")[:k]) for name in self.able for k in range(1, 1 + prefix.count(".") + 1)
                }
                raise RecipeError(f"trainable: the network has no part {prefix!r}; {suggestion(prefix, parts)}")
        for name, parameter in self.module.named_parameters():
            chosen = not prefixes or any(_below(name, prefix) for prefix in prefixes)
            parameter.requires_grad_(self.able[name] and chosen)

    def train(self) -> None:
        """Training mode, but for parts in which nothing learns."""
        self.module.train()
        for part in self.module.modules():
            own = list(part.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                part.eval()


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
