"""Time, memory and results of `isometry merge` beside mergekit's, on the same checkpoints.

    python benchmarks/merge.py [--mergekit PYTHON] [--models FOLDER...] [--rounds N] [--json]

PYTHON is the interpreter of an environment that has mergekit; without it only our own figures are
printed. The models are three copies of the packaged MiniLM, each parameter moved by a twentieth of
its tensor's spread, or the folders given, tuned from it. Every merge is a process of its own, the
two programs in turn. mergekit is set to what Isometry's methods mean: slerp by its own threshold
of the straight line, dare without its rescaling to the L1 norm and under our masks.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from isometry.core.errors import InputError
from isometry.encoders.packaged_models import packaged_folder
from isometry.merging.slerp import slerp

WEIGHTS = "model.safetensors"
POSITIONS = "embeddings.position_ids"
KEEP, DROP, SCALE, SEED = 0.2, 0.9, 0.3, 7
METHODS = ("average", "slerp", "task-arithmetic", "ties", "dare")


def make_models(folder: Path) -> tuple[Path, list[Path]]:
    """The base, and three models as if they had been tuned from it."""
    state = load_file(packaged_folder("minilm") / WEIGHTS)
    # Of mergekit's merges only what it knows of the architecture is compared.
    state.pop(POSITIONS, None)
    made: list[Path] = []
    for number in range(4):
        target = folder / ("base" if number == 0 else f"tuned-{number}")
        shutil.copytree(packaged_folder("minilm"), target)
        generator = torch.Generator().manual_seed(number)
        moved = {
            name: tensor
            if number == 0 or tensor.numel() < 2
            else tensor + 0.05 * tensor.std() * torch.randn(tensor.shape, generator=generator)
            for name, tensor in state.items()
        }
        save_file(moved, target / WEIGHTS, metadata={"format": "pt"})
        made.append(target)
    return made[0], made[1:]


def our_command(method: str, base: Path, models: Sequence[Path], out: Path) -> list[str]:
    used = models[:2] if method == "slerp" else models
    command = [sys.executable, "-m", "isometry", "merge", *map(str, used), "--method", method]
    command += ["--out", str(out), "--force", "--quiet"]
    if method == "task-arithmetic":
        command += ["--base", str(base), "--scale", str(SCALE)]
    if method == "ties":
        command += ["--base", str(base), "--keep", str(KEEP)]
    if method == "dare":
        command += ["--base", str(base), "--drop", str(DROP), "--seed", str(SEED)]
    return command


def mergekit_settings(method: str, base: Path, models: Sequence[Path]) -> dict[str, Any]:
    """The same merge as mergekit's configuration says it."""
    names = {"average": "linear", "task-arithmetic": "task_arithmetic", "dare": "dare_linear"}
    settings: dict[str, Any] = {"merge_method": names.get(method, method), "dtype": "float32"}
    if method == "slerp":
        listed = [{"model": str(model)} for model in models[:2]]
        return {**settings, "models": listed, "base_model": str(models[0]),
                "parameters": {"t": 0.5}}  # fmt: skip
    weight = 1 / len(models) if method in ("average", "dare") else 1.0
    own: dict[str, Any] = {"weight": weight}
    if method in ("ties", "dare"):
        own["density"] = KEEP if method == "ties" else 1 - DROP
    settings["models"] = [{"model": str(model), "parameters": own} for model in models]
    if method == "average":
        return settings
    settings["base_model"] = str(base)
    settings["parameters"] = {
        "task-arithmetic": {"lambda": SCALE},
        "ties": {},
        "dare": {"rescale": False, "lambda": 1 / (1 - DROP)},
    }[method]
    if method == "dare":
        settings["masks"] = {"drop": DROP, "seed": SEED}
    return settings


# A process begins with the peak of the one that started it: this one stays small.
_LAUNCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
said = done.stderr.decode(errors="replace")[-2000:] if done.returncode else ""
print(json.dumps({"error": said, "seconds": time.perf_counter() - start,
                  "processor_seconds": used.ru_utime + used.ru_stime,
                  "peak_mib": used.ru_maxrss / 1024}))
