"""What preflight says that a run takes, and what it then takes: on this machine, with a short run before it for the record.

    python benchmarks/estimate.py                    the smoke run, on any machine
    python benchmarks/estimate.py --shape 7b         Mistral-7B's shape with random weights, on a CUDA machine: about 10 minutes
    python benchmarks/estimate.py --shape 7b --rows 5500 --set num_epochs=1

The first run is cut short after `--first` steps; its record is what preflight knows when it is asked about the second. Both are the
commands that preflight writes.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from preflight.machine.run_folder import RECORDS  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["smoke", "7b"], default="smoke")
    parser.add_argument("--rows", type=int, default=8_234)
    parser.add_argument("--first", type=int, default=40, metavar="STEPS")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "gpu_training", help="where the 7B model lies: 14.5 GB")
    args = parser.parse_args()
    arguments = ["axolotl_configs/smoke.yaml"]
    if args.shape == "7b":
        from gpu_training import make_model
        from rows import write_rows

        args.work.mkdir(parents=True, exist_ok=True)
        model = make_model(args.work, "7b")
        rows = write_rows(args.work, args.rows)
        shutil.copy(rows[1], rows[1].with_name("test_postgres.jsonl"))
        arguments = ["axolotl_configs/mistral_qlora.yaml", "--data", str(args.work), "--set", f"base_model={model}"]
    arguments += [part for override in args.overrides for part in ("--set", override)]
    with tempfile.TemporaryDirectory() as folder:  # a run as short as this one would never save by the plan's 500 steps
        steps = preflight([*arguments, "--plan-only", "--set", "save_steps=1", "--set", "eval_steps=1"], Path(folder))["plan"]["steps"]
    if steps <= 1_000:
        arguments += [part for key in ("save_steps", "eval_steps") for part in ("--set", f"{key}={max(1, steps // 3)}")]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first", Path(folder) / "second"
        cut = ["--set", f"max_steps={args.first}", "--set", f"save_steps={args.first // 2}", "--set", f"eval_steps={args.first // 2}"]
        before = preflight([*arguments, *cut], first)
        launch(before)
        untold = preflight([*arguments, "--plan-only"], second)["plan"]
        record = next(first.glob(f"runs/*/outputs/{RECORDS}"))
        outputs = second / record.parent.relative_to(first)
        outputs.mkdir(parents=True)
        shutil.copy(record, outputs)
        told = preflight(arguments, second)
        seconds = launch(told)
        state = json.loads(max(outputs.glob("checkpoint-*/trainer_state.json"), key=lambda path: path.stat().st_mtime).read_text())
        pace = next(one for one in json.loads((outputs / RECORDS).read_text()))
    plan = told["plan"]
    expected = sum(plan["hours"].values()) / 2 * 3_600
    print(f"steps          said {plan['steps']:,}   were {state['global_step']:,}")
    if untold["seconds_per_step"]["low"]:
        middle = sum(untold["seconds_per_step"].values()) / 2
        print(f"a step         said {middle:.3f} s from the table   was {pace['step']:.3f} s   {middle / pace['step'] - 1:+.0%}")
    middle = sum(plan["seconds_per_step"].values()) / 2
    print(f"a step         said {middle:.3f} s from the record of {args.first} steps   was {pace['step']:.3f} s   {middle / pace['step'] - 1:+.0%}")
    print(f"the whole run  said {expected:.0f} s ({plan['throughput_source']})   was {seconds:.0f} s   {expected / seconds - 1:+.1%}")


def preflight(arguments: list[str], workspace: Path) -> dict[str, Any]:
    """The Report of a preflight with no error; SystemExit with its findings if there is one."""
    command = [sys.executable, "-m", "preflight", *arguments, "--workspace", str(workspace), "--set", f"output_dir={workspace}/results", "--json"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    report: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\n{done.stderr}{json.dumps(report.get('findings'), indent=1)}")
    return report


def environment(report: dict[str, Any]) -> dict[str, str]:
    """Of the command of a Report: its variables on top of ours."""
    ours, its = os.environ.get("PYTHONPATH"), report["environment"].get("PYTHONPATH")
    return os.environ | report["environment"] | {"PYTHONPATH": os.pathsep.join(filter(None, [its, ours]))}


def launch(report: dict[str, Any]) -> float:
    """Run the command of a Report; its seconds from start to end."""
    before = time.perf_counter()
    done = subprocess.run(report["command"], cwd=CHECKOUT, env=environment(report), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"training ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
