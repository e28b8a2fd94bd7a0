"""Where the study of a search is kept: a journal file, SQLite or a database server that may be away for a while.

A journal is for the processes of one machine. A server is for any number of machines; every question to it is asked
again, less and less often, until it answers or the patience ends. Passwords appear in no message, table or file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from mien.errors import InputError, MissingExtraError, StorageError
from mien.store.locking import lock_file

logger = logging.getLogger(__name__)
JOURNAL = "journal:"
_FIRST = 3.0  # seconds for the very first answer: a wrong address is told at once
_SECRETS = ("password", "passwd", "sslpassword", "token", "secret")

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long others are waited for, in whole seconds.

    Args:
        beat: a worker says that it lives every so often.
        dead: a worker that has said nothing for so long counts as dead, and its trial is made again.
        away: a storage that has not answered for so long ends the search.
    """

    beat: int = 30
    dead: int = 120
    away: int = 600

    def __post_init__(self) -> None:
        if not 0 < self.beat < self.dead or self.away < 0:
            raise InputError("patience: beat lies above 0 and below dead, and away is not negative")


class Storage:
    """The storage of a study as this process sees it.

    Args:
        where: ``journal:PATH`` or the URL of a database.
        folder: of the search; holds the lock of what has no other.
        patience: see `Patience`.
        first: do not wait long for the first answer.

    Attributes:
        optuna: what Optuna works with.
        public: ``where`` without its password.
        away: time (monotonic) of the last question that was not answered.

    Raises:
        InputError: it cannot be used.
        StorageError: it does not answer.
    """

    def __init__(self, where: str, folder: Path, patience: Patience | None = None, *, first: bool = False) -> None:
        self.patience = patience or Patience()
        self.folder = folder
        self.away = float("-inf")
        self._inside = threading.local()
        self._secrets: set[str] = set()
        if where.startswith(JOURNAL):
            self.public, self.beats, self._server = where, False, False
            self.optuna = _journal(where.removeprefix(JOURNAL))
            return
        url = _parse(where)
        self.public, self._secrets = _public(url), _secrets(url)
        self.beats, self._server = True, url.get_backend_name() == "postgresql"
        limit = min(_FIRST, self.patience.away) if first else self.patience.away
        self.optuna = self._insist(lambda: _database(url, self.patience), limit)
        for name, member in vars(type(self.optuna)).items():
            if inspect.isfunction(member) and not name.startswith("__") and "session" not in _parameters(member):
                setattr(self.optuna, name, self._patiently(getattr(self.optuna, name)))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other worker counts and asks meanwhile: on this machine, and with PostgreSQL on any."""
        with (self.folder / "ask.lock").open("ab") as lock:
            lock_file(lock)
            if not self._server:
                yield
                return
            with self._insist(self._advisory, self.patience.away):
                yield

    def reason(self, error: BaseException) -> str:
        """What a database says, in one line and without secrets."""
        text = next((str(e.orig) for e in _causes(error) if getattr(e, "orig", None)), "") or str(error)
        line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)[:200]
        for secret in sorted(self._secrets, key=len, reverse=True):
            line = line.replace(secret, "***")
        return line

    def _advisory(self) -> Any:
        """A lock that the server keeps as long as the connection lives."""
        from sqlalchemy import text

        number = int.from_bytes(hashlib.sha256(b"mien search").digest()[:7], "big")
        connection = self.optuna.engine.connect()
        try:
            # A holder whose machine lost its power is noticed by the server, too.
            for setting, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
                connection.execute(text(f"SET tcp_keepalives_{setting} = {seconds}"))
            connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
            connection.commit()
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        return _Held(connection, number)

    def _patiently(self, call: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(call)
        def again(*given: Any, **named: Any) -> T:
            if getattr(self._inside, "now", False):  # only the outermost question is asked again
                return call(*given, **named)
            self._inside.now = True
            try:
                return self._insist(lambda: call(*given, **named), self.patience.away)
            finally:
                self._inside.now = False

        return again

    def _insist(self, call: Callable[[], T], limit: float) -> T:
        began: float | None = None
        pause, race = 0.25, 0
        while True:
            try:
                return call()
            except Exception as error:
                if _is_race(error) and race < 5:
                    race += 1  # two workers made the tables at once
                elif not _is_away(error):
                    raise
                else:
                    self.away = time.monotonic()
                    if began is None:
                        began = self.away
                        logger.info("%s does not answer (%s); trying again", self.public, self.reason(error))
                    if self.away - began >= limit:
                        raise StorageError(
                            f"the storage {self.public} has not answered for {_spoken(limit)} ({self.reason(error)}); "
                            "when it is there, the same command goes on with the study, nothing is lost"
                        ) from None
            time.sleep(pause)
            # Asked again no later than a worker speaks: who is back first must not think the others dead.
            pause = min(pause * 2, 10.0, max(self.patience.beat, 0.25))


def public(where: str) -> str:
    """The address of a storage without its password.

    Example:
        >>> public("postgresql://me:secret@host/studies?sslpassword=hidden")
        'postgresql://me@host/studies'
    """
    return where if where.startswith(JOURNAL) else _public(_parse(where))


def optuna() -> Any:
    """Optuna, or the error that says how to get it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import optuna
    except ModuleNotFoundError:
        raise MissingExtraError("a search", "search") from None
    return optuna


