from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mien.bench import bench
from mien.bench.bench import STEPS, Measure
from mien.cli import main
from mien.errors import BundleError, InputError, MienError
from mien.faces import decode, open_detector


def ms(*values: float, budget: float | None = 0.5) -> Measure:
    return Measure("face", "one face", "ms", values, budget)


def rate(*values: float) -> Measure:
    return Measure("faces", "64 faces", "faces/s", values, 4000, more_is_better=True)


def test_a_budget_is_kept_from_the_right_side() -> None:
    assert ms(0.4, 0.9, 0.5).met
    assert not ms(0.6).met
    assert rate(4000).met
    assert not rate(3999).met
    assert ms(0.1, budget=None).met is None


def test_speed_says_how_many_times_as_fast_whatever_the_unit() -> None:
    assert ms(0.2).speed_over(ms(0.6)) == pytest.approx(3)
    assert rate(6000).speed_over(rate(2000)) == pytest.approx(3)


def test_a_measure_survives_json() -> None:
    row = Measure("photo", "picture", "ms", (20, 10.5, 11), 20, steps={"decode": 2.5, "detect": 7})
    plain = json.loads(json.dumps(row.to_json()))
    assert (plain["median"], plain["min"], plain["max"]) == (11, 10.5, 20)
    assert Measure.from_json(plain) == row


@pytest.mark.parametrize("values", [(), (1.0, 0.0), (-1.0,)])
def test_values_that_cannot_be_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="above 0"):
        ms(*values)


def test_a_recorded_row_without_its_fields_is_refused() -> None:
    with pytest.raises(InputError, match="no recorded measure"):
        Measure.from_json({"id": "face"})


def test_typical_is_the_median_of_calls_after_one_that_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    lengths = iter([50.0, 1.0, 9.0, 2.0, 7.0])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])

    def work() -> None:
        now[0] += next(lengths)

    # The first call takes 50 and does not count; three calls, though the time is up after the first of them.
    assert bench.typical(work, seconds=0.5) == 2.0


def test_the_detector_finds_one_face_on_the_drawn_picture() -> None:
    pixels = decode(bench.drawn_photo())
    assert pixels.shape == (480, 640, 3)
    assert len(open_detector(threads=1).detect(pixels)) == 1
    assert bench.drawn_photo() == bench.drawn_photo()


def test_drawn_crops_are_the_same_every_time_and_not_all_one_face() -> None:
    crops = bench.drawn_crops(64)
    assert crops.shape == (64, 48, 48)
    assert crops.dtype == np.uint8
    assert np.array_equal(crops, bench.drawn_crops(64))
    assert len(np.unique(crops.reshape(64, -1), axis=0)) == 64


def test_every_row_is_measured_once_per_round(bundle_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    rows = bench.measure(
        bundle_path, rounds=2, seconds=0.001, on_progress=lambda done, rounds: seen.append((done, rounds))
    )
    assert [row.id for row in rows] == ["start", "start_cpu", "face", "faces", "photo"]
    assert {len(row.values) for row in rows} == {2}
    assert seen == [(1, 2), (2, 2)]
    photo = rows[-1]
    assert tuple(photo.steps) == STEPS
    assert all(value > 0 for value in photo.steps.values())
    start, cpu = rows[:2]
    assert cpu.median > 0.01
    assert 0.01 < start.median < 60


def test_a_bundle_in_memory_has_no_start(bundle_path: Path) -> None:
    from mien.bundle import read_bundle

    rows = bench.measure(read_bundle(bundle_path), rounds=1, seconds=0.001)
    assert [row.id for row in rows] == ["face", "faces", "photo"]


def test_no_rounds_and_no_bundle_are_refused(tmp_path: Path, bundle_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 round"):
        bench.measure(bundle_path, rounds=0)
    with pytest.raises(BundleError):
        bench.measure(tmp_path / "absent.onnx")


def test_a_process_that_fails_is_reported_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(MienError, match=r"absent\.onnx.*mien doctor"):
        bench.first_answer(tmp_path / "absent.onnx")


def test_the_command_shows_both_columns(
    bundle_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"date": "2026-01-02", "mien": "0.0", "machine": {"processor": "an old one", "cores": 3}}
    monkeypatch.setattr(bench, "recorded", lambda: (there, [ms(0.25)]))
    monkeypatch.setattr(bench, "measure", lambda *_, **__: [ms(0.5), rate(10_000)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--model", str(bundle_path)])
    assert not stop.value.code
    shown = capsys.readouterr().out
    for text in ("one face", "0.50 ×", "≤ 0.5 kept", "10,000 faces/s", "an old one, 3 cores"):
        assert text in shown, shown
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--json"])
    assert not stop.value.code
    found = json.loads(capsys.readouterr().out)
    assert [row["median"] for row in found["rows"]] == [0.5, 10_000]
    assert found["recorded"]["rows"][0]["median"] == 0.25
    assert found["machine"]["cores"] >= 1


def test_an_installation_without_recorded_figures_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "RECORDED", "absent.json")
    with pytest.raises(MienError, match="reinstall"):
        bench.recorded()
