"""How fast preflight judges rows, as ratios in one run: against `axolotl preprocess`, and against reading and parsing the file.

    python benchmarks/preflight_data.py            both, about 2 minutes and 2.2 GB of disk
    python benchmarks/preflight_data.py --rows N   other sizes than 1,000,000 for the second

The rows are made on the spot, by a seed: a schema, a question and an answer, 439 tokens on average as in the user's plan.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from rows import write_rows

CHECKOUT = Path(__file__).resolve().parents[1]
READ = "import json, sys\nfor path in sys.argv[1:]:\n    for line in open(path, encoding='utf-8'):\n        json.loads(line)"
QUIET = os.environ | {"AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True, kw_only=True)
class Took:
    seconds: float
    peak_mb: float  # of the process and all below it, together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    args = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
    with tempfile.TemporaryDirectory() as folder:
        files = write_rows(Path(folder), 8_234)
        config = write_config(Path(folder), files, str(CHECKOUT / "sample_data/smoke_base"))
        ours = measure(sys.executable, "-m", "preflight", config, "--plan-only", "--workspace", Path(folder) / "w")
        theirs = measure(sys.executable, "-m", "axolotl.cli.preprocess", config)
        print(
            f"8,234 rows   preflight {ours.seconds:.1f} s   axolotl preprocess {theirs.seconds:.1f} s   {theirs.seconds / ours.seconds:.1f} times faster"
        )

        files = write_rows(Path(folder), args.rows)
        config = write_config(Path(folder), files, "mistralai/Mistral-7B-v0.1")
        read = measure(sys.executable, "-c", READ, *files)
        ours = measure(sys.executable, "-m", "preflight", config, "--plan-only", "--workspace", Path(folder) / "w")
        size = sum(file.stat().st_size for file in files) / 1e9
        print(
            f"{args.rows:,} rows, {size:.2f} GB   preflight {ours.seconds:.1f} s, peak {ours.peak_mb:.0f} MB   "
            f"reading and json.loads {read.seconds:.1f} s   {ours.seconds / read.seconds:.1f} times its time"
        )


def write_config(folder: Path, files: list[Path], base_model: str) -> Path:
    values = yaml.safe_load((CHECKOUT / "axolotl_configs/smoke.yaml").read_text(encoding="utf-8"))
    values |= {"base_model": base_model, "sequence_len": 2_048, "output_dir": str(folder / "out"), "dataset_prepared_path": str(folder / "prepared")}
    values["datasets"][0]["path"], values["test_datasets"][0]["path"] = map(str, files)
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def measure(*command: object) -> Took:
    """Run a command to its end; SystemExit with its output if it fails."""
    before, peak, ended = time.perf_counter(), 0.0, threading.Event()
    process = subprocess.Popen([str(part) for part in command], cwd=CHECKOUT, env=QUIET, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.02):
            try:
                one = psutil.Process(process.pid)
                peak = max(peak, sum(part.memory_info().rss for part in (one, *one.children(recursive=True))) / 1e6)
            except psutil.NoSuchProcess:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - before
    ended.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{output[-3000:]}")
    return Took(seconds=seconds, peak_mb=peak)


if __name__ == "__main__":
    main()
