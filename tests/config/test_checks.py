from pathlib import Path

import pytest
import yaml

from preflight.config.checks import check_values
from preflight.config.checks.situation import Situation
from preflight.config.layers import Config, with_changes
from preflight.config.tiers import TIERS, read_tier, tier_changes
from preflight.config.yaml_file import YamlFile, read_yaml
from preflight.files import CONFIGS

GOOD = {
    "base_model": "mistralai/Mistral-7B-v0.1",
    "learning_rate": 0.0002,
    "datasets": [{"path": "a.jsonl", "type": "completion", "field": "text", "shards": 1}],
    "save_steps": 500,
}
PACKED = {"sample_packing": True, "attn_implementation": "sdpa", "curriculum_sampling": True}
CHAT = {"path": "a.jsonl", "type": "chat_template", "shards": 1}
GRAPHS = PACKED | {"cuda_graphs": True, "sdpa_varlen": True, "gradient_accumulation_steps": 1}
EIGHT_BITS = {
    "fp8_frozen_weights": True,
    "load_in_4bit": True,
    "adapter": "qlora",
    "lora_mlp_kernel": True,
    "lora_qkv_kernel": True,
    "lora_o_kernel": True,
}
BEST = {"load_best_model_at_end": True, "test_datasets": [{"path": "v.jsonl", "type": "completion"}]}
STOPPING = {"early_stopping_patience": 3, "test_datasets": BEST["test_datasets"], "save_steps": 100, "eval_steps": 50}
T4, A100 = (7, 5), (8, 0)


def codes(values, **situation):
    config = Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)
    return [(finding.code, finding.level) for finding in check_values(config, Situation(**situation))]


def entry(**changes):
    return {"datasets": [GOOD["datasets"][0] | changes]}


