"""What the docs say is what the files hold."""

import re

import pytest
import yaml

from preflight.config import CONFIGS, lookup
from preflight.gpu import TIERS
from tests.conftest import CHECKOUT

GUIDE = (CHECKOUT / "docs/configuration.md").read_text()
ROWS = re.findall(r"^\| (\S.*?) \| (.+?) \| `(\S+)` \| (\S+\.yaml) \|$", GUIDE, re.M)


def load(name):
    return yaml.safe_load((CONFIGS / name).read_text())


def test_the_table_holds_the_whole_plan():
    """The count of the issue's list; the rows themselves are compared below."""
    assert len(ROWS) == 40
    assert len({plan for plan, *_ in ROWS}) == 40


@pytest.mark.parametrize(("plan", "value", "key", "name"), ROWS, ids=[row[0] for row in ROWS])
def test_each_setting_of_the_plan_is_where_the_table_says(plan, value, key, name):
    assert lookup(load(name), key) == yaml.safe_load(value)


@pytest.mark.parametrize(("plan", "value", "key", "name"), [row for row in ROWS if row[3] == "mistral_qlora.yaml"], ids=lambda value: None)
def test_the_other_two_configs_hold_the_same_values(plan, value, key, name):
    expected = {"datasets.0.field": None}.get(key, yaml.safe_load(value))
    assert lookup(load("mistral_qlora_chat.yaml"), key) == expected
    assert lookup(load("mistral_qlora_padded.yaml"), key) == yaml.safe_load(value)


def test_the_three_configs_differ_only_in_their_rows_and_their_packing():
    packed, chat, padded = (load(f"mistral_qlora{name}.yaml") for name in ("", "_chat", "_padded"))
    assert {key for key in packed.keys() | chat.keys() if packed.get(key) != chat.get(key)} == {"datasets", "test_datasets", "chat_template"}
    assert {key for key in packed.keys() | padded.keys() if packed.get(key) != padded.get(key)} == {
        "sample_packing",
        "eval_sample_packing",
        "multipack_real_batches",
        "pad_to_sequence_len",
        "sdpa_varlen",
        "gradient_accumulation_steps",
        "optimizer",
    }


def test_the_table_of_gpus_is_that_of_the_tiers():
    rows = re.findall(r"^\| ([^|`]+) \| (fp16|bf16) \| (sdpa with a mask|varlen) \| (on|off) \|", GUIDE, re.M)
    base = load("mistral_qlora.yaml")
    shown = {}
    for names, precision, attention, checkpointing in rows:
        for name in re.split(", ", names):
            shown[name.lower().replace(" gb", "gb").replace(" ", "-")] = (precision, attention, checkpointing)
    assert shown.keys() == {tier.name for tier in TIERS}
    for tier in TIERS:
        values = base | load(f"tiers/{tier.name}.yaml")
        assert shown[tier.name] == (
            "bf16" if values["bf16"] else "fp16",
            "varlen" if values["sdpa_varlen"] else "sdpa with a mask",
            "on" if values["gradient_checkpointing"] else "off",
        )


def test_commands_of_the_guide_run(preflight):
    (command,) = re.findall(r"```sh\n(.+?)\n```", GUIDE, re.S)
    arguments = command.partition("-m preflight ")[2].split()
    ran = preflight(*arguments, "--json")
    assert {change["key"] for change in ran.json["changes"] if change["layer"] == "--set"} >= {"learning_rate"}
    assert ran.code == 0
