import json
import math
import random
from pathlib import Path

import pytest
import yaml

from preflight.config import base_model
from preflight.config.layers import Config
from preflight.config.settings import Rows
from preflight.config.yaml_file import YamlFile
from preflight.data import audit
from preflight.data.audit import DatasetLengths, audit_rows
from preflight.data.lengths import Lengths, RowLength
from preflight.data.preview import tokenize_with_loss_mask
from preflight.data.prompt_strategies import find_strategy
from preflight.data.prompt_strategies.completion import Completion
from preflight.data.rows import read_rows
from preflight.data.sources import find_data
from preflight.data.staging import bring, inspect_source
from preflight.data.tokenizer import find_tokenizer
from preflight.machine.workspace import find_workspace
from preflight.plan.checks import check_evaluation, check_rows
from preflight.plan.steps import chosen_rows, first_fit, plan_steps, save_steps, trained_order, trained_tokens, warmup_steps
from tests.conftest import CHECKOUT

SMOKE = yaml.safe_load((CHECKOUT / "axolotl_configs/smoke.yaml").read_text())
CHAT = yaml.safe_load((CHECKOUT / "axolotl_configs/mistral_qlora_chat.yaml").read_text())


def lengths(*rows):
    return Lengths(path=Path("x"), rows=len(rows), measured=tuple(RowLength(row, row, (row,)) for row in rows))


def quiet(what, done, total):
    pass


def counted(values):
    """The rows of a config where they lie, looked through."""
    places = Rows(source="drive", drive_folder="", folder="/content/data", test_file="", disk_gb=1, sql_fails_warning=0, sql_fails_error=0.1)
    files, _ = find_data(values, find_workspace(Path("nowhere"), environ={}), places, None)
    staged = [bring([inspect_source(file.source, file)], file.source.parent, copy=False, missing="error", progress=quiet)[0] for file in files]
    rows, findings = audit_rows(values, files, staged, quiet)
    assert [finding for finding in findings if finding.level == "error" and finding.code != "data.leakage"] == []
    return rows


VARIANTS = {
    "as shipped": {},
    "another split": {"micro_batch_size": 1, "gradient_accumulation_steps": 2},
    "a coarse split": {"micro_batch_size": 4, "gradient_accumulation_steps": 3},
    "one pack a batch": {"multipack_real_batches": False, "micro_batch_size": 3},
    "padded": {"sample_packing": False, "eval_sample_packing": False, "micro_batch_size": 3, "gradient_accumulation_steps": 5},
    "rows cut in pieces": {"sequence_len": 60},
    "half epochs": {"num_epochs": 1.5, "seed": 7},
    "order of the file": {"datasets": [{key: value for key, value in SMOKE["datasets"][0].items() if key != "shards"}]},
    "part of the rows": {"datasets": [SMOKE["datasets"][0] | {"shards": 3, "shards_idx": 1}]},
    "two files": {"datasets": [SMOKE["datasets"][0], SMOKE["test_datasets"][0]]},
    "at most so many": {"max_steps": 17},
    "conversations": {
        "datasets": [CHAT["datasets"][0] | {"path": "sample_data/messages/train_postgres.jsonl"}],
        "test_datasets": [CHAT["test_datasets"][0] | {"path": "sample_data/messages/val_postgres.jsonl"}],
        "chat_template": "mistral_v1",
    },
    "long conversations dropped": {
        "datasets": [CHAT["datasets"][0] | {"path": "sample_data/messages/train_postgres.jsonl"}],
        "test_datasets": [CHAT["test_datasets"][0] | {"path": "sample_data/messages/val_postgres.jsonl"}],
        "chat_template": "mistral_v1",
        "sequence_len": 95,
    },
    "instructions": {"instructions": {}},
    "long instructions dropped": {"instructions": {"sequence_len": 200}},
    "instructions trained on as well": {"instructions": {"train_on_inputs": True}},
}