"""


def measure(command: Sequence[str]) -> dict[str, float]:
    """One process: its seconds, its processor seconds, and its peak of memory."""
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, *command]
    run = subprocess.run(launch, stdout=subprocess.PIPE, check=True)
    figures = json.loads(run.stdout)
    if error := figures.pop("error"):
        raise InputError(f"{' '.join(command)} failed: {error}")
    return figures


def compare(method: str, ours: Path, theirs: Path, base: Path, models: Sequence[Path]) -> Any:
    """The largest difference of a number, and how many differ by more than 1e-6."""
    found = load_file(ours / WEIGHTS)
    if method == "slerp":
        states = [load_file(model / WEIGHTS) for model in models[:2]]
        line = (1 - 0.9995**2) ** 0.5
        found = dict(slerp(states[0], states[1], 0.5, straight_below=line))
        wide = [{name: tensor.double() for name, tensor in state.items()} for state in states]
        exact = dict(slerp(wide[0], wide[1], 0.5, straight_below=line))
    expected = {
        name: tensor for file in theirs.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }  # fmt: skip
    if different := set(found) ^ set(expected):
        raise InputError(f"The merges differ in their tensors: {sorted(different)[:5]}")
    gaps = {name: (found[name] - tensor).abs() for name, tensor in expected.items()}
    beyond = {name: gap > 1e-6 for name, gap in gaps.items() if (gap > 1e-6).any()}
    figures = {
        "largest": max(float(gap.max()) for gap in gaps.values()),
        "beyond": sum(int(mask.sum()) for mask in beyond.values()),
        "numbers": sum(gap.numel() for gap in gaps.values()),
    }
    if method == "slerp":
        # Over millions of numbers mergekit's angle, summed in float32, is not exact.
        for program, merge in (("isometry", found), ("mergekit", expected)):
            figures[f"{program}_to_float64"] = max(
                float((merge[name] - tensor).abs().max()) for name, tensor in exact.items()
            )
    if method == "ties":
        start = load_file(base / WEIGHTS)
        states = [load_file(model / WEIGHTS) for model in models]
        figures["unexplained"] = sum(
            int((mask & ~at_threshold(name, start, states)).sum()) for name, mask in beyond.items()
        )
    return figures


def at_threshold(name: str, base: Any, states: Sequence[Any]) -> torch.Tensor:
    """Where a change is exactly as large as the smallest that is kept, or the changes cancel."""
    changes = [(state[name] - base[name]) for state in states]
    found = torch.zeros_like(base[name], dtype=torch.bool)
    total = torch.zeros_like(base[name])
    for change in changes:
        sizes = change.abs()
        count = max(1, int(KEEP * sizes.numel()))
        least = sizes.reshape(-1).sort(descending=True).values[count - 1]
        found |= sizes == least
        total += change.where(sizes >= least, torch.zeros(()))
    return found | (total == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mergekit", type=Path, help="The Python of an environment with mergekit.")
    parser.add_argument("--models", type=Path, nargs="+", help="Models tuned from packaged:minilm.")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--rounds", type=int, default=3, help="How often each merge runs.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base, models = make_models(folder)
        models = options.models or models
        runner = str(Path(__file__).with_name("mergekit_run.py"))
        for method in options.methods:
            measured: dict[str, list[dict[str, float]]] = {"isometry": [], "mergekit": []}
            ours, theirs = folder / f"ours-{method}", folder / f"theirs-{method}"
            (folder / "settings.json").write_text(
                json.dumps(mergekit_settings(method, base, models)), encoding="utf-8"
            )
            for _ in range(options.rounds):
                measured["isometry"].append(measure(our_command(method, base, models, ours)))
                if options.mergekit is not None:
                    shutil.rmtree(theirs, ignore_errors=True)
                    command = [str(options.mergekit), runner, str(folder / "settings.json")]
                    measured["mergekit"].append(measure([*command, str(theirs)]))
            row: dict[str, Any] = {"method": method}
            for program, runs in measured.items():
                if runs:
                    row[program] = {
                        key: statistics.median(run[key] for run in runs) for key in runs[0]
                    }
            if options.mergekit is not None:
                row["difference"] = compare(method, ours, theirs, base, models)
            rows.append(row)
            if not options.json:
                print(row, flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'method':16} {'program':9} {'seconds':>8} {'CPU s':>7} {'peak MiB':>9}")
    for row in rows:
        for program in ("isometry", "mergekit"):
            if program in row:
                figures = row[program]
                print(
                    f"{row['method']:16} {program:9} {figures['seconds']:8.1f}"
                    f" {figures['processor_seconds']:7.1f} {figures['peak_mib']:9.0f}"
                )


if __name__ == "__main__":
    main()
