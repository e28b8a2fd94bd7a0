"""What a person names where something trained is asked for: a run folder, a bundle's file, or a bundle by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mien.bundle import Bundle
from mien.errors import BundleError, FetchError, InputError, RunError
from mien.recognition.bundles import is_bundle_name, open_bundle
from mien.training.run import Run


def open_trained(reference: str | Path, *, system: Any = None) -> Run | Bundle:
    """The run or the bundle of that name.

    Args:
        reference: a run folder; the path of a bundle (.onnx); ``default``, or the name of a fetched bundle.
        system: of a run trained with a Python file: that file, which is executed, or its card.

    Raises:
        RunError: a folder that is no run, or nothing of that name.
        BundleError: a file that is no bundle.
        FetchError: a fetched bundle that is damaged.

    Example:
        >>> open_trained("default").card.system
        'compact'
    """
    path = Path(reference)
    if path.suffix == ".onnx" or path.is_file():
        return open_bundle(path)
    if (path / "run.json").is_file() or path.name != str(path) or (path.exists() and not is_bundle_name(path)):
        return Run.open(path, system=system)
    try:
        return open_bundle(path)
    except (BundleError, FetchError):
        raise  # it is there, and damaged
    except InputError as error:
        raise RunError(f"{path} is no run folder (`mien train` makes one), and {error}") from None
