"""What the mirror costs training: the same run with it and without it, in turn, on this machine.

    python benchmarks/mirror_overhead.py             4 pairs of 200 steps of the smoke run, about 8 minutes
    python benchmarks/mirror_overhead.py --pairs 8

Both are the command that preflight writes, with every 50th step saved. Without it, the plugin is told nothing of a place to copy to
(no mirror.json), so that it neither describes nor hands on a checkpoint. Counted is the time from step 10 to the last, saves included,
by the clock of TensorBoard's events.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

from estimate import launch, preflight  # puts the checkout on the path
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from preflight.checkpoints import mirror

STEPS, EVERY = 200, 50  # as smoke.yaml saves: a checkpoint every 8 seconds, where the 7B saves every 5 minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4)
    args = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(args.pairs):
            seconds = {}
            for mirrored in (True, False) if pair % 2 else (False, True):
                seconds[mirrored] = train(Path(folder) / f"{pair}-{mirrored}", mirrored=mirrored)
            ratios.append(seconds[True] / seconds[False])
            print(f"pair {pair + 1}: {seconds[True]:.1f} s with the mirror, {seconds[False]:.1f} s without: {ratios[-1]:.3f}", flush=True)
    print(f"with the mirror over without: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


def train(workspace: Path, *, mirrored: bool) -> float:
    """Seconds of a run's steps and saves."""
    values = {"max_steps": STEPS, "save_steps": EVERY, "eval_strategy": "'no'", "eval_steps": "null", "logging_steps": 10}
    settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    report = preflight(["axolotl_configs/smoke.yaml", *settings], workspace)
    run = Path(report["config_path"]).parent
    if not mirrored:
        (run / mirror.SETTINGS).unlink()
    launch(report)
    results = sorted(path.name for path in (workspace / "results").glob("checkpoint-*"))
    if len(results) != (mirror.KEPT if mirrored else 0):
        raise SystemExit(f"mirrored is {mirrored}, and these are on Drive: {results}")
    (events,) = {path.parent for path in (run / "outputs" / mirror.EVENTS).rglob("events.out.tfevents.*")}
    logged = EventAccumulator(str(events)).Reload().Scalars("train/loss")
    return float(logged[-1].wall_time - logged[0].wall_time)


if __name__ == "__main__":
    main()
