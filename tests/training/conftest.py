from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mien.datasets import FaceSet


@pytest.fixture(scope="session")
def drawn() -> FaceSet:
    """112 drawn faces to learn from, 14 to choose on, 14 sealed."""
    from mien.datasets import load_dataset

    return load_dataset("drawn", count=140, seed=0)


@pytest.fixture(scope="module", autouse=True)
def own_systems() -> Iterator[None]:
    """The systems that lie beside these tests are registered while these tests run."""
    import tiny

    from mien import systems

    with pytest.MonkeyPatch.context() as patch:
        for name, module in tiny.OWN.items():
            patch.setitem(systems._HOME, name, module)
        yield
