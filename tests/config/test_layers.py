import re
from pathlib import Path

import pytest
import yaml

from preflight.checkpoints.identity import run_fingerprint
from preflight.config.base_model import MISTRAL_7B
from preflight.config.keys import TIER_KEYS
from preflight.config.layers import Change, Config, UsageError, parse_override, render, with_changes
from preflight.config.memory import check_memory
from preflight.config.schema import check_plugin_keys, find_problems, read_schema
from preflight.config.tiers import CPU, TIERS, check_tier, read_tier, tier_changes
from preflight.config.values import step_size
from preflight.config.yaml_file import YamlFile, read_yaml
from preflight.files import CHECKOUT, CONFIGS

SHIPPED = sorted(CONFIGS.glob("*.yaml"))
TRAINING = [path for path in SHIPPED if path.name != "colab_setup.yaml"]
BY_NAME = {tier.name: tier for tier in TIERS}


def config(**values):
    return Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)


def load(path):
    file, findings = read_yaml(path)
    assert findings == []
    return Config(file=file, values=file.values)


def on_tier(path, name):
    tier, findings = read_tier(name)
    assert findings == []
    before = load(path)
    after, findings = with_changes(before, tier_changes(before, tier, ()))
    assert findings == []
    return before, after


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.name)
def test_shipped_configs_hold_only_what_axolotl_knows(path):
    assert find_problems(load(path), read_schema()) == []
    assert check_plugin_keys(load(path), read_schema()) == []


def test_every_tier_has_its_file_and_no_other_is_there():
    assert {path.stem for path in (CONFIGS / "tiers").glob("*")} == {*BY_NAME, CPU}


@pytest.mark.parametrize("name", [*BY_NAME, CPU])
@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.name)
def test_a_tier_never_changes_the_experiment(path, name):
    before, after = on_tier(path, name)
    assert run_fingerprint(after.values) == run_fingerprint(before.values)
    assert step_size(after.values) == step_size(before.values)
    assert {change.key for change in after.changes} <= TIER_KEYS | {"gradient_accumulation_steps"}
    assert find_problems(after, read_schema()) == []
    assert check_plugin_keys(after, read_schema()) == []


@pytest.mark.parametrize("name", BY_NAME)
def test_a_tier_asks_for_no_more_than_its_gpu_has(name):
    """bf16, tf32 and varlen attention need compute capability 8; a step leaves 5% of the memory free."""
    _, after = on_tier(CONFIGS / "mistral_qlora.yaml", name)
    modern = BY_NAME[name].compute_capability >= (8, 0)
    assert {key: after.values[key] for key in ("bf16", "fp16", "tf32", "sdpa_varlen")} == {
        "bf16": modern,
        "fp16": not modern,
        "tf32": modern,
        "sdpa_varlen": modern,
    }
    assert check_memory(after, MISTRAL_7B, BY_NAME[name].memory_gib) == []
    assert after.values["gradient_checkpointing"] == (BY_NAME[name].memory_gib < 20)  # which costs 45% of time where memory allows doing without


def test_the_cpu_tier_asks_for_no_gpu_feature():
    _, after = on_tier(CONFIGS / "mistral_qlora.yaml", CPU)
    assert not any(after.values[key] for key in ("bf16", "fp16", "tf32", "lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"))


@pytest.mark.parametrize(
    ("micro", "accumulation", "most", "split"), [(4, 4, 4, (4, 4)), (4, 4, 1, (1, 16)), (4, 4, 3, (2, 8)), (3, 1, 2, (1, 3)), (1, 5, 8, (5, 1))]
)
def test_the_split_keeps_the_product(micro, accumulation, most, split):
    before = config(micro_batch_size=micro, gradient_accumulation_steps=accumulation)
    changes = tier_changes(before, YamlFile(path=Path("t.yaml"), values={"micro_batch_size": most}), ())
    after, _ = with_changes(before, changes)
    assert (after.values["micro_batch_size"], after.values["gradient_accumulation_steps"]) == split


def test_a_split_that_the_user_sets_is_left_alone():
    chosen = [Change(key="micro_batch_size", value=8, layer="--set")]
    assert tier_changes(config(micro_batch_size=8), YamlFile(path=Path("t.yaml"), values={"micro_batch_size": 1}), chosen) == []


def test_set_reaches_inside_and_says_where_a_value_came_from():
    before = config(datasets=[{"path": "a"}], lora_r=16)
    after, findings = with_changes(before, [parse_override("datasets.0.path=b"), parse_override("lora_r=16"), parse_override("a.b=null")])
    assert findings == []
    assert after.values == {"datasets": [{"path": "b"}], "lora_r": 16, "a": {"b": None}}
    assert before.values["datasets"] == [{"path": "a"}]
    assert after.changes == (Change(key="datasets.0.path", value="b", layer="--set"),)
    assert after.where("datasets.0.path") == "--set $.datasets.0.path"


def test_the_layer_above_wins():
    after, _ = with_changes(config(bf16=True), [Change(key="bf16", value=False, layer="tier t4"), Change(key="bf16", value="auto", layer="--set")])
    assert after.values == {"bf16": "auto"}
    assert after.where("bf16") == "--set $.bf16"


