"""The sample's test rows as pairs to judge."""

import json
import re
from functools import cache

from preflight.postgres.ddl import Schema, read_schema
from tests.conftest import CHECKOUT

TABLE = re.compile(r"CREATE TABLE (\w+) \((.*?)\);")


@cache
def sample_rows() -> list[tuple[str, str]]:
    """(prompt, expected answer), none twice."""
    rows = [json.loads(line)["text"] for line in (CHECKOUT / "sample_data/test_postgres.jsonl").read_text().splitlines()]
    parts = [row.removeprefix("[INST] ").split(" [/INST] ") for row in rows]
    return list(dict.fromkeys((prompt.partition("\n\n")[0], answer) for prompt, answer in parts))


@cache
def schema_of(prompt: str) -> Schema:
    return read_schema(prompt)


def columns_of(prompt: str) -> dict[str, dict[str, str]]:
    """{table: {column: type}}."""
    return {name: dict(column.split()[:2] for column in body.split(", ")) for name, body in TABLE.findall(prompt)}
