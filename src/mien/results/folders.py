"""The two folders of results: what may be ranked with others' in ``results``, everything else in ``my-results``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

OWN = "own/test@1"
"""The protocol of data sets that are nobody else's."""
RECORDED, APART = "results", "my-results"


def default_results(protocol: str, source: Mapping[str, str] | None = None, *, tested: bool = True) -> str:
    """The folder that a result goes to where the caller names none.

    Results of published data sets are recorded in ``results``. What was measured on drawn faces or on a data set of
    one's own, what a system of one's own answers, and what was tried on the selection split alone is ranked with
    nothing there; it goes to ``my-results``, with a ledger of its own.

    Args:
        protocol: that it was measured under.
        source: where its system comes from, as in results; None for the systems of mien.
        tested: whether it says something of the test split.

    Example:
        >>> default_results("fer2013/private@1"), default_results("own/test@1")
        ('results', 'my-results')
        >>> default_results("fer2013/private@1", {"class": "notebook.Tiny"})
        'my-results'
        >>> default_results("fer2013/private@1", tested=False)
        'my-results'
    """
    return RECORDED if tested and source is None and protocol != OWN else APART


def folders(named: str | Path | None = None) -> tuple[Path, ...]:
    """Where results are looked up: in the folder that the caller names, else in both; those that are there.

    Example:
        >>> folders("no/such/folder")
        ()
    """
    return tuple(folder for folder in map(Path, (RECORDED, APART) if named is None else (named,)) if folder.is_dir())