@contextlib.contextmanager
def quiet() -> Iterator[Any]:
    """Optuna without its log of every step and its warnings about what is experimental."""
    module = optuna()
    before = module.logging.get_verbosity()
    module.logging.set_verbosity(module.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", module.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", "Heartbeat of storage is supposed")
            warnings.filterwarnings("ignore", "The reported value is ignored")  # a trial that is made again
            yield module
    finally:
        module.logging.set_verbosity(before)


class _Held:
    """An advisory lock as a context."""

    def __init__(self, connection: Any, number: int) -> None:
        self._connection, self._number = connection, number

    def __enter__(self) -> None:
        return

    def __exit__(self, *error: object) -> None:
        from sqlalchemy import exc, text

        try:
            self._connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": self._number})
            self._connection.commit()
        except exc.SQLAlchemyError:
            self._connection.invalidate()  # the server let go when the connection broke
        self._connection.close()


def _journal(path: str) -> Any:
    """A journal whose lock ends with its holder, and which survives a writer that was killed in the middle of a line.

    Optuna's own locks are files that stay after kill -9 and are broken after half a minute; and a torn last line,
    followed by another one, would make the whole journal unreadable.
    """
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    class Lock(JournalFileOpenLock):
        def acquire(self) -> bool:
            self._held = open(f"{path}.lock", "ab")  # noqa: SIM115, PTH123 - held until release
            lock_file(self._held)
            _cut_torn_line(Path(path))
            return True

        def release(self) -> None:
            self._held.close()

    return JournalStorage(JournalFileBackend(path, lock_obj=Lock(path)))


def _cut_torn_line(path: Path) -> None:
    """Nobody was told that half a line was written, and nobody reads one."""
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        if not end:
            return
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        at = end
        while at:
            start = max(0, at - (1 << 16))
            file.seek(start)
            found = file.read(at - start).rfind(b"\n")
            if found >= 0:
                file.truncate(start + found + 1)
                return
            at = start
        file.truncate(0)


def _database(url: Any, patience: Patience) -> Any:
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_backend_name() == "postgresql":
        # A server that vanished without a word is noticed within a minute or two, not after hours.
        options["connect_args"] = {
            "connect_timeout": 10, "keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10,
            "keepalives_count": 3, "tcp_user_timeout": 60_000, "application_name": "mien search",
        }  # fmt: skip
        options["connect_args"] |= url.query  # what the user said stands
        url = url.set(query={})
    with quiet() as module:
        # Optuna fills in {SCHEMA_VERSION}; braces of a password are not meant for it.
        text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
        return module.storages.RDBStorage(
            text, engine_kwargs=options, heartbeat_interval=patience.beat, grace_period=patience.dead
        )


def _parse(where: str) -> Any:
    optuna()
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(where)
    except (ArgumentError, ValueError):  # its message may hold the password
        raise InputError(
            "the storage is no URL of a database; give one like sqlite:///search.db or postgresql://user@host/name, "
            "with special letters of a password as %XX, or give none"
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    return url


def _public(url: Any) -> str:
    drive = url.drivername.partition("+")[0]
    plain = type(url).create(drive, username=url.username, host=url.host, port=url.port, database=url.database)
    return str(plain.render_as_string())


def _secrets(url: Any) -> set[str]:
    values = [url.password, *(value for key, value in url.query.items() if any(word in key for word in _SECRETS))]
    texts = [str(value) for value in values if value]
    return {form for text in texts for form in (text, quote(text), quote(text, safe=""), quote_plus(text))}


def _causes(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        # Optuna asks again by itself while it handles an answer that broke off, and then tells of the second error.
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_away(error: BaseException) -> bool:
    from sqlalchemy import exc

    return any(
        isinstance(e, exc.OperationalError | exc.InterfaceError)
        or (isinstance(e, exc.DBAPIError) and e.connection_invalidated)
        for e in _causes(error)
    )


def _is_race(error: BaseException) -> bool:
    from sqlalchemy import exc

    said = " ".join(str(e) for e in _causes(error) if isinstance(e, exc.IntegrityError | exc.ProgrammingError))
    return "already exists" in said or "UniqueViolation" in said


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _spoken(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
