"""What the runs of gpu_training.py came to, as it is printed and as docs/benchmarks.md shows it."""

import math
import statistics
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run of a variant: real tokens a second over the steps that count, and the memory they took."""

    variant: str
    tokens_per_second: float
    tokens_per_step: float
    allocated_gib: float
    reserved_gib: float
    first_step_s: float
    losses: tuple[float, ...]  # of every 5 steps
    tokens: tuple[int, ...]  # of each step
    spread: float  # 90th over 10th percentile of a step's seconds


def shown(result: Result, bound: float) -> str:
    return (
        f"{result.variant:<44} {result.tokens_per_second:>8,.0f} tokens/s  {result.tokens_per_second / bound:>4.0%} of the bound  "
        f"{result.allocated_gib:>5.1f} GiB allocated, {result.reserved_gib:>5.1f} reserved  {result.tokens_per_step:>6,.0f} tokens a step  "
        f"first step after {result.first_step_s:.0f} s  loss {result.losses[0]:.3f} to {result.losses[-1]:.3f}"
    )


def medians(results: list[Result]) -> list[Result]:
    """Of each variant the median of its runs, slowest first."""
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(result.variant, []).append(result)
    middle = [
        replace(
            runs[0], tokens_per_second=statistics.median(run.tokens_per_second for run in runs), reserved_gib=max(run.reserved_gib for run in runs)
        )
        for runs in by_name.values()
    ]
    return sorted(middle, key=lambda result: result.tokens_per_second)


def table(results: list[Result], bound: float) -> str:
    """As docs/benchmarks.md shows it."""
    middle = medians(results)
    slowest = middle[0].tokens_per_second if middle else math.nan
    lines = ["| variant | tokens/s | times the slowest | of the bound | allocated GiB | reserved GiB |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one.variant} | {one.tokens_per_second:,.0f} | {one.tokens_per_second / slowest:.2f} | {one.tokens_per_second / bound:.0%} | "
        f"{one.allocated_gib:.1f} | {one.reserved_gib:.1f} |"
        for one in middle
    ]
    return "\n".join(lines)
