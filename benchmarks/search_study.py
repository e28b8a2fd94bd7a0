"""What a search came to, kept for the guide: its trials, its best recipe, and that recipe trained anew.

    python benchmarks/search_study.py searches/cnn-17fea825 --record

Reads `search.json` of a finished study. Nothing is trained and no split is opened.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

from mien.store import write_text
from mien.training import Run

RECORDED = Path(__file__).resolve().parent / "recorded"
SHOWN = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the study")
    parser.add_argument("--record", action="store_true", help="keep it as benchmarks/recorded/search_SPACE.json")
    arguments = parser.parse_args()
    found = told(json.loads((arguments.folder / "search.json").read_text(encoding="utf-8")), arguments.folder)
    print(json.dumps(found["table"], indent=1))
    if arguments.record:
        # One line per trial: a study has many, and nobody reads them indented.
        trials = ",\n  ".join(json.dumps(trial, ensure_ascii=False) for trial in found.pop("trials"))
        text = json.dumps(found, indent=1, ensure_ascii=False)
        write_text(RECORDED / f"search_{found['space']}.json", f'{text[:-2]},\n "trials": [\n  {trials}\n ]\n}}\n')


def told(study: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The study with what a reader asks for first; trials that a killed process left are made again and not counted."""
    trials = [trial for trial in study["trials"] if trial["state"] != "fail" or trial["reason"]]
    through = sorted((t for t in trials if t["state"] == "complete"), key=lambda t: -t["value"])
    best = Run.open(folder / "trials" / through[0]["run"]).info
    return {
        "schema": 1,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": best.get("commit"), "dirty": best.get("dirty"), "study": study["study"], "space": study["space"],
        "data_fingerprint": study["data_fingerprint"], "split": "PublicTest", "max_mmacs": study["max_mmacs"],
        "epochs": study["base"]["epochs"],
        "made": len(trials),
        "too_large": sum(t["state"] == "pruned" and t["epochs"] is None for t in trials),
        "stopped": sum(t["state"] == "pruned" and t["epochs"] is not None for t in trials),
        "through": len(through),
        "minutes": round(sum(t["seconds"] or 0 for t in trials) / 60),
        "best": through[0]["value"], "first": min(through, key=lambda t: t["number"])["value"],
        "table": {
            "columns": ["trial", "after its epochs", "network", "optimiser", "learning rate", "dropout"],
            "rows": [row(trial) for trial in through[:SHOWN]],
        },
        "trials": trials,
    }  # fmt: skip


def row(trial: dict[str, Any]) -> list[str]:
    """A line of the table of a search over `cnn`, or of any other by its most common choices."""
    drawn = trial["params"]
    network = ""
    if "blocks" in drawn:
        each = "one convolution" if drawn["convolutions"] == 1 else f"{drawn['convolutions']} convolutions"
        network = (
            f"{drawn['blocks']} blocks of {each}, {drawn['filters']} filters first, {drawn['kernel']} × "
            f"{drawn['kernel']}, {drawn['pool']} pools, {drawn['hidden_layers']} hidden layers, {drawn['activation']}"
        )
    rate, dropout = (f"{drawn[key]:.2g}" if key in drawn else "–" for key in ("lr", "dropout"))
    value = f"{100 * trial['value']:.2f}"
    return [str(trial["number"]), value, network or "–", str(drawn.get("optimiser", "–")), rate, dropout]


if __name__ == "__main__":
    main()
