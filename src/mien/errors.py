"""Every error that mien raises on purpose. Each message says what is wrong and what to do next."""

from __future__ import annotations

from pathlib import Path


class MienError(Exception):
    """Base of all errors a caller may want to catch."""


class InputError(MienError, ValueError):
    """Something the caller gave cannot be used: a file, an array, an option."""


class DataError(InputError):
    """A data file is broken. Carries the place, so that a person can go and look.

    Args:
        message: what is wrong and what to do.
        file: the file, as the caller named it (``archive.zip!/member`` inside an archive).
        line: 1-based line in that file.
        column: 1-based column (character) in that line.
    """

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        self.file, self.line, self.column = file, line, column
        place = ""
        if file is not None:
            place = str(file)
            if line is not None:
                place += f", line {line}"
            if column is not None:
                place += f", column {column}"
            place += ": "
        super().__init__(place + message)


class DecodeError(InputError):
    """An image that cannot be read: no image, a damaged one, or one beyond the limits."""


class UnknownNameError(InputError, KeyError):
    """A name that no registry holds; the message suggests the nearest ones."""

    __str__ = Exception.__str__  # KeyError would show the repr, quotes and all


class RecipeError(InputError):
    """A recipe with an unknown key or a value that cannot be."""


class MissingExtraError(MienError, ImportError):
    """A part of mien needs packages that are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs packages that are not installed: pip install 'mien[{extra}]'")

    @classmethod
    def check(cls, what: str, extra: str, *modules: str | tuple[str, ...]) -> None:
        """Raise it unless all these modules can be found; none of them is imported.

        Args:
            what: needs them.
            extra: that brings all that ``what`` needs.
            modules: by which it is told whether the extra is there; of a tuple one is enough.

        Example:
            >>> MissingExtraError.check("a dance", "music", "json", "no_such_module")
            Traceback (most recent call last):
            ...
            mien.errors.MissingExtraError: a dance needs packages that are not installed: pip install 'mien[music]'
            >>> MissingExtraError.check("a dance", "music", ("json", "no_such_module"))
        """
        from importlib.util import find_spec

        either = [(names,) if isinstance(names, str) else names for names in modules]
        if not all(any(find_spec(name) for name in names) for names in either):
            raise cls(what, extra)


class BundleError(InputError):
    """A model file is not a bundle, is damaged, or asks for what this version cannot do."""


class FetchError(InputError):
    """A file could not be fetched: out of reach, cut off, or not the pinned one."""


class SealedSplitError(MienError):
    """The test split was touched outside an evaluation that the ledger notes."""


class ResultError(MienError):
    """A recorded result does not hold what it claims."""


class RunError(MienError):
    """A run folder is unfinished, damaged, or belongs to another recipe or data set."""


class OccupiedError(RunError):
    """Another process trains in the run folder at this moment."""


class RecordingError(RunError):
    """A training's step cannot be recorded (`capture` in its recipe); the same training without it can go on."""


class StorageError(MienError):
    """The storage of a search does not answer."""


class ProcessError(MienError):
    """One of several processes that work together is lost, or was given something else than the others."""


class StoppedError(MienError):
    """A training was asked to stop (SIGTERM), has saved what was done, and can be continued."""
