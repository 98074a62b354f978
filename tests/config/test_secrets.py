"""A secret in a config is found, and its value is in nothing that the kit shows or writes."""

import json
import re

import pytest
import yaml

from preflight.checkpoints import manifest
from preflight.checkpoints.identity import run_fingerprint
from preflight.config.layers import UsageError, parse_override
from preflight.config.schema import read_schema
from preflight.config.secrets import PLAIN, check_secrets, masked, masked_text, without_secrets
from preflight.config.settings import read_settings
from preflight.config.yaml_file import read_yaml
from preflight.files import CONFIGS
from tests.conftest import CHECKOUT, tree

VALUE = "q1W2e3R4t5Y6u7I8o9P0a1S2d3"
HUB = "hf_" + VALUE
SECRETS = [
    # key, value, the variable to use
    ("comet_api_key", VALUE, "COMET_API_KEY"),
    ("comet_api_key", "short", "COMET_API_KEY"),
    ("swanlab_api_key", VALUE, "SWANLAB_API_KEY"),
    ("swanlab_lark_secret", "word", ""),
    ("wandb_api_key", VALUE, "WANDB_API_KEY"),
    ("hub_token", "anything", "HF_TOKEN"),
    ("wandb_name", HUB, "HF_TOKEN"),  # under a key that says nothing
    ("pad_token", HUB + "0123456789", "HF_TOKEN"),
    ("hatchery.api_key", "tml-x", "TINKER_API_KEY"),
    ("overrides_of_model_kwargs.token", "anything", "HF_TOKEN"),
    ("overrides_of_model_kwargs.apiKey", 12345678, ""),
    ("comet_experiment_config.DB_PASSWORD", "x y", "COMET_API_KEY"),
    ("some_service_key", VALUE, ""),
    ("datasets.0.path", f"https://someone:{VALUE}@example.com/rows.jsonl", ""),
    ("datasets.0.path", f"https://{VALUE}@example.com/rows.jsonl", ""),
    ("mlflow_tracking_uri", f"https://x.org/?token={VALUE}", ""),
    ("datasets.0.path", f"s3://bucket/x?X-Amz-Signature={VALUE}", ""),
    ("default_system_message", f"use ghp_{VALUE} to log in", ""),
]
NONE = [
    {"comet_api_key": None, "wandb_api_key": "", "hub_token": False},
    {"special_tokens": {"pad_token": "</s>", "eos_token": "<|im_end|>", "image_token": "<image>", "secret_token": "[SECRET]"}},
    {"hf_use_auth_token": True, "comet_experiment_key": VALUE, "hub_model_id": "me/model", "wandb_run_id": VALUE.lower()},
    {"hf_use_auth_token": "true"},
    {"tokens": ["<a>", "<b>"], "eot_tokens": ["[/INST]"], "added_tokens_overrides": {32000: "<key>"}},
    {"datasets": [{"path": "a/b", "field": "password", "message_property_mappings": {"secret": "secret_column", "api_key": "key"}}]},
    {"datasets": [{"path": "https://example.com:8443/a@b.jsonl", "template_thinking_key": "reasoning", "revision": "4" * 20 + "ab" * 10}]},
    {"revision_of_model": "7231864981174d9bee8c7687c24c8344414eae6b", "lisa_layers_attribute": "model.layers"},
    {"adapter_key": "mistral-7b-lora-adapter-v2", "mlflow_tracking_uri": "http://localhost:5000", "max_new_tokens": 512},
    {"base_model": "/content/hf_models/mistral", "output_dir": "/content/drive/MyDrive/sk-learn-classifier-run-2"},
    {"overrides_of_model_kwargs": {"token": True}, "resources_per_worker": {"GPU": 1}},
]


def nested(key, value):
    for part in reversed(key.split(".")):
        value = [value] if part == "0" else {part: value}
    return value


def where(key):
    return f"x.yaml $.{key}"


@pytest.mark.parametrize(("key", "value", "variable"), SECRETS, ids=lambda value: str(value)[:30])
def test_a_secret_is_found_and_is_in_no_finding(key, value, variable):
    values = nested(key, value)
    (finding,) = check_secrets(values, where)
    assert (finding.code, finding.level, finding.where) == ("config.secret", "error", f"x.yaml $.{key}")
    assert variable in finding.fix
    for shown in (str(finding), json.dumps(masked(values)), json.dumps(without_secrets(values))):
        assert VALUE not in shown
        assert str(value) not in shown
    assert check_secrets(masked(values), where) == []


