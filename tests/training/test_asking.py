import json

import pytest

from preflight.data.prompt_strategies import find_strategy
from preflight.training.evaluation.asking import NoPatternError, read_pattern
from tests.conftest import CHECKOUT

TABLES = "CREATE TABLE dogs (id int);"


@pytest.mark.parametrize(
    ("entry", "path", "prompt"),
    [
        ({"type": "completion", "field": "text"}, "test_postgres.jsonl", f"[INST] {TABLES}\n\nHow many? [/INST]"),
        ({"type": "chat_template", "field_messages": "messages"}, "messages/test_postgres.jsonl", f"{TABLES}\n\nHow many?"),
    ],
)
def test_a_question_is_put_as_the_sample_rows_put_theirs(entry, path, prompt):
    pattern = read_pattern(CHECKOUT / "sample_data" / path, find_strategy(entry, {}))
    assert pattern.prompt("How many?", TABLES).strip() == prompt
    assert pattern.prompt("How many?").strip() == prompt.replace(TABLES, pattern.tables)


def test_rows_that_differ_in_more_than_a_question_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [f"[INST] {i} birds\n{TABLES}\n\nWhat is {i}? [/INST] SELECT {i};" for i in range(5)]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    with pytest.raises(NoPatternError, match="2 places"):
        read_pattern(path, find_strategy({"type": "completion", "field": "text"}, {}))
