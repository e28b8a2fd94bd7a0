"""Feature spaces by name: what a person writes into a recipe → a matrix, and whether it knows the labels.

=================  ============================================================================================
``sift``           dense SIFT on a coarse grid, 2,048 numbers; learnt from nothing
``pixels``         the face at 24 × 24 pixels, its mean at 0 and its deviation at 1; learnt from nothing
``NAME.onnx``      penultimate layer of a bundle; a bundle was trained on labels
``timm:NAME``      a pretrained network of timm, where its weights are at hand (CLIP, DINOv2, …)
``NAME.npy``       a matrix with one row per face of the whole face set, in its order
=================  ============================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.datasets.lineage import Lineage, behind
from mien.errors import InputError, MissingExtraError
from mien.features.cache import Advance, cached_rows, faces_digest
from mien.features.matrix import checked_matrix, read_matrix
from mien.features.network import network_features
from mien.features.sift import SiftGrid, dense_sift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.bundle import BundleCard
    from mien.datasets import Split

_GRID = SiftGrid(side=95, step=24, patches=(24,))
_BLOCK = 256
LABELS_SEEN = "FER2013 labels (through the features)"


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Features of some faces.

    Attributes:
        name: as it was asked for.
        matrix: float32 (n, D).
        source: hash of what made them: equal hashes, equal features for equal faces.
        extra_data: data beyond the faces that went into them; `LABELS_SEEN` where labels did.
        lineage: the faces that a bundle learnt from; None for what learnt from no data set that is known here.
    """

    name: str
    matrix: NDArray[np.float32]
    source: str
    extra_data: tuple[str, ...] = ()
    lineage: Lineage | None = None

    def learnt_from(self, train: Split) -> tuple[str, ...]:
        """`extra_data`, and the data behind a bundle as far as a fit to ``train`` does not learn from them itself.

        Raises:
            InputError: the bundle learnt from faces that this fit leaves out, or may have.
        """
        return (*self.extra_data, *(behind(self.lineage, train) if self.lineage else ()))


def feature_space(
    name: str,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64] | None = None,
    *,
    origin: str = "",
    advance: Advance | None = None,
) -> FeatureSpace:
    """Features of faces in a named space, cached.

    Args:
        name: see the table above.
        images: uint8 (n, H, W) grey.
        rows: row numbers of the faces in their face set; only for ``.npy``.
        origin: what the features of an ``.npy`` were learnt from; empty is recorded as unknown.
        advance: told how many faces are done.

    Raises:
        InputError: an unknown space, a file that is none, NaN, a matrix with too few rows, weights not at hand.

    Example:
        >>> feature_space("pixels", np.zeros((0, 48, 48), np.uint8))
        Traceback (most recent call last):
        ...
        mien.errors.InputError: there are no faces to take features of; give a split that is not empty
    """
    if not len(images):
        raise InputError("there are no faces to take features of; give a split that is not empty")
    if name in _PLAIN:
        make, width = _PLAIN[name]
        key = {"faces": faces_digest(images), "space": name}
        matrix = cached_rows(
            "space",
            key,
            (len(images), width),
            np.float32,
            lambda start, stop: make(np.asarray(images[start:stop])),
            block=_BLOCK,
            advance=advance,
        )
        return FeatureSpace(name, matrix, name)
    if name.startswith("timm:"):
        return _timm(name, images, advance)
    suffix = Path(name).suffix
    if suffix == ".onnx":
        from mien.bundle import read_bundle

        bundle = read_bundle(name)
        matrix = network_features(bundle, images, advance=advance)
        seen = (*bundle.card.extra_data, LABELS_SEEN)
        return FeatureSpace(name, matrix, bundle.card.sha256, seen, _lineage(name, bundle.card))
    if suffix == ".npy":
        picked = _picked(name, rows)
        return FeatureSpace(name, picked, file_hash(name), (origin or "unknown",))
    raise _unknown(name)


def file_hash(name: str) -> str:
    """SHA-256 (hex) of what a file of features holds: a bundle's graph, the whole of an ``.npy``; else empty.

    Spaces that are no files have it from their name alone.

    Raises:
        InputError: there is no such file, or it is no bundle.

    Example:
        >>> file_hash("sift")
        ''
    """
    suffix = Path(name).suffix
    if name in _PLAIN or name.startswith("timm:") or suffix not in (".onnx", ".npy"):
        return ""
    if suffix == ".onnx":
        from mien.bundle import read_bundle

        return read_bundle(name).card.sha256
    try:
        with Path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}; give a matrix with one row per face (.npy)") from None


