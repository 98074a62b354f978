"""Rows like a user's, made on the spot by a seed: a schema, a question and an answer."""

import json
import random
from pathlib import Path

VOCABULARY = "customer order price created_at region total quantity status text int date varchar NOT NULL PRIMARY KEY REFERENCES numeric".split()
# tokens of Mistral's tokenizer in a word of these and its comma, and in the rest of a row
TOKENS_IN_A_WORD, TOKENS_BESIDE = 2.5, 55
MEDIAN, SPREAD = 366, 0.589  # tokens in a row: log-normal, so that the mean is 439 and 1 in 100 is over 1,442, as in the plan's data set


def write_rows(folder: Path, count: int) -> list[Path]:
    """Training rows, and a twentieth as many to validate, none of which stands twice."""
    rng = random.Random(0)
    words = [max(1, round((rng.lognormvariate(0, SPREAD) * MEDIAN - TOKENS_BESIDE) / TOKENS_IN_A_WORD)) for _ in range(2_000)]
    schemas = [f"CREATE TABLE t ({', '.join(rng.choices(VOCABULARY, k=number))});" for number in words]
    paths = []
    for name, rows in (("train", range(count)), ("val", range(count, count + count // 20))):
        paths.append(folder / f"{name}_postgres.jsonl")
        with paths[-1].open("w", encoding="utf-8") as file:
            for i in rows:
                text = f"[INST] {schemas[i % 2_000]}\n\nWhat is the total of customer {i}? [/INST] SELECT sum(total) FROM t WHERE customer = {i};"
                file.write(json.dumps({"text": text}) + "\n")
    return paths
