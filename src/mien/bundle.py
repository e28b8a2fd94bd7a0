"""The bundle: one ONNX file that describes itself, readable with the standard library alone.

A bundle is an ordinary ONNX model whose metadata carry the key ``mien.bundle``: a JSON card with everything a
recogniser needs (labels, input, framing, temperatures, threshold) and everything a careful user asks (result ids,
recipe, licence, extra data). Neither onnx nor onnxruntime is needed to read or to write one: an ONNX file is a
protocol buffer, its metadata are repeated field 14 of the outermost message, and the rest is kept byte for byte.

``sha256`` in the card is the hash of the model without its metadata. It is checked whenever a bundle is read, and it
stays the same when a card gains a result id, so a result can name the weights it was measured with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mien.errors import BundleError
from mien.labels import LABEL_SETS, LabelSet
from mien.store import atomic_file
from mien.store.cells import FORMULA

FORMAT = "mien-bundle@1"
MAX_BYTES = 1 << 31
MAX_CARD_BYTES = 1 << 20
MAX_WORDS, MAX_LETTERS = 1000, 200
_KEY = "mien.bundle"
_METADATA_PROPS = 14


@dataclass(frozen=True)
class InputSpec:
    """What a network takes: float32 (N, channels, size, size), ``(pixel / 255 - mean) / std``.

    Args:
        size: height and width in pixels.
        channels: 1 or 3.
        colour: ``grey`` or ``rgb``; a grey face fed to 3 channels is repeated.
        mean: one value per channel on the 0–1 scale.
        std: likewise.
        resize: side in pixels that the whole face is brought to before its central ``size`` × ``size`` pixels are
            taken; 0 means ``size`` (nothing is cut off). A network trained on 40 px crops of 48 px faces has 48 here.
    """

    size: int
    channels: int
    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "std", tuple(map(float, self.std)))
        if self.channels not in (1, 3) or self.colour not in ("grey", "rgb"):
            raise BundleError(f"an input has 1 or 3 channels, grey or rgb, not {self.channels} and {self.colour!r}")
        if (self.channels == 1) != (self.colour == "grey") and self.colour == "rgb":
            raise BundleError("an rgb input has 3 channels")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise BundleError(
                f"mean and std need one value per channel: {self.channels} each, not {len(self.mean)} and "
                f"{len(self.std)}; set them together (input.channels, input.mean, input.std)"
            )
        if wrong := [value for value in self.std if not 1e-6 <= value <= 1e3]:  # NaN is not either
            raise BundleError(f"an input is divided by its std, so it needs a std from 1e-6 to 1000, not {wrong[0]:g}")
        if wrong := [value for value in self.mean if not -1e3 <= value <= 1e3]:
            raise BundleError(f"an input has a mean from -1000 to 1000 (the brightest grey is 1), not {wrong[0]:g}")
        if not 8 <= self.size <= 1024:
            raise BundleError(f"an input size of {self.size} px is outside 8–1024")
        if self.resize and not self.size <= self.resize <= 1024:
            raise BundleError(f"faces of {self.resize} px hold no crop of {self.size} px")

    @property
    def face_size(self) -> int:
        """Side in pixels of the whole face, from which ``size`` is cut."""
        return self.resize or self.size


@dataclass(frozen=True)
class Framing:
    """How a face is cut out of a photograph so that it looks like the faces the network was trained on.

    Args:
        margin: side of the square crop over the longer side of the detector's box.
        shift: the crop's centre below the box's centre, as a fraction of the crop's side (negative: above).
        align: ``none`` or ``roll`` (turn the crop so that the line between the eyes is level).
        resample: ``area``, ``bilinear``, ``bicubic`` or ``lanczos``.
    """

    margin: float = 1.05
    shift: float = -0.02
    align: str = "none"
    resample: str = "area"

    def __post_init__(self) -> None:
        if not 0.3 <= self.margin <= 4 or not -0.5 <= self.shift <= 0.5:
            raise BundleError("framing: margin lies in 0.3–4 and shift in -0.5–0.5")
        if self.align not in ("none", "roll") or self.resample not in ("area", "bilinear", "bicubic", "lanczos"):
            raise BundleError("framing: align is none or roll; resample is area, bilinear, bicubic or lanczos")


@dataclass(frozen=True)
class BundleCard:
    """Everything a bundle says of itself. Unknown fields are refused, so that a typo cannot pass for a fact.

    Args:
        name: short name of the model.
        system: id of the architecture in the registry.
        label_set: name of the label set.
        labels: its labels in output order.
        input: what the network takes.
        framing: how faces are cut for it.
        temperatures: for each view that was calibrated, the temperature that its mean logits are divided by.
        threshold: a face whose confidence is below it is undecided.
        precision: ``fp32``, ``fp16`` or ``int8``.
        results: for each view, the id of the recorded result measured with this very file.
        recipe_hash: hash of the recipe it was trained with.
        extra_data: data beyond the protocol's training split; empty when there is none.
        licence: licence of the weights, in SPDX form where there is one.
        opset: ONNX opset of the graph.
        sha256: hash of the model without metadata; filled in by `write_bundle`.
        notes: free facts for a reader (coverage and accuracy at the threshold, training set, …).
    """

    name: str
    system: str
    label_set: str
    labels: tuple[str, ...]
    input: InputSpec
    framing: Framing = Framing()
    temperatures: Mapping[str, float] = field(default_factory=lambda: {"one": 1.0})
    threshold: float = 0.0
    precision: str = "fp32"
    results: Mapping[str, str] = field(default_factory=dict)
    recipe_hash: str = ""
    extra_data: tuple[str, ...] = ()
    licence: str = "MIT"
    opset: int = 0
    sha256: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "extra_data", tuple(self.extra_data))
        for what in ("name", "system", "label_set", "precision", "recipe_hash", "licence", "labels", "extra_data"):
            value = getattr(self, what)
            _check_words(what, value if isinstance(value, tuple) else (value,))
        if any(label.startswith(FORMULA) for label in self.labels):
            raise BundleError(f"a label begins with none of {' '.join(FORMULA[:4])}: a spreadsheet would calculate it")
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise BundleError("a bundle names each of its labels once")
        if not 0 <= self.threshold < 1:
            raise BundleError(f"a threshold of {self.threshold} is no probability below 1")
        if "one" not in self.temperatures or not all(t > 0 for t in self.temperatures.values()):
            raise BundleError("a bundle has a temperature above 0 for view 'one'")

    def labelset(self) -> LabelSet:
        """The label set as an object; one that is not built in is made from the card."""
        if self.label_set in LABEL_SETS and LABEL_SETS[self.label_set].labels == self.labels:
            return LABEL_SETS[self.label_set]
        return LabelSet(self.label_set, self.labels)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, ``format`` first."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> BundleCard:
        """The inverse of `to_json`; raises `BundleError` for anything else."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise BundleError(f"the card is not of format {FORMAT!r}; a newer mien may read it")
        value = {key: item for key, item in value.items() if key != "format"}
        unknown = set(value) - {f.name for f in fields(cls)}
        if unknown:
            raise BundleError(f"the card has unknown fields: {', '.join(sorted(unknown))}")
        try:
            value["input"] = InputSpec(**value["input"])
            value["framing"] = Framing(**value.get("framing", {}))
            return cls(**value)
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise BundleError(f"the card is incomplete or malformed: {error}") from None


