"""What each system costs: parameters, multiply-accumulates, training and recognition speed, memory.

    python benchmarks/systems.py --systems compact,resnet18     # some of them, as a table
    python benchmarks/systems.py --record                       # all of them, kept for docs/systems/README.md
    python benchmarks/systems.py --device cuda --seconds 5      # elsewhere, longer

Each system runs in a process of its own, in the architecture, at the input and with the optimiser of its recipe
`mien`, one after the other. A training step is the whole of it: augmentation, loss, gradients, optimiser; without
`torch.compile`. What bounds it: the share of this machine's own speed at one large matrix product that the step
reaches (three times the multiply-accumulates of the forward pass), and where its time goes. Measure on a machine that
does nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORD = Path(__file__).resolve().parent / "recorded" / "systems.json"
REFERENCE = "compact"
STAGES = ("augmentation", "forward", "backward", "optimiser")
OPERATIONS = {
    "convolution": ("convolution", "conv2d"),
    "matrix product": ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "linear", "attention"),
    "normalisation": ("norm",),
    "copies and conversions": ("copy_", "aten::to", "contiguous", "cat", "fill_", "zero_"),
}
_BESIDES = 240.0  # seconds a process may take for imports, the network and its first steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", default="", help="comma-separated ids; all by default")
    parser.add_argument("--recipe", default="mien", help="whose architecture, input and optimiser are measured")
    parser.add_argument("--seconds", type=float, default=3.0, help="of recognition, and of training, per system")
    parser.add_argument("--batch", type=int, default=32, help="faces per step")
    parser.add_argument("--threads", type=int, default=0, help="of torch; its own choice by default")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--record", action="store_true", help="keep the figures of all systems")
    parser.add_argument("--json", action="store_true", help="print the record instead of a table")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child, arguments)))
        return
    if arguments.record and arguments.systems:
        parser.error("only a whole measurement is kept, so that all figures belong together: leave --systems away")
    record = measure_all(arguments)
    if arguments.record:
        from lines import in_lines

        from mien.store import write_text

        write_text(RECORD, in_lines(record))
    print(json.dumps(record, indent=1, ensure_ascii=False) if arguments.json else table(record))


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every system that was asked for, with what it was measured on."""
    import torch
    from others import Load
    from run import say

    from mien import systems
    from mien.bench import bench
    from mien.results.provenance import source_state

    names = [name for name in arguments.systems.split(",") if name] or systems.networks()
    for name in names:
        systems.check_name(name)
    commit, dirty = source_state()
    load = Load()
    rows: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(names, 1):
        say(f"{index} of {len(names)}: {name}")
        rows[name] = _in_own_process(name, arguments)
    record: dict[str, Any] = {
        "schema": 1,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit,
        "dirty": dirty,
        "machine": bench.machine(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "threads": arguments.threads or torch.get_num_threads(),
        "batch": arguments.batch,
        "recipe": arguments.recipe,
        "reference": REFERENCE,
        "systems": rows,
        "others": load.others(),
    }
    if record["others"] is not None and record["others"] > 0.05:
        say(f"others used {record['others']:.0%} of the processor meanwhile: the figures are worse than the truth")
    return record


def _in_own_process(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one system, or why there are none."""
    options = {key: getattr(arguments, key) for key in ("recipe", "seconds", "batch", "threads", "device")}
    command = [sys.executable, __file__, "--child", name]
    command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
    allowed = 8 * arguments.seconds + _BESIDES
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=allowed)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {allowed:.0f} s"}
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
        return {"failed": reason if done.returncode > 0 else "not enough memory"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one system, measured in this process."""
    import torch

    from mien import systems
    from mien.systems.base import count_macs, count_parameters
    from mien.training.compute.convolutions import quickened
    from mien.training.compute.precision import computed
    from mien.training.optimisation import make_criterion, make_optimizer, soft_targets
    from mien.training.pipeline.augmentation import Amount, augment, mix
    from mien.training.recipe import Recipe

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    recipe = Recipe.of(systems.card(name), arguments.recipe)
    spec, device, batch = recipe.input, torch.device(arguments.device), arguments.batch
    module = systems.create(name, channels=spec.channels, **recipe.system).to(device)
    if recipe.channels_last:
        module = module.to(memory_format=torch.channels_last)
    side = spec.face_size if recipe.augment.crops != "random" else 48
    faces = torch.randint(0, 256, (batch, side, side), dtype=torch.uint8, device=device)
    labels = torch.arange(batch, device=device) % 7
    criterion, targets = make_criterion(recipe.loss, labels, 7), soft_targets(labels, 7, recipe.loss.smoothing)
    optimizer = make_optimizer(module, recipe.optim)
    generator, draw = torch.Generator(device).manual_seed(0), random.Random(0)
    precision = computed(recipe.precision, device.type)
    bf16 = precision == "bf16"
    if bf16 and device.type == "cpu":
        quickened(module)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    ready = augment(faces, recipe.augment, spec, generator)[:batch]
    if recipe.channels_last:
        ready = ready.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def recognise() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            module(ready)
        wait()

    def prepare() -> tuple[Any, Any]:
        with torch.no_grad():
            images = augment(faces, recipe.augment, spec, generator)
            # Five or ten crops make as many images of each face.
            wanted = targets.repeat(len(images) // batch, 1)
            amount = Amount.drawn(recipe.augment.size or spec.size, recipe.augment, draw)
            images, wanted = mix(images, wanted, amount, generator)
            if recipe.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
        return images, wanted

    def forward(images: Any, wanted: Any) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return torch.stack(list(module.loss(images, wanted, criterion).values())).sum()

    def update() -> None:
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
        optimizer.step()

    def train() -> None:
        loss = forward(*prepare())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        update()
        wait()

    def stages() -> dict[str, float]:
        """The shares of a step, one after the other, each waited for."""
        at = [time.perf_counter()]
        images, wanted = prepare()
        wait()
        at.append(time.perf_counter())
        loss = forward(images, wanted)
        wait()
        at.append(time.perf_counter())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        wait()
        at.append(time.perf_counter())
        update()
        wait()
        at.append(time.perf_counter())
        taken = [later - earlier for earlier, later in itertools.pairwise(at)]
        return dict(zip(STAGES, (round(part / sum(taken), 3) for part in taken), strict=True))

    module.eval()
    recognised = _typical(recognise, arguments.seconds)
    module.train()
    trained = _typical(train, arguments.seconds)
    crops, macs = len(prepare()[0]) // batch, count_macs(module, spec.channels, spec.size)
    fastest = _matrix_product(device, bf16, wait)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    return {
        "input": [spec.channels, spec.size, spec.size],
        "precision": precision,
        "parameters": count_parameters(module),
        "macs": macs,
        "train_faces_per_second": round(batch / trained, 2),
        "faces_per_second": round(batch / recognised, 2),
        "peak_bytes": peak,
        # A product and a sum are two operations; the backward pass takes twice the forward one.
        "share_of_matrix_product": round(2 * 3 * macs * crops * batch / trained / fastest, 4),
        "matrix_product_flops": round(fastest),
        "stages": stages(),
        "operations": _operations(train, device),
    }


def _matrix_product(device: Any, bf16: bool, wait: Callable[[], None]) -> float:
    """Operations per second of one large matrix product here: what the hardware gives to whoever asks well."""
    import torch

    side = 2048
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16 if bf16 else None) for _ in range(2))

    def work() -> None:
        torch.mm(left, right)
        wait()

    return 2 * side**3 / _typical(work, 0.5)


def _operations(work: Callable[[], object], device: Any) -> dict[str, float]:
    """The shares of a step's time by kind of operation."""
    from torch.profiler import ProfilerActivity, profile

    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * cuda]) as seen:
        work()
    spent = dict.fromkeys((*OPERATIONS, "other"), 0.0)
    for event in seen.key_averages():
        kind = next((kind for kind, names in OPERATIONS.items() if any(name in event.key for name in names)), "other")
        spent[kind] += event.self_device_time_total if cuda else event.self_cpu_time_total
    whole = sum(spent.values())
    return {kind: round(part / whole, 3) for kind, part in spent.items()}