def instructions(folder):
    """The sample rows in the alpaca shape, some of them with an input, and the entry that reads them."""
    path = folder / "alpaca.jsonl"
    with path.open("w") as file:
        for number, line in enumerate((CHECKOUT / "sample_data/messages/train_postgres.jsonl").read_text().splitlines()):
            question, answer = (turn["content"] for turn in json.loads(line)["messages"])
            schema, _, asked = question.rpartition("\n\n")
            row = (
                {"instruction": asked, "input": schema, "output": answer} if number % 3 else {"instruction": question, "input": "", "output": answer}
            )
            file.write(json.dumps(row) + "\n")
    return {"path": str(path), "ds_type": "json", "type": "alpaca", "shards": 1}


def first_rows(values, folder):
    """The config with 600 rows of each file at most: Axolotl tokenises them all, for each way of it."""
    changed = {}
    for key in ("datasets", "test_datasets"):
        changed[key] = []
        for number, entry in enumerate(values[key]):
            path = folder / f"{key}_{number}.jsonl"
            path.write_text("".join((CHECKOUT / entry["path"]).read_text().splitlines(keepends=True)[:600]))
            changed[key].append(entry | {"path": str(path)})
    return values | changed


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_steps_are_those_that_axolotl_makes(axolotl, tmp_path, monkeypatch, changes):
    """The same sequences in the same order, and so the same number of steps, to the last one; the same tokens with loss."""
    monkeypatch.chdir(CHECKOUT)
    if "instructions" in changes:
        changes = {"datasets": [instructions(tmp_path)], "test_datasets": [instructions(tmp_path) | {"split": "train"}]} | changes["instructions"]
    values = SMOKE | {"output_dir": str(tmp_path / "out"), "dataset_prepared_path": str(tmp_path / "prepared")} | changes
    values = first_rows(values, tmp_path) if changes else values
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    answer = axolotl.ask("steps", path=str(tmp_path / "c.yaml"))
    rows = counted(values)
    assert trained_order(values, rows.train) == answer["lengths"]
    plan = plan_steps(values, rows)
    assert (plan.steps, plan.exact) == (answer["steps"], True)
    assert trained_tokens(values, rows.train) == answer["trained"]
    assert sequences(values) == sorted(answer["tokens"])


MANY = SMOKE["test_datasets"][0] | {"shards": 1}  # a hundred rows
FEW, PART = MANY | {"split": "train[:6]"}, MANY | {"split": "train[10%:60%]"}
TRAINED = {
    "two parts of one file": {
        "datasets": [FEW | {"split": "train[:80%]"}],
        "test_datasets": [FEW | {"split": "train[80%:]"}],
        "gradient_accumulation_steps": 90,  # less than a step
    },
    "a share for validation, of rows of several sequences": {"test_datasets": None, "val_set_size": 0.1, "sequence_len": 60},
    "rows for validation, padded": {
        "datasets": [PART],
        "test_datasets": None,
        "val_set_size": 33,
        "sample_packing": False,
        "eval_sample_packing": False,
    },
    "as many as there are": {"max_steps": -1, "num_epochs": 2.5, "micro_batch_size": 2, "gradient_accumulation_steps": 3},
    "as many, padded": {
        "max_steps": -1,
        "sample_packing": False,
        "eval_sample_packing": False,
        "micro_batch_size": 3,
        "gradient_accumulation_steps": 5,
    },
    "less than a batch": {"datasets": [FEW], "micro_batch_size": 4},
    "validation less than a batch": {"test_datasets": [FEW | {"split": "train[:4]"}], "micro_batch_size": 8},
    "a whole share": {"test_datasets": None, "val_set_size": 1},
    "none short enough": {
        "datasets": [CHAT["datasets"][0] | {"path": "sample_data/messages/val_postgres.jsonl"}],
        "chat_template": "mistral_v1",
        "sequence_len": 20,
    },
}


