"""onnxruntime-web, which computes networks in a browser: the package that npm knows, pinned, and two files of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mien.errors import DataError, FetchError, InputError
from mien.store.archives import ArchiveLimits, open_archive
from mien.store.cache import cache_dir
from mien.store.download import download

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
ADDRESS = f"https://registry.npmjs.org/onnxruntime-web/-/{PACKAGE}"
_BYTES = 33_106_585
_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
_SCRIPT = ("ort.wasm.bundle.min.mjs", "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90")
_WASM = ("ort-wasm-simd-threaded.wasm", "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2")
_LIMITS = ArchiveLimits(members=1000, member_bytes=64 << 20, total_bytes=512 << 20)


@dataclass(frozen=True)
class Runtime:
    """The files of the package that a page needs.

    Attributes:
        script: an ES module in JavaScript.
        wasm: what it drives, for processors with SIMD as browsers have had them since 2021.
    """

    script: bytes
    wasm: bytes


def web_runtime(given: str | Path | None = None, *, progress: Callable[[int, int], None] | None = None) -> Runtime:
    """The pinned runtime; fetched from npm into the cache folder unless it is there already.

    Args:
        given: instead, the package as ``npm pack`` brings it, or a folder with it or with its files (such as
            ``node_modules/onnxruntime-web``).
        progress: called with bytes had and bytes in all.

    Raises:
        FetchError: it cannot be had; says how to bring it by hand.
        InputError: what was given is not there or not this version.
    """
    if given is not None:
        return _given(Path(given))
    package = cache_dir("web", PACKAGE)
    if not (package.is_file() and _hash(package.read_bytes()) == _SHA256):
        try:
            download((ADDRESS,), package, sha256=_SHA256, bytes=_BYTES, progress=progress)
        except FetchError as error:
            raise FetchError(
                f"{error}. Without a network: bring that file from another machine "
                f"(npm pack onnxruntime-web@{VERSION}) and say --runtime {PACKAGE}"
            ) from None
    return _unpacked(package)


def _given(path: Path) -> Runtime:
    if path.is_file():
        return _unpacked(path)
    if (path / PACKAGE).is_file():
        return _unpacked(path / PACKAGE)
    for folder in (path, path / "dist", path / "package" / "dist"):
        files = [folder / name for name, _ in (_SCRIPT, _WASM)]
        if all(file.is_file() for file in files):
            return _checked(files[0].read_bytes(), files[1].read_bytes(), str(folder))
    raise InputError(
        f"{path} holds neither {PACKAGE} nor {_SCRIPT[0]} and {_WASM[0]}; "
        f"get them with: npm pack onnxruntime-web@{VERSION}"
    )


def _unpacked(package: Path) -> Runtime:
    archive = open_archive(package, _LIMITS)
    if archive is None:
        raise InputError(f"{package} is no archive; get it with: npm pack onnxruntime-web@{VERSION}")
    names = {f"package/dist/{name}": name for name, _ in (_SCRIPT, _WASM)}
    found = {names[member.name]: stream.read() for member, stream in archive.read(names.__contains__)}
    if len(found) < len(names):
        raise DataError(f"the archive is not onnxruntime-web {VERSION}", file=package)
    return _checked(found[_SCRIPT[0]], found[_WASM[0]], str(package))


def _checked(script: bytes, wasm: bytes, where: str) -> Runtime:
    for data, (name, pinned) in ((script, _SCRIPT), (wasm, _WASM)):
        if _hash(data) != pinned:
            raise InputError(
                f"{where}: {name} is not the one of onnxruntime-web {VERSION} (SHA-256), with which the page was "
                f"tested; get it with: npm pack onnxruntime-web@{VERSION}"
            )
    return Runtime(script, wasm)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