ERROR, WARNING = "error", "warning"
WRONG = [
    # what is changed in GOOD, the situation, what must be found
    ({"base_model": None}, {}, ("config.incomplete", ERROR)),
    ({"learning_rate": None}, {}, ("config.incomplete", ERROR)),
    ({"datasets": []}, {}, ("config.incomplete", ERROR)),
    ({}, {"base_model_missing": True}, ("config.no-base-model", ERROR)),
    ({"trust_remote_code": True}, {}, ("config.unsafe-code", ERROR)),
    (entry(trust_remote_code=True), {}, ("config.unsafe-code", ERROR)),
    (entry(type="mine.strategy", field=None), {}, ("config.unsafe-code", ERROR)),
    ({"use_kernels": True}, {}, ("config.fetched-code", WARNING)),
    ({"plugins": ["axolotl.integrations.kernels.KernelsPlugin"]}, {}, ("config.fetched-code", WARNING)),
    ({"do_causal_lm_eval": "yes"}, {}, ("config.fetched-code", WARNING)),
    (entry(type=None), {}, ("config.row-type", ERROR)),
    ({"datasets": [CHAT | {"train_on_eos": "none"}]}, {}, ("config.eos-untrained", ERROR)),
    (entry(type="completions"), {}, ("config.row-type", ERROR)),
    (entry(field_messages="messages"), {}, ("config.row-type", ERROR)),
    ({"datasets": [CHAT | {"field": "text"}]}, {}, ("config.row-type", ERROR)),
    (entry(type="alpaca"), {}, ("config.row-type", ERROR)),
    ({"tokenizer_type": "LlamaTokenizer"}, {}, ("config.trains-to-nan", ERROR)),
    ({"tokenizer_type": "LlamaTokenizer", "attn_implementation": "sdpa"}, {}, ("config.trains-to-nan", ERROR)),
    (PACKED | {"tokenizer_type": "LlamaTokenizer", "eval_sample_packing": False}, {}, ("config.trains-to-nan", ERROR)),
    ({"bf16": True}, {"compute_capability": T4}, ("config.precision-unsupported", ERROR)),
    ({"bf16": "auto"}, {"compute_capability": T4}, ("config.precision-unsupported", ERROR)),
    ({"val_set_size": 0.1, "test_datasets": BEST["test_datasets"]}, {}, ("config.conflict", ERROR)),
    ({"warmup_steps": 10, "warmup_ratio": 0.03}, {}, ("config.conflict", ERROR)),
    ({"saves_per_epoch": 2}, {}, ("config.conflict", ERROR)),
    ({"eval_steps": 5, "evals_per_epoch": 2}, {}, ("config.conflict", ERROR)),
    ({"save_strategy": "epoch"}, {}, ("config.conflict", ERROR)),
    ({"eval_steps": 5, "eval_strategy": "epoch"}, {}, ("config.conflict", ERROR)),
    ({"batch_size": 8, "gradient_accumulation_steps": 2}, {}, ("config.conflict", ERROR)),
    ({"fp16": True, "bf16": True}, {}, ("config.conflict", ERROR)),
    ({"attn_implementation": "sdpa", "flash_attention": True}, {}, ("config.conflict", ERROR)),
    ({"adapter": "qlora"}, {}, ("config.conflict", ERROR)),
    ({"load_in_4bit": True, "load_in_8bit": True}, {}, ("config.conflict", ERROR)),
    ({"sample_packing": True, "curriculum_sampling": True}, {}, ("config.packing-leaks", ERROR)),
    (PACKED | {"attn_implementation": "fp8"}, {}, ("config.packing-leaks", ERROR)),
    (PACKED | {"curriculum_sampling": None}, {}, ("config.steps-vary", WARNING)),
    (PACKED | entry(shards=None), {}, ("config.unshuffled", WARNING)),
    ({"lora_qkv_kernel": True}, {}, ("config.partial-kernels", WARNING)),
    ({"fp8_frozen_weights": True, "lora_mlp_kernel": True}, {}, ("config.fp8-unused", WARNING)),
    (EIGHT_BITS | {"lora_mlp_kernel": False, "lora_qkv_kernel": False, "lora_o_kernel": False}, {}, ("config.fp8-unused", WARNING)),
    (EIGHT_BITS | {"peft_use_dora": True}, {}, ("config.fp8-unused", WARNING)),
    (EIGHT_BITS, {"compute_capability": A100}, ("config.fp8-unused", WARNING)),
    (GRAPHS | {"gradient_accumulation_steps": 2}, {}, ("config.graphs-unused", WARNING)),
    (GRAPHS | {"gradient_checkpointing": True}, {}, ("config.graphs-unused", WARNING)),
    (GRAPHS | {"sample_packing": False}, {}, ("config.graphs-unused", WARNING)),
    (GRAPHS | {"sdpa_varlen": False}, {}, ("config.graphs-unused", WARNING)),
    (GRAPHS | {"attn_implementation": "eager"}, {}, ("config.graphs-unused", WARNING)),
    (GRAPHS | {"attn_implementation": None, "sdpa_varlen": None}, {}, ("config.graphs-unused", WARNING)),
    (GRAPHS | {"deepspeed": "zero2.json"}, {"installed": frozenset({"axolotl", "deepspeed"})}, ("config.graphs-unused", WARNING)),
    ({"attn_implementation": "flash_attention_2"}, {}, ("config.attention-missing", ERROR)),
    ({"attn_implementation": "xformers"}, {"installed": frozenset({"kernels"})}, ("config.attention-missing", ERROR)),
    ({"deepspeed": "zero2.json"}, {"installed": frozenset({"axolotl"})}, ("config.package-missing", ERROR)),
    ({"use_ray": True}, {"installed": frozenset({"axolotl"})}, ("config.package-missing", ERROR)),
    (BEST | {"save_steps": None, "saves_per_epoch": 2, "evals_per_epoch": 3, "num_epochs": 2}, {}, ("config.best-model-mismatch", ERROR)),
    (BEST | {"save_steps": None, "saves_per_epoch": 1, "evals_per_epoch": 1, "num_epochs": 1}, {}, ("config.best-model-mismatch", ERROR)),
    ({"save_steps": None, "save_strategy": "no"}, {}, ("config.saves-never", WARNING)),
    ({"save_total_limit": 1}, {}, ("config.one-checkpoint", WARNING)),
    ({"load_best_model_at_end": True}, {}, ("config.best-model-mismatch", ERROR)),
    (BEST, {}, ("config.best-model-mismatch", ERROR)),
    (STOPPING | {"early_stopping_patience": -1}, {}, ("config.early-stopping", ERROR)),
    (STOPPING | {"test_datasets": None}, {}, ("config.early-stopping", ERROR)),
    (STOPPING | {"eval_steps": 150}, {}, ("config.early-stopping", ERROR)),
    (STOPPING | {"save_steps": None}, {}, ("config.early-stopping", ERROR)),
    (STOPPING | {"metric_for_best_model": "accuracy"}, {}, ("config.early-stopping", ERROR)),
    (STOPPING | {"greater_is_better": True}, {}, ("config.early-stopping", ERROR)),
    (BEST | {"eval_steps": 300}, {}, ("config.best-model-mismatch", ERROR)),
    ({"learning_rate": "2e-1"}, {}, ("config.learning-rate", WARNING)),
]
RIGHT = [
    ({}, {"compute_capability": A100}),
    (PACKED, {}),
    ({"datasets": [CHAT | {"field_messages": "messages", "roles_to_train": ["assistant"]}]}, {}),
    (entry(type="user_defined", field=None), {}),
    ({"rl": "dpo", "datasets": [{"path": "a", "type": "chatml.intel"}]}, {}),
    (PACKED | {"tokenizer_type": "LlamaTokenizer"}, {}),
    ({"tokenizer_type": "LlamaTokenizer", "attn_implementation": "eager"}, {}),
    ({"bf16": True}, {"compute_capability": A100}),
    ({"bf16": True}, {}),
    ({"bf16": False, "fp16": True}, {"compute_capability": T4}),
    (BEST | {"eval_steps": 250, "val_set_size": 0}, {}),
    ({"attn_implementation": "flash_attention_2"}, {"installed": frozenset({"flash-attn"})}),
    (PACKED | {"attn_implementation": None, "flash_attention": True}, {"installed": frozenset({"flash-attn"})}),
    ({"lora_qkv_kernel": False}, {}),
    (EIGHT_BITS, {"compute_capability": (8, 9)}),
    (GRAPHS, {}),
    (GRAPHS | {"sdpa_varlen": None}, {}),  # Axolotl turns it on by itself
    (GRAPHS | {"sdpa_varlen": None, "attn_implementation": None, "sdp_attention": True}, {}),
    (GRAPHS | {"sdpa_varlen": None, "attn_implementation": "flash_attention_2"}, {"installed": frozenset({"axolotl", "flash-attn"})}),  # no mask
    ({"lora_mlp_kernel": True, "lora_qkv_kernel": True, "lora_o_kernel": True}, {}),
    ({"warmup_ratio": 0.03, "save_strategy": "steps"}, {}),
    ({"base_model": None}, {"reported": frozenset({"base_model"})}),
]


