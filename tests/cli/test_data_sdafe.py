from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.datasets import DATASETS, DataSet, drawn_faces
from mien.datasets.extra_manifest import ExtraImage, write_entries


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images of disgust from training faces: one passes, PSNR drops one, CLIP another."""
    faces = drawn_faces(70)
    monkeypatch.setitem(DATASETS._entries, "drawn", DataSet("drawn", "few", make=lambda: drawn_faces(70)))
    entries = []
    for row, noise, seen in ((6, 12, "disgust"), (13, 120, "disgust"), (20, 12, "fear")):
        noisy = faces._images[row] + np.random.default_rng(row).normal(0, noise, (48, 48))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{row}.png")
        entries.append(ExtraImage(f"{row}.png", "disgust", "Noise", row, clip_label=seen))
    write_entries(tmp_path / "all.csv", entries)
    return tmp_path / "all.csv"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["data", "sdafe", *map(str, arguments)])
    return int(stop.value.code or 0)


def test_report_and_manifest(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = manifest.with_name("kept.csv")
    assert run(manifest, "--data", "drawn", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "1 of 3 images stay" in printed
    assert "class full" in printed
    assert out.read_text().splitlines()[1].startswith("6.png,disgust,Noise,6,")
    assert run(manifest, "--data", "drawn", "--json", "--no-clip", "--min-psnr", "3") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["kept"], report["written"], report["dropped"]["clip"]) == (3, None, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.csv",), "it cannot be read"),
        (("{}", "--min-psnr", "50", "--max-psnr", "20"), "no PSNR lies from 50"),
        (("{}", "--min-clip-cos", "0.2"), "clip_cos is empty"),
        (("{}", "--min-clip-cos", "0.2", "--no-clip"), "--no-clip"),
        (("{}", "--min-psnr", "90", "--out", "none.csv"), "no image passed the filters"),
        (("{}", "--out", "{}"), "is the manifest that was read"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    manifest: Path, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(argument.format(manifest) for argument in arguments), "--data", "drawn") == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
