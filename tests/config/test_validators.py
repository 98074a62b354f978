"""Axolotl's own validators: what preflight says of a config that only they refuse. Their start is asked for once here."""

import json
from pathlib import Path

import pytest
import yaml

from preflight.config.layers import Config
from preflight.config.tiers import TIERS
from preflight.config.validators import judge, refusal
from preflight.config.yaml_file import YamlFile
from preflight.findings import Diagnostics, Finding, to_plain
from preflight.machine.environment import Environment, inspect_environment
from preflight.machine.gpu import GpuReading
from preflight.machine.host import Host
from preflight.machine.stage import Machine
from preflight.machine.workspace import find_workspace
from preflight.pipeline import preflight as preflight_of
from preflight.request import Request
from tests.conftest import CHECKOUT

# those whose plugins would be imported for several seconds are left out
EXAMPLES = [path for path in sorted((CHECKOUT / "tests/examples/axolotl").glob("*.y*ml")) if "plugins:" not in path.read_text()]
GOOD = {
    "base_model": "mistralai/Mistral-7B-v0.1",
    "adapter": "qlora",
    "load_in_4bit": True,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_target_linear": True,
    "sequence_len": 1024,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "num_epochs": 3,
    "optimizer": "adamw_torch",
    "learning_rate": 0.0002,
    "attn_implementation": "sdpa",
    "bf16": "auto",
    "datasets": [{"path": "rows.jsonl", "type": "completion"}],
    "save_steps": 10,
}
HELD_OUT = {"test_datasets": [{"path": "val.jsonl", "type": "completion", "split": "train"}]}
KERNELS = {"lora_mlp_kernel": True, "lora_qkv_kernel": True, "lora_o_kernel": True}
REFUSED = [
    # what is changed in GOOD, the key whose line is named, a part of what is said, a part of how to mend it
    ({"adapter": None}, "load_in_4bit", "without setting an adapter", "load_in_4bit: true"),
    ({"adapter": "dora"}, "adapter", "'dora' is not built in", "now adapter: dora"),
    (HELD_OUT | {"early_stopping_patience": 3}, "early_stopping_patience", "requires save_steps and eval_steps", "eval_steps is not set"),
    ({"eval_steps": 10, "val_set_size": 0}, "eval_steps", "not supported with val_set_size == 0", "eval_steps: 10"),
    ({"chat_template": "jinja"}, "chat_template", "chat_template_jinja is required", "chat_template_jinja is not set"),
    ({"rl": "dpo", "sample_packing": True}, "sample_packing", "does not work with RLHF", "sample_packing: true"),
    ({"rl": "kto"}, "remove_unused_columns", "when using kto", "remove_unused_columns is not set"),
    ({"adapter": "lora", "load_in_4bit": False, "load_in_8bit": True} | KERNELS, "lora_mlp_kernel", "8-bit LoRA", "lora_mlp_kernel: true"),
    ({"val_set_size": 0.5, "sample_packing": True, "eval_table_size": 5}, "eval_table_size", "eval_table_size", "sample_packing: true"),
    ({"attn_implementation": "telepathy"}, "attn_implementation", "telepathy", ""),
    ({"dataset_prepared_path": ["here"]}, "dataset_prepared_path", "dataset_prepared_path: Input should be a valid string", ""),
]


def config(path="x.yaml", **values):
    return Config(file=YamlFile(path=Path(path), values=values), values=values)


@pytest.mark.parametrize(("changes", "key", "says", "fix"), REFUSED)
def test_a_refusal_names_the_key_what_is_wrong_and_how_the_keys_are_set(axolotl, changes, key, says, fix):
    refused = axolotl.ask("judge", values=GOOD | changes)
    (finding,) = [refusal(config(**GOOD | changes), one["key"], one["message"]) for one in refused]
    assert (finding.code, finding.level) == ("config.refused", "error")
    assert finding.where.endswith(f"$.{key}")
    assert says in finding.message
    assert "Value error" not in finding.message
    assert fix in finding.fix