def check_features(names: Iterable[str], train: Split, *scored: Split) -> None:
    """Refuse, before anything is computed or written, features that a fit to ``train`` cannot have.

    Args:
        names: of the spaces.
        train: what is learnt from.
        scored: splits that the fit is to score.

    Raises:
        InputError: no such space; a matrix that is none, that has too few rows, or NaN in those of one of the splits; a
            bundle that learnt from faces that ``train`` leaves out, or may have; weights not at hand.
        MissingExtraError: packages that a space needs are not installed.
    """
    from mien.bundle import read_bundle

    for name in names:
        suffix = Path(name).suffix
        if name in _PLAIN:
            if name == "sift":
                MissingExtraError.check("dense SIFT", "classical", "cv2")
        elif name.startswith("timm:"):
            _timm_network(name.removeprefix("timm:"))  # only getting them tells whether the weights can be got
        elif suffix == ".onnx":
            behind(_lineage(name, read_bundle(name).card), train)
        elif suffix == ".npy":
            for split in (train, *scored):
                _picked(name, split.rows)
        else:
            raise _unknown(name)


def _picked(name: str, rows: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """The rows of an ``.npy`` that belong to a split."""
    whole = read_matrix(name)
    if rows is None or rows.max() >= len(whole):
        raise InputError(f"{name} has {len(whole):,} rows; give one row per face of the whole face set, in its order")
    return checked_matrix(whole[rows], name)


def _unknown(name: str) -> InputError:
    return InputError(
        f"no features are called {name!r}; give sift, pixels, timm:NAME, a bundle (.onnx; `mien export` makes one of a "
        "run) or a matrix (.npy)"
    )


def _lineage(name: str, card: BundleCard) -> Lineage:
    return Lineage.of_notes(Path(name).name, card.notes)


def _sift(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return dense_sift(images, _GRID).reshape(len(images), -1)


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    from mien.faces.views import resize_faces

    small = resize_faces(images, 24, "grey").reshape(len(images), -1).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    found: NDArray[np.float32] = small / np.maximum(small.std(axis=1, keepdims=True), 1.0)
    return found


_PLAIN = {"sift": (_sift, len(_GRID) * 128), "pixels": (_pixels, 24 * 24)}


def _timm(name: str, images: NDArray[np.uint8], advance: Advance | None) -> FeatureSpace:
    model = name.removeprefix("timm:")
    network = _timm_network(model)
    import timm
    import torch

    from mien.bundle import InputSpec
    from mien.faces.views import get_view

    resolve: Any = timm.data.resolve_model_data_config  # type: ignore[attr-defined]
    config = resolve(network)
    spec = InputSpec(config["input_size"][1], 3, "grey", tuple(config["mean"]), tuple(config["std"]))
    view = get_view("one")

    @torch.no_grad()
    def embed(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        out: NDArray[np.float32] = network(torch.from_numpy(inputs)).float().numpy()
        return out

    def make(start: int, stop: int) -> NDArray[np.float32]:
        return view.scores(np.asarray(images[start:stop]), spec, embed)

    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.contiguous().view(torch.uint8).numpy().data if value.dim() else bytes(str(value), "ascii"))
    source = digest.hexdigest()
    width = make(0, 1).shape[1]
    key = {"faces": faces_digest(images), "network": source, "size": spec.size}
    matrix = cached_rows("timm", key, (len(images), width), np.float32, make, block=32, advance=advance)
    return FeatureSpace(name, matrix, source, (f"{model} weights",))


def _timm_network(model: str) -> Any:
    """A pretrained network of timm without its classifier, or the reason why there is none (`InputError`)."""
    try:
        import timm
    except ModuleNotFoundError:
        raise MissingExtraError("features of timm", "classical") from None
    try:
        return timm.create_model(model, pretrained=True, num_classes=0).eval()
    except Exception as error:
        # timm passes on whatever its hub client says: no such model, no connection, no rights.
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"weights of {model!r} are not at hand ({said[:160]}); compute features elsewhere and give them as .npy"
        ) from None
