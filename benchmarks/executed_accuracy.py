"""The judge of answers: how fast it is, how many mutants of the sample's test rows it tells apart, and whether it calls a rewrite wrong.

python benchmarks/executed_accuracy.py
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from preflight.postgres.judge import Pair
from preflight.postgres.judging import Judge
from preflight.postgres.server import started
from tests.postgres.rewrites import rewrites
from tests.postgres.samples import columns_of, sample_rows, schema_of
from tests.postgres.variants import is_equivalent, mutants

MANY = 100  # databases on which the mutants that ten don't tell apart are looked at again


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = sample_rows()
    mutated = [(kind, Pair(schema_of(prompt), answer, mutant)) for prompt, answer in rows for kind, mutant in mutants(answer, columns_of(prompt))]
    rewritten = [(kind, Pair(schema_of(prompt), answer, rewrite)) for prompt, answer in rows for kind, rewrite in rewrites(answer)]
    with started() as server:
        speed(server, mutated, rewritten)
        for databases in (1, 5, 10):
            kill_rate(server, mutated, databases)
        with Judge(server) as judge:
            found = Counter(judgement.verdict for judgement in judge.judge_all([pair for _, pair in rewritten]))
        print(f"rewrites: {len(rewritten)} of {len({kind for kind, _ in rewritten})} kinds, {dict(found)}")


def speed(server, mutated, rewritten) -> None:
    """200 pairs, half of them right, with the proofs of the wrong ones."""
    right = [pair for _, pair in rewritten[:: len(rewritten) // 100]][:100]
    wrong = [pair for _, pair in mutated[:: len(mutated) // 100]][:100]
    for name, pairs in (
        ("100 rewrites", right),
        ("100 mutants", wrong),
        ("both", [pair for both in zip(right, wrong, strict=True) for pair in both]),
    ):
        began = time.perf_counter()
        with Judge(server) as judge:
            judge.judge_all(pairs)
        took = time.perf_counter() - began
        print(f"{name}: {took:.1f} s, {len(pairs) / took:.0f} pairs/s")


def kill_rate(server, mutated, databases) -> None:
    """Of the mutants that ask something else: an outside rule says which don't, and no database of many tells those apart."""
    with Judge(server, databases=databases) as judge:
        found = judge.judge_all([pair for _, pair in mutated])
    ran = [(kind, pair, one) for (kind, pair), one in zip(mutated, found, strict=True) if one.cause != "does not run"]
    same = [one for one in ran if is_equivalent(one[0], one[1].expected, one[1].given)]
    other = [one for one in ran if not is_equivalent(one[0], one[1].expected, one[1].given)]
    told = sum(one.verdict == "wrong" for _, _, one in other)
    print(f"K={databases}: {told} of {len(other)} mutants told apart ({told / len(other):.1%}); {len(same)} are equivalent by rule, ", end="")
    print(f"{sum(one.verdict == 'wrong' for _, _, one in same)} of them called wrong; {len(mutated) - len(ran)} do not run and are not counted")
    missed = [(kind, pair) for kind, pair, one in other if one.verdict != "wrong"]
    if databases == 10:
        for kind, pair in missed:
            print(f"  missed: {kind}: {pair.expected} | {pair.given}")
        with Judge(server, databases=MANY) as judge:
            again = judge.judge_all([pair for _, pair, _ in same])
        print(f"  the equivalent ones on {MANY} databases: {sum(one.verdict == 'wrong' for one in again)} told apart")


if __name__ == "__main__":
    main()
