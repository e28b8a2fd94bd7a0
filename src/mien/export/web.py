"""A bundle as a page: one HTML file that holds networks, runtime and recogniser and works without any connection.

Everything lies inside, so the page needs no server (it opens from the disk as well), and its Content-Security-Policy
forbids every connection: an image that is dropped on it cannot leave the machine. The pixels take the same steps as in
Python, to the bit up to the networks (``web_page/pixels.js``), and the networks are computed by onnxruntime in both.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import mien
from mien.bundle import Bundle
from mien.errors import InputError
from mien.export.web_runtime import VERSION, web_runtime
from mien.faces.centerface import CenterFace, packaged_model
from mien.faces.decode import Limits
from mien.faces.detect import SMALLEST
from mien.recognition import Recognizer
from mien.recognition.page import image_content, page, read
from mien.recognition.recognizer import CHUNK
from mien.store.atomic import write_text

LARGEST = 200 << 20
"""Bytes of a bundle; browsers hold no page with a larger one."""
_HERE = Path(__file__).with_name("web_page")
_PROMISE = "The image stays on this machine: this page cannot connect to anything."


@dataclass(frozen=True)
class WebPage:
    """A written page.

    Attributes:
        path: of the file.
        bytes: its size; what is compressed in it stays so.
        parts: compressed size of each part in bytes.
    """

    path: Path
    bytes: int
    parts: dict[str, int]


def export_web(
    bundle: Bundle,
    folder: str | Path,
    *,
    runtime: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> WebPage:
    """Write ``index.html`` with a bundle and the packaged detector.

    Args:
        bundle: what recognises; view ``one`` is computed.
        folder: to write into; an ``index.html`` that is there is replaced.
        runtime: see `mien.export.web_runtime.web_runtime`.
        progress: of the download, called with bytes had and bytes in all.

    Raises:
        InputError: the bundle is too large for a page, or the runtime cannot be had.
    """
    if len(bundle.model) > LARGEST:
        raise InputError(f"{bundle.card.name!r} is larger than the {LARGEST >> 20} MiB of a page; use `mien serve`")
    ort = web_runtime(runtime, progress=progress)
    packed = {
        "runtime": _as_object(ort.script),
        "wasm": ort.wasm,
        "detector": packaged_model().read_bytes(),
        "classifier": bundle.model,
    }
    # mtime=0: the same parts give the same page.
    parts = {name: base64.b64encode(gzip.compress(data, 9, mtime=0)).decode() for name, data in packed.items()}
    script = "\n".join([read("faces.js"), read("image.js"), *map(_read, ("local.js", "camera.js"))])
    style = read("style.css")
    blocks = [
        _block("settings", "application/json", json.dumps(_settings(bundle), sort_keys=True)),
        _block("worker", "text/plain", "\n".join(map(_read, ("pixels.js", "recognise.js", "worker.js")))),
        *(_block(name, "application/octet-stream", data) for name, data in parts.items()),
        f"<script>{script}</script>",
    ]
    text = page(
        bundle.card.name,
        image_content(_PROMISE, _read("camera.html").strip()) + _about(bundle),
        styles=f"<style>{style}</style>",
        scripts="\n".join(blocks),
        head=f'<meta http-equiv="Content-Security-Policy" content="{_policy(script, style)}">',
    )
    path = Path(folder) / "index.html"
    write_text(path, text)
    return WebPage(path, len(text.encode()), {name: len(data) for name, data in parts.items()})


def _settings(bundle: Bundle) -> dict[str, Any]:
    """What the recogniser in the browser has to know: the same bounds as here, taken from where they are said."""
    detector, limits = CenterFace(threads=1), Limits()
    return {
        "long_side": detector.long_side,
        "longest_side": detector.longest_side,
        "threshold": detector.threshold,
        "small": detector.small,
        "overlap": detector.overlap,
        "smallest": SMALLEST,
        "min_face": Recognizer(bundle).min_face,
        "chunk": CHUNK,
        "max_bytes": limits.bytes,
        "max_pixels": limits.pixels,
        "card": {key: value for key, value in bundle.card.to_json().items() if key not in ("notes", "results")},
    }


def _as_object(module: bytes) -> bytes:
    """The runtime as a plain script with an object ``ort``: a page from the disk can start no module from a blob."""
    before, _, exports = module.decode().replace("import.meta.url", "self.location.href").rpartition("export{")
    names = [name.split(" as ") for name in exports.partition("}")[0].split(",")]
    return f"{before}const ort={{{','.join(f'{shown}:{inner}' for inner, shown in names)}}};".encode()


def _policy(script: str, style: str) -> str:
    """Only this page's own script and style; blobs are what it makes itself: its worker and the pictures it shows."""
    return (
        f"default-src 'none'; script-src '{_integrity(script)}' 'wasm-unsafe-eval'; worker-src blob:; "
        f"style-src '{_integrity(style)}'; img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'"
    )


def _integrity(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _block(name: str, kind: str, content: str) -> str:
    """Data in the page, which no browser runs.

    JSON holds what the bundle's author wrote, and more than its own end tag may end a script or keep it open: ``<!--``
    with ``<script`` swallows all that follows. Without a single ``<`` in it nothing of it is read as HTML.
    """
    before, after = ("<", "\\u003c") if kind == "application/json" else ("</", "<\\/")
    return f'<script type="{kind}" id="mien-{name}">{content.replace(before, after)}</script>'


def _about(bundle: Bundle) -> str:
    card = bundle.card
    facts = {
        "Model": f"{card.name} ({card.system}, {card.precision}), licence {card.licence}",
        "SHA-256": card.sha256,
        "Expressions": ", ".join(card.labels),
        "Made with": f"mien {mien.__version__}, onnxruntime-web {VERSION}, CenterFace; all under the MIT licence",
    }
    rows = "".join(f"<tr><th scope=row>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items())
    licences = escape(
        "\n".join(
            [_read("licence.txt"), packaged_model().with_name("centerface.LICENSE.txt").read_text(encoding="utf-8")]
        )
    )
    return (
        f"<details><summary>About this page</summary>\n<div class=wide><table>{rows}</table></div>\n"
        f"<pre tabindex=0>{licences}</pre></details>"
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
