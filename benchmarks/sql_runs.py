"""How fast answers are run on the tables of their own prompts, and what that takes of memory.

    python benchmarks/sql_runs.py            8,234 rows over 100 schemas, and 300,000 rows, of which a sample is run; about a minute

The rows are those of sample_data with their tables renamed by a seed, so that there are as many schemas as are asked for.
"""

import argparse
import json
import os
import platform
import random
import re
import sys
import tempfile
import time
from pathlib import Path

import psutil
from preflight_data import measure, write_config

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))
CREATED = re.compile(r"CREATE TABLE (\w+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemas", type=int, default=100, metavar="N")
    args = parser.parse_args()
    memory = psutil.virtual_memory().total / 2**30
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f}, {time.strftime('%Y-%m-%d')}\n"
    )
    judge(8_234, args.schemas)
    judge(8_234, 8_234)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("train.jsonl", "val.jsonl")]
        for file, count, mark in zip(files, (300_000, 1_000), "vw", strict=True):
            write(file, count, args.schemas, mark)
        config = write_config(Path(folder), files, str(CHECKOUT / "sample_data/smoke_base"))
        took = measure(sys.executable, "-m", "preflight", config, "--plan-only", "--workspace", Path(folder) / "w")
        print(f"301,000 rows, a whole preflight   {took.seconds:.1f} s, peak {took.peak_mb:.0f} MB, PostgreSQL included")


def judge(count: int, schemas: int) -> None:
    """Scan and run so many rows in this process, and print what it took."""
    from preflight.data.prompt_strategies import find_strategy
    from preflight.data.scan import Chunk, scan_file
    from preflight.data.sql_runs import Limits, run_answers

    strategy = find_strategy({"type": "completion"})
    if strategy is None:
        raise SystemExit("no strategy reads completions")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write(path, count, schemas)
        began = time.perf_counter()
        scan = scan_file(Chunk(path=path, strategy=strategy), None, "", quiet)
        scanned = time.perf_counter()
        answers, _ = run_answers({path: scan.asked}, {path: (scan.parsed, 0)}, Limits(), quiet)
        ended = time.perf_counter()
    if answers is None or answers.runs != answers.asked:
        raise SystemExit(f"not all run: {answers}")
    print(
        f"{count:,} rows over {len(scan.ddl):,} schemas   {answers.asked:,} run in {ended - scanned:.1f} s, the server's start included; scanned {scanned - began:.1f} s"
    )


def quiet(what: str, done: int, total: int) -> None:
    """A Progress that nobody watches."""


def write(path: Path, count: int, schemas: int, mark: str = "v") -> None:
    """So many rows over so many schemas."""
    texts = [json.loads(line)["text"] for line in (CHECKOUT / "sample_data/train_postgres.jsonl").read_text(encoding="utf-8").splitlines()]
    drawn = random.Random(21)
    names = [f"{mark}{number}" for number in range(schemas)]
    first = texts[0].partition("\n\n")[0]
    rows = [text for text in texts if text.startswith(first)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            question, _, answer = drawn.choice(rows).partition(" [/INST]")
            text = f"{question} ({number}) [/INST]{answer}"  # no two rows alike
            for table in CREATED.findall(text):
                text = re.sub(rf"\b{table}\b", f"{table}_{names[number % schemas]}", text)
            file.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main()