def test_the_good_one_is_good():
    assert codes(GOOD) == []


@pytest.mark.parametrize(("changes", "situation", "found"), WRONG, ids=lambda value: value[0] if isinstance(value, tuple) else None)
def test_wrong(changes, situation, found):
    assert found in codes(GOOD | changes, **situation)


@pytest.mark.parametrize(("changes", "situation"), RIGHT)
def test_right(changes, situation):
    assert codes(GOOD | changes, **situation) == []


@pytest.mark.parametrize("tier", [tier.name for tier in TIERS])
@pytest.mark.parametrize("name", ["mistral_qlora", "mistral_qlora_chat", "mistral_qlora_instruct", "mistral_qlora_padded", "smoke"])
def test_the_shipped_configs_make_sense_on_every_gpu(name, tier):
    file, _ = read_yaml(CONFIGS / f"{name}.yaml")
    layer, _ = read_tier(tier)
    config = Config(file=file, values=file.values)
    config, _ = with_changes(config, tier_changes(config, layer, ()))
    capability = next(one.compute_capability for one in TIERS if one.name == tier)
    assert check_values(config, Situation(compute_capability=capability)) == []


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        ({}, [("config.attention-missing", ERROR)]),
        ({"installed": frozenset({"kernels"})}, [("config.fetched-code", WARNING)]),
        ({"installed": frozenset({"kernels"}), "compute_capability": T4}, [("config.attention-missing", ERROR)]),
        ({"installed": frozenset({"flash-attn"}), "compute_capability": A100}, []),
    ],
)
def test_both_spellings_of_an_attention_are_judged_alike(situation, expected):
    for spelling in ({"flash_attention": True}, {"attn_implementation": "flash_attention_2"}):
        assert codes(GOOD | spelling | {"sample_packing": True, "curriculum_sampling": True}, **situation) == expected


@pytest.mark.parametrize(
    "often",
    [
        {"save_steps": None, "saves_per_epoch": 1, "evals_per_epoch": 2, "num_epochs": 3},
        {"save_steps": None, "saves_per_epoch": 2, "evals_per_epoch": 2},
        {"save_steps": 0.1, "eval_steps": 0.05},
        {"save_steps": 100, "eval_steps": 50},
    ],
)
def test_how_often_is_said_in_steps_shares_or_times_an_epoch(often):
    assert codes(GOOD | BEST | often) == []


def test_what_is_called_a_conflict_is_refused_by_axolotl_itself(axolotl):
    """Those that Axolotl's own validation judges; the others are transformers' or show in the numbers."""
    base = {"base_model": "x", "datasets": [{"path": "x", "type": "completion"}], "learning_rate": 1, "micro_batch_size": 1, "save_steps": 500}
    refused = 0
    for changes, _, (code, _) in WRONG:
        if code == "config.conflict" and not {"load_in_8bit", "fp16"} & changes.keys():
            assert axolotl.ask("validate", values=base | changes)["error"], changes
            refused += 1
    assert refused == 9
    assert axolotl.ask("validate", values=base)["error"] == ""


def test_every_finding_says_how_to_mend_it():
    for changes, situation, _ in WRONG:
        values = GOOD | changes
        config = Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)
        for finding in check_values(config, Situation(**situation)):
            assert finding.fix
            assert finding.where.startswith("x.yaml $.")


def test_unsafe_tags_are_found_before_anything_is_built(tmp_path):
    (tmp_path / "a.yaml").write_text("base_model: !!python/object/apply:os.system [touch pwned]\n")
    _, findings = read_yaml(tmp_path / "a.yaml")
    assert [finding.code for finding in findings] == ["config.unsafe-code"]
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load((tmp_path / "a.yaml").read_text())


@pytest.mark.parametrize("more", [{}, {"metric_for_best_model": "loss"}, {"eval_steps": 100}, {"early_stopping_patience": None, "eval_steps": 150}])
def test_a_patience_that_is_set_up_right(more):
    assert "config.early-stopping" not in [code for code, _ in codes(GOOD | STOPPING | more)]