def _check_words(what: str, words: tuple[str, ...]) -> None:
    """They reach terminals, tables and pages, so they are short and hold nothing that steers one."""
    if len(words) > MAX_WORDS or not all(isinstance(word, str) and len(word) <= MAX_LETTERS for word in words):
        raise BundleError(f"{what}: a card says that in at most {MAX_WORDS} texts of up to {MAX_LETTERS} letters")
    if not all(word.isprintable() for word in words):
        raise BundleError(f"{what} holds letters that cannot be printed")


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory: its card and the bytes of the whole ONNX file."""

    card: BundleCard
    model: bytes


def read_bundle(source: str | Path | bytes) -> Bundle:
    """Read and check a bundle.

    Args:
        source: path of the file, or its bytes.

    Raises:
        BundleError: not ONNX, an unsafe graph (`check_graph`), no card, a damaged file (hash), or a malformed card.
    """
    where = "the model" if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise BundleError(f"{path} is larger than an ONNX file can be (2 GiB)")
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise BundleError(f"{path}: {reason}; give the path of an exported bundle (.onnx)") from None
    body, metadata = _split(data, where)
    check_graph(data, where)
    if _KEY not in metadata:
        raise BundleError(f"{where} is an ONNX file but no bundle: it has no card; export it with `mien export`")
    if len(metadata[_KEY].encode()) > MAX_CARD_BYTES:
        raise BundleError(f"{where}: the card is larger than {MAX_CARD_BYTES >> 10} KiB")
    try:
        card = BundleCard.from_json(json.loads(metadata[_KEY]))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{where}: the card is no JSON ({error})") from None
    except BundleError as error:
        raise BundleError(f"{where}: {error}") from None
    if hashlib.sha256(body).hexdigest() != card.sha256:
        raise BundleError(f"{where} is damaged: its weights do not match the SHA-256 in its card; get it again")
    return Bundle(card, data)


def write_bundle(path: str | Path, model: bytes, card: BundleCard) -> Bundle:
    """Write an ONNX model with ``card`` in its metadata, atomically; other ``mien.*`` metadata are replaced.

    Returns:
        The bundle as written, its card with ``sha256`` filled in.

    Raises:
        BundleError: it could not be read again, for its graph, the length of its card or its size; nothing was written.
    """
    body, metadata = _split(model, "the model")
    check_graph(model, "the model")
    card = replace(card, sha256=hashlib.sha256(body).hexdigest())
    kept = {key: value for key, value in metadata.items() if not key.startswith("mien.")}
    kept[_KEY] = json.dumps(card.to_json(), ensure_ascii=False, sort_keys=True)
    if (size := len(kept[_KEY].encode())) > MAX_CARD_BYTES:
        raise BundleError(
            f"{path}: its card would have {-(-size >> 10):,} KiB, and at most {MAX_CARD_BYTES >> 10:,} KiB can be read "
            "again; give it less in its notes, such as fewer groups of faces"
        )
    data = body + b"".join(_entry(key, value) for key, value in sorted(kept.items()))
    if len(data) > MAX_BYTES:
        raise BundleError(f"{path} would be larger than an ONNX file can be (2 GiB)")
    with atomic_file(path) as out:
        out.write(data)
    return Bundle(card, data)


def check_graph(model: bytes, where: str = "the model") -> None:
    """Refuse what makes an ONNX file more than a description of arithmetic.

    That is data in other files, whose paths a stranger chose, and operators that onnxruntime does not bring along and
    would need a library for. Subgraphs and functions are looked into as well.

    Args:
        model: an ONNX file.
        where: what to call it in messages.

    Raises:
        BundleError: it refers to other files, uses unknown operators, or is no ONNX model.
    """
    local: set[str] = set()  # domains of functions that the model itself defines
    domains: dict[str, str] = {}
    # Numbers are those of onnx.proto3. A stack instead of recursion: depth is the stranger's choice too.
    stack: list[tuple[str, memoryview]] = [("model", memoryview(model))]
    try:
        while stack:
            kind, data = stack.pop()
            inner = _MESSAGES[kind]
            domain = name = ""
            for number, _, payload, end in message_fields(data):
                if number in inner:
                    stack.append((inner[number], data[payload:end]))
                elif kind == "tensor" and (number == 13 or (number == 14 and _varint(data, payload)[0] != 0)):
                    raise BundleError(f"{where} keeps weights in other files; save it with all of them inside")
                elif kind == "node" and number == 7:
                    domain = bytes(data[payload:end]).decode()
                elif kind == "node" and number == 4:
                    name = bytes(data[payload:end]).decode()
                elif kind == "function" and number == 10:
                    local.add(bytes(data[payload:end]).decode())
            if kind == "node":
                domains.setdefault(domain, name)
                # It names a file with a compiled graph for an accelerator.
                if name == "EPContext":
                    raise BundleError(f"{where} contains a graph compiled for one machine; export it again")
    except (ValueError, UnicodeDecodeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{where} is no ONNX model, or a truncated one") from None
    for domain, name in domains.items():
        if domain not in _DOMAINS and domain not in local:
            raise BundleError(f"{where} uses the operator {name!r} of {domain!r}, which needs a foreign library")


# Which fields of a message hold messages that are looked into.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"}


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("truncated")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def message_fields(data: bytes | memoryview) -> Iterator[tuple[int, int, int, int]]:
    """(field number, start of the field, start of its payload, end) of a protocol buffer's outermost message."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        payload = at
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 1:
            at += 8
        elif wire == 2:
            length, payload = _varint(data, at)
            at = payload + length
        elif wire == 5:
            at += 4
        else:
            raise ValueError("no such wire type")
        if number == 0 or at > len(data):
            raise ValueError("truncated")
        yield number, start, payload, at


def _split(data: bytes, where: str) -> tuple[bytes, dict[str, str]]:
    """The model without its metadata, and the metadata."""
    body: list[bytes] = []
    metadata: dict[str, str] = {}
    has_graph = False
    try:
        for number, start, payload, end in message_fields(data):
            if number == _METADATA_PROPS:
                pair = {n: data[payload + p : payload + e].decode() for n, _, p, e in message_fields(data[payload:end])}
                metadata[pair.get(1, "")] = pair.get(2, "")
            else:
                has_graph |= number == 7
                body.append(data[start:end])
    except (ValueError, UnicodeDecodeError):
        has_graph = False
    if not has_graph:
        raise BundleError(f"{where} is no ONNX model, or a truncated one")
    return b"".join(body), metadata


def _entry(key: str, value: str) -> bytes:
    return message_piece(_METADATA_PROPS, message_piece(1, key.encode()) + message_piece(2, value.encode()))


def message_piece(number: int, payload: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes, text or another message."""
    length, out = len(payload), bytearray([number << 3 | 2])
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out) + payload