@pytest.mark.parametrize(
    ("text", "value"), [("a=1", 1), ("a=2e-4", "2e-4"), ("a=true", True), ("a=[x, y]", ["x", "y"]), ("a=", None), ("a=b=c", "b=c")]
)
def test_values_are_read_as_yaml(text, value):
    assert parse_override(text).value == value


@pytest.mark.parametrize("text", ["a", "", "=1", "a=[", "a=!!python/object:os.x {}"])
def test_an_override_that_is_none(text):
    with pytest.raises(UsageError, match="--set"):
        parse_override(text)


def test_the_experiment_is_the_rows_and_the_rates_not_the_paths_or_the_gpu():
    here = {
        "datasets": [{"path": "/a/x.jsonl", "type": "completion"}],
        "dataset_prepared_path": "/a/prepared/123",
        "bf16": True,
        "micro_batch_size": 4,
        "save_steps": 5,
    }
    there = {
        "datasets": [{"path": "/b/x.jsonl", "type": "completion"}],
        "dataset_prepared_path": "/b/prepared/123",
        "fp16": True,
        "gradient_accumulation_steps": 4,
        "save_steps": 9,
    }
    assert run_fingerprint(here) == run_fingerprint(there)
    assert run_fingerprint(here) != run_fingerprint(there | {"dataset_prepared_path": "/b/prepared/124"})
    assert run_fingerprint(here) != run_fingerprint(here | {"learning_rate": 1})
    assert run_fingerprint(here) != run_fingerprint(here | {"micro_batch_size": 8})


def test_a_tier_file_may_not_change_what_is_learnt():
    tier = YamlFile(path=Path("t.yaml"), values={"bf16": True, "learning_rate": 1, "sample_packing": False})
    assert [(finding.code, finding.where) for finding in check_tier(tier)] == [
        ("config.not-for-a-tier", "t.yaml $.learning_rate"),
        ("config.not-for-a-tier", "t.yaml $.sample_packing"),
    ]


GPU_TRAINING = ["mistral_qlora", "mistral_qlora_chat", "mistral_qlora_padded"]


@pytest.mark.parametrize("name", GPU_TRAINING)
def test_every_gpu_makes_the_same_run(preflight, axolotl, name, tmp_path):
    """As a person asks for it: the same step, the same steps, and a YAML that Axolotl's own validation takes on that GPU."""
    rows, all_rows = tmp_path, CHECKOUT / ("sample_data/messages" if name.endswith("chat") else "sample_data")
    for path in all_rows.glob("*_postgres.jsonl"):
        (rows / path.name).write_text("".join(path.read_text().splitlines(keepends=True)[:400]))
    plans = {}
    for tier in TIERS:
        ran = preflight(
            f"axolotl_configs/{name}.yaml", "--gpu", tier.name, "--data", rows, "--set", "save_steps=10", "--set", "eval_steps=10", "--json"
        )
        assert ran.code == 0, ran.json["findings"]
        plan = ran.json["plan"]
        plans[tier.name] = (plan["tokens_per_step"], plan["examples_per_step"], plan["steps"], plan["exact"], tuple(plan["saves"]))
        resolved = load(CONFIGS / f"{name}.yaml")
        changes = [Change(**change) for change in ran.json["changes"]]
        values, _ = with_changes(resolved, changes)
        major, minor = tier.compute_capability
        answer = axolotl.ask("validate", values=values.values, capability=10 * major + minor)
        assert answer["error"] == ""
        assert all(answer["values"][change.key] == change.value for change in changes if change.layer.startswith("tier"))
    assert len(set(plans.values())) == 1, plans
    assert None not in plans["t4"][1:]


def test_a_step_that_is_said_as_batch_size_stays_and_is_not_said_twice():
    before = config(batch_size=8, micro_batch_size=1, gradient_accumulation_steps=None)
    after, _ = with_changes(before, tier_changes(before, YamlFile(path=Path("t.yaml"), values={"micro_batch_size": 4}), ()))
    assert step_size(before.values) == step_size(after.values) == 8
    assert [after.values[key] for key in ("batch_size", "micro_batch_size", "gradient_accumulation_steps")] == [None, 4, 2]


def test_gpu_shows_what_its_tier_changes(preflight):
    ran = preflight("--gpu", "t4", "--plan-only")
    for line in (r"tier t4 +bf16 +false", r"tier t4 +fp16 +true", r"tier t4 +sdpa_varlen +false"):
        assert re.search(line, ran.out)


@pytest.mark.parametrize("value", ["one\ntwo", "a\r\nb: c", "\u2028", {"a": "x\ny"}, ["#", "- \n"]])
def test_a_value_of_several_lines_leaves_a_yaml_that_parses(value):
    """It is shown in a comment at the head, which has to stay one line."""
    changed, _ = with_changes(config(lora_r=16), [Change(key="wandb_name", value=value, layer="--set")])
    assert yaml.safe_load(render(changed, "run\nit")) == dict(changed.values)
