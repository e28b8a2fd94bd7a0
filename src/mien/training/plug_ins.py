"""What is known of the systems of installed packages, whatever their code does; without torch that is told in words.

It lies among trainings because whole recipes do.
"""

from __future__ import annotations

from dataclasses import dataclass

from mien import systems
from mien.errors import InputError, MienError, MissingExtraError
from mien.systems.described import Described, from_entry
from mien.systems.elsewhere import installed, origin, refuse_clash


@dataclass(frozen=True)
class Unusable:
    """A plug-in that cannot be used.

    Attributes:
        id: the name of the system that it claims.
        package: where it comes from.
        error: why, in one sentence that names the package.
    """

    id: str
    package: str
    error: str


def described_plugins() -> tuple[list[tuple[str, Described]], list[Unusable]]:
    """What is known of all plug-ins, each with its package; and those that cannot be used, which break no other."""
    usable, unusable = [], []
    for name, points in installed().items():
        package = origin(points[0])
        try:
            usable.append((package, described_plugin(name)))
        except MienError as error:
            unusable.append(Unusable(name, package, str(error)))
    return usable, unusable


def described_plugin(name: str) -> Described:
    """What is known of a system of an installed package, which is imported and made for it.

    Raises:
        InputError: it cannot be used, or has the name of a system of mien; the message names the package.
        MissingExtraError: torch or another package that it needs is not installed.
    """
    refuse_clash(name)
    where = f"the plug-in {name!r} of {' and '.join(map(origin, installed().get(name, ())))}"
    MissingExtraError.check(where, "train", "torch")
    try:
        systems.card(name)  # whose errors name the package
    except MissingExtraError as error:
        raise MissingExtraError(where, error.extra) from error
    from mien.training.describe import entry

    try:
        return from_entry(entry(name))
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises
        told = str(error) if isinstance(error, MienError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{where}: {told}") from error
