import json
import random
import re

import pglast
import pytest
from tokenizers import Tokenizer

from preflight.training.evaluation.execution import Asked, judge_answers
from sample_data import base, generate
from sample_data.questions import KINDS
from sample_data.schemas import SCHEMAS
from tests.conftest import CHECKOUT, tree

ROWS = generate.rows()


def test_the_committed_rows_are_what_the_generator_makes(tmp_path):
    generate.write_rows(tmp_path)
    committed = {name: content for name, content in tree(CHECKOUT / "sample_data").items() if name.endswith(".jsonl")}
    assert tree(tmp_path) == committed


def test_sizes_and_kinds():
    assert {split: len(pairs) for split, pairs in ROWS.items()} == {"train": 2000, "val": 200, "test": 200}
    assert 30 <= len(KINDS) <= 40
    assert len(SCHEMAS) == 6


def test_most_kinds_are_answered_in_two_ways_and_both_are_in_the_rows():
    schema = SCHEMAS[0]
    drafts = [kind(generate.Pick(random.Random(7), schema)) for kind in KINDS]
    assert sum(len(draft.ways) == 2 for draft in drafts) / len(drafts) > 0.6
    answers = {answer for pairs in ROWS.values() for _, answer in pairs}
    for split in ROWS.values():
        subqueries = sum(" IN (SELECT " in answer for _, answer in split)
        joins = sum(" JOIN " in answer for _, answer in split)
        assert subqueries > len(split) * 0.04, "about half of the questions about two tables"
        assert joins > len(split) * 0.04
    assert any("FETCH FIRST" in answer for answer in answers)


def test_each_way_is_right_to_the_judge_where_the_other_is_expected():
    drafts = [(schema, kind(generate.Pick(random.Random(seed), schema))) for seed, schema in enumerate(SCHEMAS) for kind in KINDS]
    two = [(schema.ddl, draft.ways) for schema, draft in drafts if draft.other]
    for expected, given in ((0, 1), (1, 0)):
        asked = [Asked(line=line, question=ddl, expected=ways[expected]) for line, (ddl, ways) in enumerate(two)]
        executed, why = judge_answers(asked, {"other": [ways[given] for _, ways in two]})
        figures = executed["other"]
        assert (why, figures.wrong, figures.exact) == ("", 0, 0), figures.wrong_answers
        assert figures.right > 0.95 * len(asked), figures.reasons


def test_the_splits_share_no_answer_and_no_question_stands_twice():
    answers = [{(user.partition("\n\n")[0], answer) for user, answer in ROWS[split]} for split in ("train", "val", "test")]
    assert not answers[0] & answers[1] | answers[0] & answers[2] | answers[1] & answers[2]
    questions = [question for split in ROWS.values() for question, _ in split]
    assert len(questions) == len(set(questions))


def test_every_answer_and_every_table_is_postgresql():
    statements = {answer for pairs in ROWS.values() for _, answer in pairs} | {schema.ddl for schema in SCHEMAS}
    for statement in statements:
        pglast.parse_sql(statement)


def test_the_grammar_would_notice():
    with pytest.raises(pglast.parser.ParseError):
        pglast.parse_sql("SELECT name FROM customers WHERE city == 'Rome' ORDER total;")


def test_every_answer_names_only_columns_of_its_tables():
    columns = {schema.ddl: set(re.findall(r"\w+", schema.ddl)) for schema in SCHEMAS}
    words = {"SELECT", "FROM", "WHERE", "AND", "ORDER", "BY", "DESC", "LIMIT", "GROUP", "HAVING", "JOIN", "ON", "IN", "NOT", "LIKE"}
    words |= {
        "BETWEEN",
        "DISTINCT",
        "IS",
        "NULL",
        "EXTRACT",
        "YEAR",
        "OR",
        "FETCH",
        "FIRST",
        "ROWS",
        "ONLY",
        "left",
        "count",
        "sum",
        "avg",
        "min",
        "max",
    }
    for user, answer in ROWS["train"]:
        names = set(re.findall(r"[A-Za-z_]+", re.sub(r"'[^']*'", "", answer)))
        assert names <= words | columns[user.partition("\n\n")[0]], answer


def test_both_forms_hold_the_same_rows():
    for split in ROWS:
        text, messages = ((CHECKOUT / "sample_data" / form / f"{split}_postgres.jsonl").read_text().splitlines() for form in ("", "messages"))
        for one, other in zip(text, messages, strict=True):
            user, assistant = json.loads(other)["messages"]
            assert json.loads(one)["text"] == f"[INST] {user['content']} [/INST] {assistant['content']}"
            assert (user["role"], assistant["role"]) == ("user", "assistant")


def test_the_base_never_sees_a_question_beside_its_answer_nor_a_held_out_answer():
    held_out = {answer for split in ("val", "test") for _, answer in ROWS[split]}
    for document in generate.corpus(4000):
        lines = document.partition("\n\n")[2].splitlines()
        assert len({line.startswith("SELECT ") for line in lines}) == 1, document
        assert not held_out & set(lines)


def test_the_committed_base_has_the_documented_shape_and_tokenizer():
    folder = CHECKOUT / "sample_data" / "smoke_base"
    config = json.loads((folder / "config.json").read_text())
    shape = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
    assert {key: config[key] for key in shape} == {key: base.SHAPE[key] for key in shape}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.get_vocab() == base.train_tokenizer(generate.corpus(base.DOCUMENTS)).get_vocab()
    assert tokenizer.encode("a").ids[0] == 1, "BOS comes first"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
