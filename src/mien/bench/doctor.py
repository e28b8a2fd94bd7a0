"""What this installation has, what it lacks for which verb, and whether its models are the released ones."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.resources
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import mien
from mien.errors import MienError
from mien.store import cache_dir
from mien.store.cpu import cpu_count
from mien.store.fetching import list_fetched

# The detector as the build leaves it; a test compares this with hatch_build.py.
DETECTOR_SHA256 = "aaa78a8ea061937f85e3229444af93ab01f7c654457649fc4e7023736b19c248"

# What a verb needs beyond the core; a verb that stands nowhere here needs nothing.
VERB_EXTRAS: dict[str, tuple[str, ...]] = {
    "predict": (),
    "predict --out faces.parquet": ("table",),
    "predict --engine ray": ("scale",),
    "adapt": (),
    "video": ("video",),
    "fetch": (),
    "data import": (),
    "data audit": ("audit",),
    "results verify": (),
    "compare": (),
    "compare --diagram": ("train",),
    "train": ("train",),
    "train local-learning-bow": ("classical",),
    "evaluate": ("train",),
    "export": ("train",),
    "ensemble": (),
    "search": ("search",),
    "distill": ("train",),
    "explain": (),
    "explain --method gradcam": ("explain",),
    "report": ("site",),
    "leaderboard": ("site",),
    "serve": ("serve",),
    "live": ("serve",),
    "bench": (),
}
RECOGNISING = ("predict", "adapt", "video", "serve", "live", "bench")
"""Verbs that by default need the released detector and network."""
# Extra → extras within it (above it) and packages of its own, as pyproject.toml says; a test compares the two. Where
# mien runs from a checkout there is no metadata to ask.
EXTRAS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train": (
        (),
        ("torch", "torchvision", "timm", "lightning-fabric", "scikit-learn", "scipy", "safetensors", "onnx",
         "onnxscript", "matplotlib"),
    ),
    "classical": (("train",), ("opencv-python-headless", "faiss-cpu", "threadpoolctl")),
    "table": ((), ("pandas", "pyarrow")),
    "audit": (("train",), ("cleanlab",)),
    "search": (("train",), ("optuna", "psycopg")),
    "video": ((), ("av",)),
    "explain": (("train",), ("captum",)),
    "serve": ((), ("fastapi", "uvicorn", "python-multipart", "websockets", "prometheus-client")),
    "site": ((), ("jinja2",)),
    "scale": ((), ("ray", "fsspec", "s3fs", "pyarrow")),
    "all": (("train", "table", "audit", "classical", "search", "video", "site", "serve", "explain"), ()),
}  # fmt: skip
_MODULES = {
    "faiss-cpu": "faiss",
    "lightning-fabric": "lightning_fabric",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "python-multipart": "python_multipart",
    "scikit-learn": "sklearn",
}
"""Modules whose packages have other names."""
_CORE = ("numpy", "onnxruntime", "pillow", "rich", "typer")
# Those that decide how fast int8 and fp32 networks run.
_FEATURES = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp", "i8mm")


def diagnose(verbs: Iterable[str] | None = None, *, run: bool = True) -> dict[str, Any]:
    """Look at this installation; nothing is changed, nothing is downloaded, torch is not imported.

    Args:
        verbs: those that the command line has; others of the table are left out. None: all of the table.
        run: also recognise a blank picture, which tells whether the inference engine works on this processor.

    Returns:
        JSON values: ``mien``, ``python``, ``platform``, ``packages`` (name → version or None), ``extras`` (name →
        missing packages), ``verbs`` (name → missing extras), ``broken`` (verbs that lack a working
        recogniser), ``cpu`` (``name``, ``cores``, ``threads``, ``features``), ``cache`` (``path``, ``exists``,
        ``writable``, ``bytes``), ``models`` (name → ``ok``, ``sha256``, ``message``), ``fetched`` (what ``mien fetch``
        brought), ``inference`` (``ok``, ``message``), ``ok`` (recognition works).
    """
    extras = _extras()
    packages = {name: _version(name) for name in sorted({*_CORE, *(p for names in extras.values() for p in names)})}
    missing = {extra: [name for name in names if packages[name] is None] for extra, names in extras.items()}
    models = {"default bundle": _default_bundle(), "centerface": _detector()}
    whole = all(model["ok"] for model in models.values()) and all(packages[name] for name in _CORE)
    inference = _inference() if run and whole else {"ok": whole, "message": "not tried"}
    cache = cache_dir()
    known = {*VERB_EXTRAS} if verbs is None else {*verbs}
    table = {verb: needed for verb, needed in VERB_EXTRAS.items() if verb.split()[0] in {v.split()[0] for v in known}}
    table |= {verb: () for verb in sorted(known) if verb.split()[0] not in {v.split()[0] for v in VERB_EXTRAS}}
    works = whole and inference["ok"]
    return {
        "mien": mien.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "extras": missing,
        "verbs": {verb: [e for e in needed if e not in missing or missing[e]] for verb, needed in table.items()},
        "broken": [] if works else [verb for verb in table if verb.split()[0] in RECOGNISING],
        "cpu": {"name": _cpu_name(), "cores": os.cpu_count(), "threads": cpu_count(), "features": _cpu_features()},
        "cache": {
            "path": str(cache),
            "exists": cache.is_dir(),
            "writable": _writable(cache),
            "bytes": sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) if cache.is_dir() else 0,
        },
        "models": models,
        "fetched": list_fetched(),
        "inference": inference,
        "ok": works,
    }


def _inference() -> dict[str, Any]:
    """Whether the detector and the network run here; a broken build of the engine shows nowhere else."""
    from mien.recognition import Recognizer

    start = time.perf_counter()
    try:
        recognizer = Recognizer().warm_up()
        loaded = time.perf_counter()
        face = np.full((1, 48, 48), 127, np.uint8)
        times = []
        for _ in range(5):
            before = time.perf_counter()
            recognizer.classify(face)
            times.append(time.perf_counter() - before)
    except Exception as error:  # whatever the engine makes of this processor
        return {"ok": False, "message": f"recognition fails here ({str(error).splitlines()[0][:160]}); reinstall mien"}
    message = f"works: loaded in {loaded - start:.2f} s, one face in {1e3 * sorted(times)[2]:.2f} ms"
    return {"ok": True, "message": message}


def _extras() -> dict[str, list[str]]:
    """Extra → names of the packages it brings, extras within extras included."""
    found: dict[str, list[str]] = {}
    for extra, (within, names) in EXTRAS.items():
        found[extra] = sorted({*names, *(name for inner in within for name in found[inner])})
    return found


def _version(package: str) -> str | None:
    """None if it cannot be imported, whatever the metadata says; ``?`` if it can, but nothing tells its version."""
    if importlib.util.find_spec(_MODULES.get(package, package)) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _default_bundle() -> dict[str, Any]:
    from mien.recognition.bundles import default_bundle

    try:
        bundle = default_bundle()
    except MienError as error:
        return {"ok": False, "sha256": None, "message": str(error)}
    sha256 = hashlib.sha256(bundle.model).hexdigest()
    return {"ok": True, "sha256": sha256, "message": f"{bundle.card.name}, {len(bundle.model) / 1e6:.1f} MB"}


def _detector() -> dict[str, Any]:
    try:
        model = importlib.resources.files("mien.faces").joinpath("centerface.onnx").read_bytes()
    except OSError:
        return {"ok": False, "sha256": None, "message": "the file is missing; reinstall mien with pip install"}
    sha256 = hashlib.sha256(model).hexdigest()
    if sha256 != DETECTOR_SHA256:
        return {"ok": False, "sha256": sha256, "message": "this is not the released file; reinstall mien"}
    return {"ok": True, "sha256": sha256, "message": f"{len(model) / 1e6:.1f} MB"}


def _cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpu_features() -> list[str]:
    """Empty where the system does not tell."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return [name for name in _FEATURES if name in flags]


def _cpuinfo(key: str) -> str:
    if sys.platform != "linux":
        return ""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def _writable(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, can be written to."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