@pytest.mark.parametrize(
    "changes",
    [{}, HELD_OUT | {"early_stopping_patience": 3, "eval_steps": 10}, {"rl": "kto", "remove_unused_columns": False}, {"adapter": "lora"}],
)
def test_what_axolotl_takes_is_not_refused(axolotl, changes):
    assert axolotl.ask("judge", values=GOOD | changes) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_what_the_kit_adds_is_never_what_axolotl_refuses(axolotl, tmp_path, path):
    """Axolotl's own examples, with the settings of a GPU on top: refused, if at all, for what they say themselves."""
    tier = next(tier for tier in TIERS if tier.name == "a100-40gb")
    report = preflight_of(Request(config=path, tier=tier, workspace=tmp_path, plan_only=True))
    codes = {finding.code for finding in report.findings if finding.level == "error"}
    assert "internal.crash" not in codes
    if any(code.startswith("config.") for code in codes):
        assert "errors of the config" in report.recipe.verdict.note  # nobody is asked
        return
    resolved = json.loads(json.dumps(to_plain(dict(report.recipe.config.values))))
    refused = axolotl.ask("judge", values=resolved)
    if refused:
        assert refused == axolotl.ask("judge", values=yaml.safe_load(path.read_text()))


def test_they_are_started_once_and_their_verdict_is_kept(preflight, tmp_path):
    path = tmp_path / "stops.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"device": "cpu", "eval_steps": 10, "val_set_size": 0}))
    before = preflight(path, "--json", "--plan-only")
    assert (before.json["validators"]["judged_by"], "config.refused" in before.codes) == ("schema", False)
    assert "run with preflight without --plan-only" in before.json["validators"]["note"]
    asked = preflight(path, "--json", "--validators", "auto")
    assert asked.json["validators"] == {"judged_by": "axolotl", "note": "", "model_note": ""}
    (kept,) = json.loads((tmp_path / "workspace/verdicts.json").read_text()).values()
    for arguments in (["--json"], ["--json", "--plan-only"]):  # neither may ask: both know
        again = preflight(path, *arguments)
        assert again.json["validators"]["judged_by"] == "axolotl"
        assert [finding for finding in again.json["findings"] if finding["code"] == "config.refused"] == [
            finding for finding in asked.json["findings"] if finding["code"] == "config.refused"
        ]
    assert again.codes.count("config.refused") == len(kept["refused"]) == 1
    other = preflight(path, "--json", "--plan-only", "--set", "eval_steps=20")
    assert other.json["validators"]["judged_by"] == "schema", "the verdict on other values"
    assert "judged by Axolotl's own validators" in preflight(path, "--plan-only").out


@pytest.fixture
def machine(tmp_path):
    """A machine whose training environment has this script for its Python."""

    def with_python(script, version="0.19.0"):
        folder = tmp_path / "venv/bin"
        folder.mkdir(parents=True)
        (folder / "python").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "python").chmod(0o755)
        environment = Environment(accelerate=folder / "accelerate", axolotl=version)
        return Machine(workspace=find_workspace(tmp_path / "ws"), gpus=GpuReading(), environment=environment, host=Host())

    return with_python


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'ImportError: libcudart.so.13' >&2; exit 1", "libcudart.so.13"),
        ("exit 7", "ended with 7"),
        ("kill -9 $$", "ended with -9"),
        ("echo '[1]'", "ended with 0"),
        ("""echo '{"refused": [], "failed": "ModuleNotFoundError: no liger_kernel"}'""", "no liger_kernel"),
    ],
)
def test_where_they_fail_for_another_reason_nothing_is_refused(machine, tmp_path, script, why):
    seen = []
    verdict, (finding,) = judge(config(**GOOD), machine(script), "auto", Diagnostics(), lambda *shown: seen.append(shown))
    assert (verdict.judged_by, finding.code, finding.level) == ("schema", "config.not-validated", "warning")
    assert why in verdict.note
    assert why in finding.message
    assert seen
    assert not (tmp_path / "ws/verdicts.json").exists(), "a failure may pass"


@pytest.mark.parametrize("code", ["config.unsafe-code", "config.bad-value"])
def test_a_config_with_errors_is_not_given_to_them(machine, code):
    diagnostics = Diagnostics()
    diagnostics.add(Finding(code=code, level="error", message="m"))
    verdict, found = judge(config(**GOOD), machine("exit 1"), "always", diagnostics, lambda *_: pytest.fail("asked"))
    assert (verdict.judged_by, found) == ("schema", [])
    assert "once the errors" in verdict.note


def test_before_the_installation_the_schema_judges(machine):
    verdict, found = judge(config(**GOOD), machine("exit 1", version=""), "always", Diagnostics(), lambda *_: pytest.fail("asked"))
    assert (verdict.judged_by, found) == ("schema", [])
    assert "not installed" in verdict.note
    assert inspect_environment().axolotl, "it is, where the tests run"