@pytest.mark.parametrize("changes", TRAINED.values(), ids=TRAINED)
def test_what_the_trainer_makes_of_parts_and_of_few_rows(axolotl, tmp_path, monkeypatch, changes):
    """The steps of the real trainer's count, and an error where it would train nothing, evaluate nothing, or not start."""
    monkeypatch.chdir(CHECKOUT)
    values = SMOKE | {"datasets": [MANY], "dataset_num_proc": 1} | changes
    values = {key: value for key, value in values.items() if value is not None}
    values |= {"output_dir": str(tmp_path / "out"), "dataset_prepared_path": str(tmp_path / "prepared")}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    answer = axolotl.ask("trains", path=str(tmp_path / "c.yaml"))
    rows, config = counted(values), Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)
    plan = plan_steps(values, rows)
    codes = [finding.code for finding in (check_evaluation(config, plan) if plan else check_rows(config, rows))]
    if answer["error"] or not answer["batches"]:
        assert (plan, codes) == (None, ["config.too-few-rows"]), answer
        return
    assert (plan.steps, plan.exact) == (answer["steps"], True)
    if answer["eval_batches"] is not None:
        assert plan.eval_batches == answer["eval_batches"]
        assert codes == ([] if answer["eval_batches"] else ["config.eval-too-small"])


def sequences(values):
    """Every training row as (ids, whether each has loss), cut as a text row is and left out where it is dropped; sorted."""
    made, limit, tokenizer = [], values["sequence_len"], find_tokenizer(values["base_model"])
    for entry in values["datasets"]:
        shape = find_strategy(entry)
        every = list(read_rows(Path(entry["path"]), shape))
        lengths = Lengths(path=Path(entry["path"]), rows=len(every), measured=tuple(RowLength(0, 0, ()) for _ in every))
        for i in chosen_rows(values, entry, lengths):
            tokens = tokenize_with_loss_mask(every[i], shape, values, tokenizer)
            if isinstance(shape, Completion) or len(tokens) <= limit:
                pieces = [tokens[start : start + limit] for start in range(0, len(tokens), limit)]
                made += [[[token.id for token in piece], [token.trained for token in piece]] for piece in pieces if len(piece) > 1]
    return sorted(made)


@pytest.mark.parametrize("tokenizer", ["sample_data/smoke_base", "mistralai/Mistral-7B-v0.1"])
def test_every_split_of_a_step_makes_the_same_run(monkeypatch, tokenizer):
    monkeypatch.chdir(CHECKOUT)
    rows = counted(SMOKE | {"base_model": tokenizer})
    splits = [(1, 12), (2, 6), (3, 4), (4, 3), (6, 2), (12, 1)]
    plans = {plan_steps(SMOKE | {"micro_batch_size": micro, "gradient_accumulation_steps": more}, rows).steps for micro, more in splits}
    assert len(plans) == 1


def test_first_fit_is_first_fit():
    """Against the plain loop, on random lengths."""
    rng = random.Random(1)
    for _ in range(50):
        capacity, most = rng.randint(10, 60), rng.randint(1, 5)
        sizes = [rng.randint(1, capacity) for _ in range(rng.randint(0, 80))]
        bins = []
        for size in sizes:
            held = next((one for one in bins if sum(one) + size <= capacity and len(one) < most), None)
            if held is None:
                bins.append(held := [])
            held.append(size)
        assert first_fit(sizes, capacity, most) == len(bins)


@pytest.mark.parametrize(
    ("values", "saves"),
    [
        ({"save_steps": 40}, (40, 80, 100)),
        ({"save_steps": 500}, (100,)),
        ({"save_steps": 0.25}, (25, 50, 75, 100)),
        ({"save_strategy": "epoch", "num_epochs": 4}, (25, 50, 75, 100)),
        ({"num_epochs": 2}, (50, 100)),
        ({"saves_per_epoch": 2, "num_epochs": 2}, (25, 50, 75, 100)),
        ({"save_strategy": "no"}, ()),
    ],
)
def test_when_checkpoints_are_written(values, saves):
    assert save_steps(values, 100) == saves