def _typical(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of a call, over at least two after one that does not count.

    `mien.bench` asks for three; a step of the largest networks takes a minute on a small machine.
    """
    work()
    end = time.perf_counter() + seconds
    taken: list[float] = []
    while len(taken) < 2 or time.perf_counter() < end:
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def table(record: dict[str, Any]) -> str:
    """The figures for a terminal, times of the reference in brackets where it was measured too."""
    base = record["systems"].get(record["reference"], {})
    head = ("system", "input", "parameters", "MMACs", "trained/s", "recognised/s", "peak MB", "of mm")
    lines = ["{:26} {:>11} {:>12} {:>9} {:>16} {:>16} {:>8} {:>6}".format(*head)]
    for name, row in record["systems"].items():
        if "failed" in row:
            lines.append(f"{name:26} {row['failed']}")
            continue
        rates = []
        for key in ("train_faces_per_second", "faces_per_second"):
            times = f" ({base[key] / row[key]:.1f}×)" if key in base else ""
            rates.append(f"{row[key]:,.1f}{times}")
        lines.append(
            f"{name:26} {'×'.join(map(str, row['input'])):>11} {row['parameters']:>12,} {row['macs'] / 1e6:>9,.0f} "
            f"{rates[0]:>16} {rates[1]:>16} {row['peak_bytes'] / 1e6:>8,.0f} {row['share_of_matrix_product']:>6.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
