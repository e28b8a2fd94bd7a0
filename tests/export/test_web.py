"""A bundle as a page: the runtime is pinned, pixels take the same steps as in Python, the page lets nothing out."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.bundle import Framing
from mien.errors import FetchError, InputError
from mien.export import export_web, web_runtime
from mien.faces.centerface import shrink
from mien.faces.crop import crop_faces
from mien.recognition.bundles import default_bundle

SCRIPT, WASM = b"var a=1,b=2;self.x=import.meta.url;export{a as Tensor,b as default};\n//# map", b"\0asm"
PAGE = Path(web_runtime.__file__).with_name("web_page")


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small runtime takes the place of the pinned one."""
    for name, data in (("_SCRIPT", SCRIPT), ("_WASM", WASM)):
        file = getattr(web_runtime, name)[0]
        monkeypatch.setattr(web_runtime, name, (file, hashlib.sha256(data).hexdigest()))


def runtime_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "ort.wasm.bundle.min.mjs").write_bytes(SCRIPT)
    (folder / "ort-wasm-simd-threaded.wasm").write_bytes(WASM)
    return folder


@pytest.mark.usefixtures("pinned")
def test_a_page_holds_everything_and_lets_nothing_out(tmp_path: Path) -> None:
    runtime_folder(tmp_path / "runtime" / "dist")
    written = export_web(default_bundle(), tmp_path / "site", runtime=tmp_path / "runtime")
    text = written.path.read_text(encoding="utf-8")
    assert written.bytes == written.path.stat().st_size > sum(written.parts.values())
    assert set(written.parts) == {"runtime", "wasm", "detector", "classifier"}
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "://" not in policy[1]
    assert "connect-src" not in policy[1], "the default, none, holds for connections"
    for kind in ("script", "style"):
        inline = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]
    assert not re.search(r'(?:src|href)="(?!data:)', text), "nothing is loaded"
    settings = json.loads(re.search(r'id="mien-settings">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert settings["card"]["sha256"] == default_bundle().card.sha256
    assert (settings["long_side"], settings["min_face"]) == (320, 10.0)
    again = export_web(default_bundle(), tmp_path / "again", runtime=tmp_path / "runtime")
    assert again.path.read_bytes() == written.path.read_bytes()


@pytest.mark.usefixtures("pinned")
def test_no_label_is_read_as_a_part_of_the_page(tmp_path: Path) -> None:
    runtime, bundle = runtime_folder(tmp_path / "runtime"), default_bundle()
    labels = ("<!--<script>", "</script><b>", *bundle.card.labels[2:])
    strange = replace(bundle, card=replace(bundle.card, name="<!--", labels=labels))
    text = export_web(strange, tmp_path / "site", runtime=runtime).path.read_text(encoding="utf-8")
    block = re.search(r'id="mien-settings">(.*?)</script>', text, re.DOTALL)
    assert block is not None
    assert "<" not in block[1]
    assert tuple(json.loads(block[1])["card"]["labels"]) == labels
    plain = export_web(bundle, tmp_path / "plain", runtime=runtime).path.read_text(encoding="utf-8")
    for tag in ("<!--", "<script", "</script"):
        assert text.count(tag) == plain.count(tag)


@pytest.mark.usefixtures("pinned")
def test_the_runtime_may_be_given_as_a_package(tmp_path: Path) -> None:
    package = tmp_path / web_runtime.PACKAGE
    with tarfile.open(package, "w:gz") as archive:
        for name, data in (("ort.wasm.bundle.min.mjs", SCRIPT), ("ort-wasm-simd-threaded.wasm", WASM)):
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    for given in (package, tmp_path):
        assert web_runtime.web_runtime(given) == web_runtime.Runtime(SCRIPT, WASM)


def test_another_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the one of onnxruntime-web"):
        web_runtime.web_runtime(runtime_folder(tmp_path / "other"))
    with pytest.raises(InputError, match="holds neither"):
        web_runtime.web_runtime(tmp_path)
    (tmp_path / "x.tgz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is no archive"):
        web_runtime.web_runtime(tmp_path / "x.tgz")


def test_without_a_network_it_says_how_to_bring_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    monkeypatch.setattr(web_runtime, "ADDRESS", (tmp_path / "absent.tgz").as_uri())
    with pytest.raises(FetchError, match=r"npm pack onnxruntime-web@.*--runtime"):
        web_runtime.web_runtime()


@pytest.mark.skipif(shutil.which("node") is None, reason="no node is installed, which runs the page's script here")
def test_pixels_take_the_same_steps_as_in_python(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases: list[dict[str, object]] = []
    images, expected = [], []
    for number in range(48):
        width, height = (int(side) for side in rng.integers(20, 500, 2))
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        images.append(image.tobytes())
        case: dict[str, object] = {"width": width, "height": height}
        if number % 3 == 0:
            size = [int(side) * 32 for side in rng.integers(1, 8, 2)]
            cases.append(case | {"size": size})
            expected.append(shrink(image, *size).astype(np.uint8).tobytes())
            continue
        side, x, y = rng.uniform(3, 400), rng.uniform(-20, width - 2), rng.uniform(-20, height - 2)
        box = np.maximum(np.float32([x, y, x + side, y + side]), np.float32([-99, -99, 1.5, 1.5]))
        points = np.float32([[x + side * 0.3, y + side * rng.uniform(0.2, 0.6)], [x + side * 0.7, y + side * 0.4]])
        landmarks = np.concatenate([points, np.zeros((3, 2), np.float32)])
        framing = {
            "margin": float(rng.uniform(0.8, 1.6)),
            "shift": float(rng.uniform(-0.2, 0.2)),
            "align": ("none", "roll")[number % 3 - 1],
            "resample": ("area", "bilinear", "bicubic", "lanczos")[number % 4],
        }
        size, colour = int(rng.choice([24, 48, 97])), ("grey", "rgb")[number % 2]
        face = {"box": box.tolist(), "landmarks": landmarks.tolist()}
        cases.append(case | {"face": face, "framing": framing, "size": size, "colour": colour})
        crop = crop_faces(image, [box], [landmarks], size=size, colour=colour, framing=Framing(**framing))  # type: ignore[arg-type]
        expected.append(crop.tobytes())
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    (tmp_path / "images").write_bytes(b"".join(images))
    run = """
        const fs = require("fs");
        const bytes = new Uint8Array(fs.readFileSync("images"));
        let at = 0;
        for (const c of JSON.parse(fs.readFileSync("cases.json"))) {
          const image = picture(c.width, c.height, 3, bytes.subarray(at, at += c.width * c.height * 3));
          const cut = () => crop(image, c.face, c.size, c.colour, c.framing).data;
          fs.appendFileSync("out", c.face ? cut() : Uint8Array.from(shrink(image, ...c.size)));
        }"""
    (tmp_path / "run.cjs").write_text("\n".join((PAGE / n).read_text() for n in ("pixels.js", "recognise.js")) + run)
    subprocess.run(["node", "run.cjs"], cwd=tmp_path, check=True, timeout=60)
    found, at = (tmp_path / "out").read_bytes(), 0
    for case, wanted in zip(cases, expected, strict=True):
        assert found[at : at + len(wanted)] == wanted, case
        at += len(wanted)
    assert at == len(found)