@pytest.mark.parametrize(
    ("values", "warmup"), [({"warmup_ratio": 0.03}, 30), ({"warmup_steps": 7}, 7), ({}, 30), ({"warmup_steps": 1}, 2), ({"warmup_ratio": 0}, 0)]
)
def test_warmup(values, warmup):
    assert warmup_steps(values, 1000) == warmup


def test_a_packed_step_says_how_many_examples_it_holds():
    values = {"sample_packing": True, "curriculum_sampling": True, "sequence_len": 100, "micro_batch_size": 2, "num_epochs": 3, "datasets": [{}]}
    plan = plan_steps(values, DatasetLengths(train=(lengths(*[25] * 80),)))
    assert (plan.steps, plan.examples_per_step, plan.tokens_per_step, plan.tokens) == (30, 8.0, 200, 6000)


def test_no_rows_no_steps():
    """And nothing is said of their lengths: what is wrong with them has been said."""
    none = DatasetLengths(train=(lengths(),))
    assert plan_steps(SMOKE, none) is None
    assert check_rows(Config(file=YamlFile(path=Path("x.yaml"), values=SMOKE), values=SMOKE), none) == []


def test_many_rows_are_sampled_and_the_plan_says_so(monkeypatch):
    """A sample of 300 in 2,000 rows: the steps are an estimate, and near."""
    monkeypatch.chdir(CHECKOUT)
    whole = counted(SMOKE)
    monkeypatch.setattr(audit, "MOST_ROWS", 300)
    monkeypatch.setattr(audit, "SAMPLE", 330)
    monkeypatch.setattr(audit, "FEWEST", 30)
    sampled = counted(SMOKE)
    assert sampled.train[0].sampled
    assert 200 < len(sampled.train[0].measured) < 400
    assert math.isclose(sampled.train[0].tokens, whole.train[0].tokens, rel_tol=0.05)
    plan, exact = plan_steps(SMOKE, sampled), plan_steps(SMOKE, whole)
    assert (plan.exact, exact.exact) == (False, True)
    assert math.isclose(plan.steps, exact.steps, rel_tol=0.05)


def test_without_curriculum_sampling_the_steps_are_an_estimate(monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    assert not plan_steps(SMOKE | {"curriculum_sampling": False}, counted(SMOKE)).exact


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mistralai/Mistral-7B-v0.1", True),
        ("unsloth/mistral-7b-bnb-4bit", True),
        ("mistralai/Mistral-7B-Instruct-v0.2", True),
        ("mistralai/Mistral-7B-v0.3", False),
        ("nobody/nothing", False),
    ],
)
def test_which_models_share_the_tokenizer_that_is_at_hand(name, found):
    assert (find_tokenizer(name) is not None) == found


def test_mistrals_own_tokenizer_counts_as_the_trainer_does(axolotl):
    """The SentencePiece model against the tokenizer that transformers makes of it."""
    texts = [
        "SELECT 1;",
        "[INST] Größe der Städte?\n\tline two [/INST] SELECT name FROM t WHERE x = 'ü';",
        "",
        " two  spaces ",
        "<s> in the text </s>",
    ]
    ours = [count + 2 for count in find_tokenizer("mistralai/Mistral-7B-v0.1").count(texts)]
    assert ours[:4] == axolotl.ask("mistral_lengths", texts=texts)[:4]


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("sample_data/smoke_base", False),
        ("sample_data/smoke_bas", True),
        ("./model", True),
        ("/nowhere/model", True),
        ("a/b/c", True),
        ("gpt2", False),
        ("mistralai/Mistral-7B-v0.1", False),
        ("", False),
    ],
)
def test_a_base_model_that_is_a_path_and_not_there(monkeypatch, name, missing):
    monkeypatch.chdir(CHECKOUT)
    assert base_model.is_missing(name) == missing
