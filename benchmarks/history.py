"""The GPU's figures over time: a line of docs/benchmarks.jsonl for each variant of each run, so that a loss of speed shows."""

import json
import time
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "docs/benchmarks.jsonl"


def add(gpu: str, variant: str, tokens_per_second: float, bound: float, allocated_gib: float, runs: int) -> str:
    """Write a variant's figures down, and say how they differ from the last time on such a GPU; '' where there was none. Cards differ in their
    matrix rate, so shares of the bound are compared."""
    share, before = tokens_per_second / bound, None
    for line in FILE.read_text().splitlines() if FILE.exists() else ():
        entry = json.loads(line)
        before = entry if (entry["gpu"], entry["variant"]) == (gpu, variant) else before
    now = {"gpu": gpu, "date": time.strftime("%Y-%m-%d"), "variant": variant, "tokens_per_second": round(tokens_per_second)}
    now |= {"of_bound": round(share, 4), "allocated_gib": round(allocated_gib, 1), "runs": runs}
    with FILE.open("a") as file:
        file.write(json.dumps(now) + "\n")
    return (
        f"{variant}: {share:.1%} of the bound, {before['of_bound']:.1%} on {before['date']}: {share / before['of_bound'] - 1:+.1%}" if before else ""
    )
