"""One file from an address, by the standard library: resumed where the server can, bounded, verified, whole or not."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

import mien
from mien.errors import FetchError
from mien.store.atomic import sync_folder
from mien.store.locking import lock_file

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 4  # per address, as long as each brings something or the first ones bring nothing
PAUSE = 0.5  # seconds before the second attempt, doubled each time
_PIECE = 1 << 16
_SMALL = 1 << 20

logger = logging.getLogger("mien")


def download(
    urls: tuple[str, ...],
    target: str | Path,
    *,
    sha256: str,
    bytes: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fetch a file whose hash is known. What an interrupted run brought is kept and continued.

    Args:
        urls: where it lies; the next one is tried when one fails.
        target: replaced when everything has been checked; until then the bytes lie in ``.NAME.HASH.part`` beside it.
        sha256: of the whole file, hex.
        bytes: its size; not a byte more is taken.
        progress: called with bytes had and bytes in all.

    Returns:
        ``target``.

    Raises:
        FetchError: no address gave it; says why for each.
    """
    target = Path(target)
    part = target.with_name(f".{target.name}.{sha256[:16]}.part")
    reasons: list[str] = []
    whole = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("a+b") as out:
            if not lock_file(out, wait=False):
                raise FetchError(f"another process is fetching {target.name}; wait for it")
            for url in urls:
                try:
                    _take(url, out, bytes, progress)
                    _verify(url, out, sha256)
                    os.fsync(out.fileno())
                    whole = True
                    break
                except _FailedError as failure:
                    reasons.append(str(failure))
        if whole:
            part.replace(target)
            sync_folder(target.parent)
            return target
    except OSError as error:
        raise FetchError(f"{target} cannot be written: {error.strerror or error}; choose another folder") from None
    kept = part.stat().st_size
    if not kept:
        part.unlink()
    again = f"; {kept:,} of {bytes:,} bytes are kept, the same command goes on from there" if kept else ""
    raise FetchError(f"{target.name} could not be fetched: {'; '.join(reasons)}{again}")


def read_small(url: str) -> bytes:
    """The content of a small file at an address, such as a manifest.

    Raises:
        FetchError: it cannot be had, or is larger than 1 MiB.
    """
    try:
        with _open(url, 0)[0] as stream:
            data: bytes = stream.read(_SMALL + 1)
    except _FailedError as failure:
        raise FetchError(f"{failure}; check the address") from None
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"{url}: {_reason(error)}; try again") from None
    if len(data) > _SMALL:
        raise FetchError(f"{url} is larger than {_SMALL >> 20} MiB; this is no manifest")
    return data


def as_url(source: str | Path) -> str:
    """An address as it is; a path as a file address.

    Example:
        >>> as_url("https://example.org/a.json"), as_url("/a b.json")
        ('https://example.org/a.json', 'file:///a%20b.json')
    """
    if isinstance(source, str) and urlsplit(source).scheme in ("https", "http", "file"):
        return source
    return Path(source).absolute().as_uri()


class _FailedError(Exception):
    """This address did not give the file."""


def _take(url: str, out: IO[bytes], size: int, progress: Callable[[int, int], None] | None) -> None:
    """Append to ``out`` until it has ``size`` bytes; a connection that breaks is taken up again where it broke."""
    pause = PAUSE
    for attempt in range(ATTEMPTS):
        have = out.seek(0, os.SEEK_END)
        if have > size:
            out.truncate(have := 0)
        if progress is not None:
            progress(have, size)
        if have == size:
            return
        try:
            stream, start = _open(url, have)
            with stream:
                if start != have:
                    out.truncate(start)
                _copy(url, stream, out, size, progress)
            if out.tell() == size:
                return
            broken = f"the connection ended after {out.tell():,} of {size:,} bytes"
        except (OSError, http.client.HTTPException) as error:
            broken = _reason(error)
        out.flush()
        logger.info("%s: %s", url, broken)
        if attempt + 1 < ATTEMPTS:
            time.sleep(pause)
            pause *= 2
    raise _FailedError(f"{url}: {broken}")


def _copy(url: str, stream: IO[bytes], out: IO[bytes], size: int, progress: Callable[[int, int], None] | None) -> None:
    have = out.seek(0, os.SEEK_END)
    while piece := stream.read(min(_PIECE, size + 1 - have)):
        have += len(piece)
        if have > size:
            out.truncate(0)
            raise _FailedError(f"{url} gives more than the {size:,} bytes of the pinned file")
        out.write(piece)
        if progress is not None:
            progress(have, size)


def _verify(url: str, out: IO[bytes], sha256: str) -> None:
    out.flush()
    out.seek(0)
    found = hashlib.file_digest(cast(Any, out), "sha256").hexdigest()
    if found != sha256:
        out.truncate(0)
        raise _FailedError(f"{url} gives another file than the pinned one (SHA-256 {found[:16]}…, not {sha256[:16]}…)")


def _open(url: str, start: int) -> tuple[IO[bytes], int]:
    """A stream from byte ``start`` on, or from 0 where the server cannot; and which of the two."""
    if urlsplit(url).scheme == "file":
        path = urllib.request.url2pathname(urlsplit(url).path)
        try:
            stream = Path(path).open("rb")  # noqa: SIM115 - the caller closes it, as it does a connection
        except (OSError, ValueError) as error:
            raise _FailedError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        stream.seek(start)
        return stream, start
    headers = {"User-Agent": f"mien/{mien.__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        answer: Any = _opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return _open(url, 0)
        if error.code in (408, 425, 429) or error.code >= 500:
            raise OSError(f"the server answers {error.code} {error.reason}") from None
        raise _FailedError(f"{url}: the server answers {error.code} {error.reason}") from None
    if not start or answer.status != 206:
        return answer, 0
    place = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if place is None or int(place[1]) != start:
        answer.close()
        return _open(url, 0)
    return answer, start


def _opener() -> urllib.request.OpenerDirector:
    """Only http and https, also after a redirection; proxies as the environment says."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"no answer for {TIMEOUT:.0f} seconds"
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__)
