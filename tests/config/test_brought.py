"""Configs in the shapes that people really bring, on which an earlier kit was wrong, and what is right to say of each before a launch.

What only Axolotl's own validators refuse (`11_*`) is in test_validators.py; here a plan may not ask them.
"""

import csv
import json
import shutil

import pytest

from preflight.cli.preflight import main
from tests.conftest import CHECKOUT, FAKES

BROUGHT = CHECKOUT / "tests/examples/brought"
ROWS = 200


def asked(number):
    return f"CREATE TABLE boat_{number} (id int, price int);\nHow many boat_{number} cost more than {number}?"


def answered(number):
    return f"SELECT count(*) FROM boat_{number} WHERE price > {number};"


def talk(*turns):
    return [{"role": role, "content": content} for role, content in turns]


SHAPES = {
    "text": lambda i: {"text": f"[INST] {asked(i)} [/INST] {answered(i)}"},
    "text_val": lambda i: {"text": f"[INST] {asked(ROWS + i)} [/INST] {answered(ROWS + i)}"},
    "folder/part0": lambda i: {"text": f"[INST] {asked(i)} [/INST] {answered(i)}"},
    "alpaca": lambda i: {"instruction": asked(i), "input": "", "output": answered(i)},
    "qa": lambda i: {"question": asked(i), "answer": answered(i)},
    "roles": lambda i: {"conversations": [{"from": "client", "value": asked(i)}, {"from": "model", "value": answered(i)}]},
    "messages": lambda i: {"messages": talk(("user", asked(i)), ("assistant", answered(i)))},
    "dpo": lambda i: {"system": "", "question": asked(i), "chosen": answered(i), "rejected": "SELECT 1;"},
    "orpo": lambda i: {
        "prompt": asked(i),
        "chosen": talk(("user", asked(i)), ("assistant", answered(i))),
        "rejected": talk(("user", asked(i)), ("assistant", "SELECT 1;")),
    },
    "dpo_chat": lambda i: {
        "messages": talk(("user", asked(i))),
        "chosen": talk(("assistant", answered(i)))[0],
        "rejected": talk(("assistant", "SELECT 1;"))[0],
    },
}
NOT_JUDGED = {"data.not-judged"}
T4 = {"04_tier_raises_memory", "04b_tier_old_full_config", "05_full_finetune_t4", "05b_70b_on_t4"}
ERRORS = {
    "01_chatml_end_never_trained": {"config.eos-untrained"},
    "04_tier_raises_memory": {"config.attention-missing"},  # which a T4 does not have; the micro batch stays as it is
    "04b_tier_old_full_config": {"config.attention-missing", "config.unknown-key"},
    "05_full_finetune_t4": {"gpu.memory"},
    "05b_70b_on_t4": {"gpu.memory"},
    "06_split_slice": {"config.saves-never"},
    "06b_split_test": {"data.not-loaded"},
    "09_roles": {"config.eos-untrained"},
    "10_base_without_template": {"config.chat-template"},
    "10b_tokens": {"config.untrained-tokens"},
    "10c_targets_typo": {"config.no-such-module"},
    "10d_targets_of_another_family": {"config.no-such-module"},
    "11_bit4_noadapter": {"gpu.memory"},
    "11_ds_missing": {"config.missing-file", "config.package-missing"},
    "11_jinja_missing": {"config.chat-template"},
    "11_kto": {"data.wrong-columns"},
    "13b_path_json": {"data.not-loaded"},
    "13c_folder_data_files": {"data.not-loaded"},
    "13d_wrong_column": {"data.wrong-columns"},
    "13e_resume_missing": {"config.missing-file"},
    "18_format_not_applied": {"config.format-unused"},
    "c02_page_mistral_v03": {"config.unknown-key", "config.bad-value"},
    "11_early_stop": {"config.early-stopping"},
    "c03_resume_full": {"config.early-stopping", "config.unknown-key", "config.missing-file", "config.package-missing", "data.wrong-columns"},
}
# steps as Axolotl counts them: 200 rows 8 a step 3 times; the slice of 20 of them; 516 with the template's own tokens
STEPS = {"01_chatml_end_never_trained": 516, "06_split_slice": 8, "07_parquet": 75, "07b_csv": 75, "07c_json_list": 75, "09_roles": 75}
WARNINGS = {"08_orpo": NOT_JUDGED, "08b_dpo_chat": NOT_JUDGED, "11_dpo_packed": NOT_JUDGED, "13_folder_missing": {"data.missing"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the rows that the configs name, and the sample data."""
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("brought")
    rows = folder / "rows"
    (rows / "folder").mkdir(parents=True)
    made = {name: [shape(number) for number in range(ROWS)] for name, shape in SHAPES.items()}
    for name, found in made.items():
        (rows / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    (rows / "alpaca_list.json").write_text(json.dumps(made["alpaca"], indent=1))
    texts = [row["text"] for row in made["text"]]
    with (rows / "text.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    parquet.write_table(pyarrow.table({"text": texts}), rows / "text.parquet")
    (folder / "sample_data").symlink_to(CHECKOUT / "sample_data")
    shutil.copytree(BROUGHT, folder / "brought")
    return folder


@pytest.mark.parametrize("name", sorted(path.stem for path in BROUGHT.glob("*.yaml")))
def test_what_is_said_of_them(place, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setenv("PREFLIGHT_VALIDATORS", "never")
    main([f"brought/{name}.yaml", "--gpu", "t4" if name in T4 else "a100-40gb", "--plan-only", "--json", "--workspace", str(tmp_path)])
    document = json.loads(capsys.readouterr().out)
    found = {level: {finding["code"] for finding in document["findings"] if finding["level"] == level} for level in ("error", "warning")}
    assert found["error"] == ERRORS.get(name, set())
    assert found["warning"] >= WARNINGS.get(name, set())
    if name in STEPS:
        assert (document["plan"]["steps"], document["plan"]["exact"]) == (STEPS[name], True)
    if WARNINGS.get(name) == NOT_JUDGED:
        assert document["plan"]["steps"] is None
