"""Small npz files that are read without trust: no pickles, bounded sizes, named members only.

The bytes that `write_arrays` writes depend on the arrays alone (and on libbz2), never on the clock.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import ResultError
from mien.store import atomic_file

try:
    import bz2
except ImportError:  # a Python that was built without it
    bz2 = None  # type: ignore[assignment]

Array = NDArray[np.generic]

MAX_BYTES = 64 << 20
_LOCAL = struct.Struct("<26s2H")
_NO_BZ2 = "this Python was built without bz2, which predictions are packed with; use another build of Python"


def write_arrays(path: str | Path, arrays: Mapping[str, Array]) -> None:
    """Write ``arrays`` as a compressed npz, whole or not at all, equal bytes for equal arrays."""
    if bz2 is None:
        raise ResultError(f"{path} cannot be written: {_NO_BZ2}")
    # bzip2 takes a seventh to a quarter less than deflate for scores, and NumPy reads it as any npz.
    with atomic_file(path) as out, zipfile.ZipFile(out, "w") as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            # The default date of a ZipInfo is a constant; the default system is that of the machine.
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type, info.create_system = zipfile.ZIP_BZIP2, 3
            archive.writestr(info, member.getvalue(), compresslevel=9)


def read_arrays(path: str | Path, names: Collection[str], *, max_bytes: int = MAX_BYTES) -> dict[str, Array]:
    """Read the members of an npz that are named in ``names``; anything else in it is refused.

    Args:
        path: the file.
        names: members that may be there; not all of them have to be.
        max_bytes: bound on the unpacked size of all members together.

    Raises:
        ResultError: no such file, no npz, a member that is not expected, too large, or not plain numbers.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            found = [member.filename.removesuffix(".npy") for member in members]
            unknown = sorted(set(found) - set(names))
            if unknown or len(set(found)) != len(found):
                shown = ", ".join(map(repr, unknown[:5])) or "a member twice"
                raise ResultError(f"{path} holds {shown}; only {', '.join(sorted(names))} may be there, once each")
            if sum(max(member.file_size, member.compress_size) for member in members) > max_bytes:
                raise ResultError(f"{path} unpacks to more than {max_bytes >> 20} MiB; that is no file of predictions")
            return {
                name: _read_member(_unpacked(archive, member, path), f"{path}, array {name!r}")
                for name, member in zip(found, members, strict=True)
            }
    except (
        OSError,
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        zlib.error,
    ) as error:
        if isinstance(error, FileNotFoundError):
            raise ResultError(f"{path} is missing; a result is a .json and the .npz of the same name") from None
        raise ResultError(f"{path} is no readable npz file ({error}); get it again") from None


def hash_arrays(arrays: Mapping[str, Array]) -> str:
    """SHA-256 over names, dtypes, shapes and values; independent of compression and byte order.

    Example:
        >>> hash_arrays({"a": np.zeros(2, np.uint8)})[:12]
        '3598b269262c'
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> bytes:
    """The content of a member, never more of it than its header promises: zipfile itself unpacks bzip2 unbounded."""
    packed = _packed(archive, member)
    bound = member.file_size + 1
    if member.compress_type == zipfile.ZIP_STORED:
        data = packed
    elif member.compress_type == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, bound)
    elif member.compress_type != zipfile.ZIP_BZIP2:
        raise zipfile.BadZipFile("packed in another way than stored, deflate or bzip2")
    elif bz2 is None:
        raise ResultError(f"{path} cannot be read: {_NO_BZ2}")
    else:
        data = bz2.BZ2Decompressor().decompress(packed, max_length=bound)
    if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
        raise zipfile.BadZipFile(f"{member.filename} is not as long as its header says, or damaged")
    return data


def _packed(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.flag_bits & 1:
        raise zipfile.BadZipFile("encrypted")
    stream = archive.fp
    assert stream is not None
    # What precedes a member: 30 bytes, the last four of which say how long name and extra field are.
    stream.seek(member.header_offset)
    header = stream.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\3\4"):
        raise zipfile.BadZipFile("a member is not where the directory says")
    stream.seek(sum(_LOCAL.unpack(header)[1:]), 1)
    return stream.read(member.compress_size)


def _read_member(data: bytes, where: str) -> Array:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ResultError(f"{where} is no plain array ({error})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uifb":
        raise ResultError(f"{where} does not hold numbers")
    array.setflags(write=False)
    return array