@pytest.mark.parametrize("values", NONE, ids=str)
def test_what_only_sounds_like_one_is_left_alone(values):
    assert check_secrets(values, where) == []
    assert masked(values) == values == without_secrets(values)


@pytest.mark.parametrize(
    "path", [*sorted(CONFIGS.rglob("*.yaml")), *sorted((CHECKOUT / "tests/examples").rglob("*.y*ml"))], ids=lambda path: path.name
)
def test_configs_of_other_people_hold_none(path):
    if (file := read_yaml(path)[0]) is not None:
        assert [finding.where for finding in check_secrets(file.values, where)] == []


def test_every_key_of_axolotl_that_sounds_like_a_secret_has_been_judged():
    schema = read_schema()
    names = {key for held in (schema, *schema["$defs"].values()) for key in held.get("properties", {})}
    sounding = {name for name in names if re.search(r"(key|token|secret|password|webhook_url)$", name)}
    found = {name for name in sounding if check_secrets({name: "x"}, where)}
    assert found == {"comet_api_key", "swanlab_api_key", "swanlab_lark_secret", "swanlab_lark_webhook_url", "api_key"}
    assert sounding - found <= PLAIN | {"comet_experiment_key"}


@pytest.mark.parametrize("way", ["yaml", "set", "nested"])
def test_its_value_is_in_no_output_and_in_no_file(preflight, tmp_path, way):
    values = yaml.safe_load((CONFIGS / "smoke.yaml").read_text())
    lines = {"comet_api_key": VALUE, "hub_token": HUB, "warmup_steps": f"https://me:{VALUE}@x.org"} if way == "yaml" else {}
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump(values | lines))
    sets = {"set": ("--set", f"comet_api_key={VALUE}"), "nested": ("--set", f"overrides_of_model_kwargs={{token: {VALUE}}}")}.get(way, ())
    for options in (("--json",), (), ("--plan-only",), ("--report", tmp_path / "workspace/report.json")):
        ran = preflight(config, *sets, *options)
        assert ran.code == 1
        assert "config.secret" in ran.out
        assert VALUE not in ran.out + ran.err
    assert all(VALUE.encode() not in content for content in tree(tmp_path / "workspace").values())


def test_a_command_line_that_is_wrong_does_not_repeat_it():
    for text in (f"comet_api_key=[{VALUE}", f"{HUB}0123456789", f"x.password={{{VALUE}"):
        with pytest.raises(UsageError) as error:
            parse_override(text)
        assert VALUE not in str(error.value)
    assert masked_text(f"https://me:{VALUE}@x.org/a.zip?sig={VALUE}&b=1") == "https://***@x.org/a.zip?sig=***&b=1"
    assert masked_text("learning_rate=0.1") == "learning_rate=0.1"


def test_colab_setup_may_not_hold_one(tmp_path):
    path = tmp_path / "colab_setup.yaml"
    path.write_text((CONFIGS / "colab_setup.yaml").read_text() + f"hub_token: {HUB}\n")
    settings, findings = read_settings(path)
    assert settings is None
    assert "config.secret" in [finding.code for finding in findings]
    assert HUB not in str(findings)


def test_a_new_secret_is_no_other_experiment(tmp_path):
    """Also for what earlier versions of the kit wrote, with the secret in it."""
    before = {
        "base_model": "x",
        "comet_api_key": VALUE,
        "mlflow_tracking_uri": f"https://me:{VALUE}@x.org",
        "hatchery": {"api_key": VALUE, "lora": 1},
    }
    after = {"base_model": "x", "mlflow_tracking_uri": "https://x.org", "hatchery": {"lora": 1}}
    assert run_fingerprint(before) == run_fingerprint(after)
    old = {"step": 1, "max_steps": 1, "files": {}, "experiment": before}
    (tmp_path / manifest.NAME).write_text(json.dumps(old))
    assert manifest.read(tmp_path).experiment == after
