"""The kit's run under each engine of axolotl_configs/scale/, on one GPU and on all of this machine's, beside the plain run.

    python benchmarks/gpu_scaling.py                     Mistral-7B's shape with random weights: speed
    python benchmarks/gpu_scaling.py --shape smoke       the smoke run's model in fp32: losses, to the digit
    python benchmarks/gpu_scaling.py --resume            a run that one GPU begins and all resume

Each run is what preflight writes and the command that it prints. Steps hold the same rows everywhere, so the losses of all runs
should be the same, and a step on N GPUs take 1/N of the time. The 7B logs as often as its config does: at each log Python waits for
the GPU, which is then idle until the next step is launched.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimate import environment, launch, preflight

from preflight.config.scale import ENGINES
from preflight.machine.gpu import inspect_gpus
from preflight.machine.run_folder import RECORDS


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run took and learnt."""

    name: str
    step_s: float | None
    losses: dict[int, float]
    files: list[str]  # of its last checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", metavar="ENGINE:GPUS", help="default: plain:1, and each engine on one GPU and on all")
    parser.add_argument("--shape", choices=["smoke", "7b"], default="7b")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE", help="a change of the YAML, for all runs")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "gpu_training", help="where the 7B model lies: 14.5 GB")
    parser.add_argument("--out", type=Path, default=Path("gpu_scaling.json"))
    args = parser.parse_args()
    gpus = inspect_gpus().gpus
    here = len(gpus)
    arguments = ["axolotl_configs/smoke.yaml", "--set", "device=null", "--set", "logging_steps=1"]
    if args.shape == "7b":
        from gpu_training import make_model
        from rows import write_rows

        args.work.mkdir(parents=True, exist_ok=True)
        model, rows = make_model(args.work, "7b"), write_rows(args.work, 1_500)
        shutil.copy(rows[1], rows[1].with_name("test_postgres.jsonl"))
        arguments = [
            "axolotl_configs/mistral_qlora.yaml",
            "--data",
            str(args.work),
            "--set",
            f"base_model={model}",
            "--set",
            "load_best_model_at_end=false",
        ]
    half = args.steps // 2
    for key, value in {
        "max_steps": args.steps,
        "save_steps": half,
        "eval_strategy": "'no'",
        "eval_steps": "null",
        "use_tensorboard": "false",
    }.items():
        arguments += ["--set", f"{key}={value}"]
    arguments += [part for change in args.changes for part in ("--set", change)]
    print(f"{here} x {gpus[0].name if gpus else 'no GPU'}, {time.strftime('%Y-%m-%d')}")
    with tempfile.TemporaryDirectory() as folder:
        if args.resume:
            resume(arguments, Path(folder), half, here)
            return
        names = args.engines or ["plain:1", *(f"{engine}:{n}" for engine in ENGINES for n in dict.fromkeys((1, here)))]
        runs = []
        for name in names:
            try:
                runs.append(train(name, arguments, Path(folder) / name.replace(":", "-")))
            except SystemExit as error:
                print(f"{name}: failed\n{str(error)[-3000:]}", flush=True)
                continue
            print(shown(runs[-1], runs[0]), flush=True)
    args.out.write_text(json.dumps([vars(run) for run in runs], indent=1))


def options(name: str) -> list[str]:
    """Of preflight, for `plain:1` or `ENGINE:GPUS`."""
    engine, _, count = name.partition(":")
    return [] if engine == "plain" else ["--scale", engine, "--gpus-per-node", count]


def train(name: str, arguments: list[str], workspace: Path) -> Run:
    if name.endswith(":1"):
        os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    try:
        report = preflight([*arguments, *options(name)], workspace)
        launch(report)
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    return read(name, Path(report["config_path"]).parent / "outputs")


def read(name: str, outputs: Path) -> Run:
    newest = max(outputs.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    log = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    records = json.loads((outputs / RECORDS).read_text()) if (outputs / RECORDS).exists() else []
    return Run(
        name=name,
        step_s=records[-1]["step"] if records else None,
        losses={entry["step"]: entry["loss"] for entry in log if "loss" in entry},
        files=sorted(str(path.relative_to(newest)) for path in newest.rglob("*") if path.is_file()),
    )


def shown(run: Run, plain: Run) -> str:
    # what transformers logs is the mean of the steps since the last log
    far = max(abs(run.losses[step] - plain.losses[step]) for step in plain.losses) if run.losses.keys() == plain.losses.keys() else None
    speed = (
        f"a step {run.step_s:.3f} s, {plain.step_s / run.step_s:.2f} times the plain run" if run.step_s and plain.step_s else "no record of a step"
    )
    apart = "other steps" if far is None else f"losses at most {far:.5f} apart"
    last = run.losses[max(run.losses)]
    return f"{run.name:<20} {speed}; {apart}; last loss {last:.4f}; {len(run.files)} files in a checkpoint"


def resume(arguments: list[str], folder: Path, half: int, here: int) -> None:
    """One GPU until the first checkpoint, killed, then all GPUs to the end; beside a run on one GPU that nothing happened to."""
    whole = train("plain:1", arguments, folder / "whole")
    workspace = folder / "resumed"
    os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    report: dict[str, Any] = preflight(arguments, workspace)
    outputs = Path(report["config_path"]).parent / "outputs"
    process = subprocess.Popen(
        report["command"], env=environment(report), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (outputs / f"checkpoint-{half}/manifest.json").exists():
        if process.poll() is not None:
            raise SystemExit("gpu_scaling: training ended before its first checkpoint")
        time.sleep(0.2)
    os.killpg(process.pid, 9)
    process.wait()
    del os.environ["CUDA_VISIBLE_DEVICES"]
    report = preflight([*arguments, *options(f"ddp:{here}")], workspace)
    print(f"resuming from step {report['checkpoints']['step']} on {here} GPUs", flush=True)
    launch(report)
    print(shown(read(f"resumed on ddp:{here}", outputs), whole))


if __name__ == "__main__":
    sys.exit(main())
