"""What a step takes, of any kind that can be told, and that no tier makes it worse."""

import itertools
from pathlib import Path

import pytest

from preflight.config.base_model import MISTRAL_7B, ModelShape, find_shape
from preflight.config.layers import Change, Config, with_changes
from preflight.config.memory import NEARLY, check_memory, estimate, memory_gib, named_gib, why_unjudged
from preflight.config.tiers import TIERS, Room, check_left, read_tier, tier_changes
from preflight.config.values import step_size
from preflight.config.yaml_file import YamlFile
from tests.conftest import CHECKOUT

QLORA = {
    "base_model": "mistralai/Mistral-7B-v0.1",
    "adapter": "qlora",
    "load_in_4bit": True,
    "lora_r": 16,
    "lora_target_linear": True,
    "sequence_len": 2048,
    "micro_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "optimizer": "adamw_torch",
    "bf16": "auto",
}
LORA = QLORA | {"adapter": "lora", "load_in_4bit": False}
WHOLE = {key: value for key, value in QLORA.items() if not key.startswith(("adapter", "lo"))}
SAVED = {"gradient_checkpointing": True}
EIGHT = {"optimizer": "adamw_bnb_8bit"}
LLAMA_8B = ModelShape(layers=32, hidden=4096, intermediate=14336, key_value=1024, vocabulary=128_256)
QWEN_05B = ModelShape(layers=24, hidden=896, intermediate=4864, key_value=128, vocabulary=151_936, tied=True)


def config(values):
    return Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)


def test_16_bits_take_what_was_measured():
    assert memory_gib(LORA, MISTRAL_7B) == pytest.approx(53.4 + 0.6, rel=0.03)  # docs/benchmarks.md, and CUDA's own


@pytest.mark.parametrize(
    ("less", "more", "shape", "by"),
    [
        # each kind against the nearest one, and the GiB between them: bytes that can be counted
        (QLORA, QLORA | {"lora_r": 256}, MISTRAL_7B, 15 * 41.9e6 * 16 / 2**30),
        (QLORA | {"lora_target_linear": False, "lora_target_modules": ["q_proj", "v_proj"]}, QLORA, MISTRAL_7B, 0.52),
        (QLORA, QLORA | {"lora_modules_to_save": ["embed_tokens", "lm_head"]}, MISTRAL_7B, 2 * 131e6 * 16 / 2**30),
        (QLORA | EIGHT, QLORA, MISTRAL_7B, 41.9e6 * 6 / 2**30),
        (QLORA, LORA | {"load_in_8bit": True}, MISTRAL_7B, 6.98e9 * 0.484 / 2**30),
        (LORA | {"load_in_8bit": True}, LORA, MISTRAL_7B, 6.98e9 / 2**30),
        (WHOLE | EIGHT | SAVED, WHOLE | SAVED, MISTRAL_7B, 7.24e9 * 2 / 2**30),
        (WHOLE | SAVED, WHOLE | SAVED | {"bf16": False}, MISTRAL_7B, 7.24e9 * 8 / 2**30),
    ],
)
def test_what_differs_between_two_kinds_of_step(less, more, shape, by):
    assert memory_gib(more, shape) - memory_gib(less, shape) == pytest.approx(by, abs=0.15)


def test_a_large_vocabulary_counts_unless_its_loss_is_fused():
    fused = QLORA | {"liger_fused_linear_cross_entropy": True}
    assert memory_gib(QLORA, LLAMA_8B) > memory_gib(fused, LLAMA_8B) + 5 > memory_gib(fused, MISTRAL_7B) + 5
    assert memory_gib(QLORA | {"plugins": ["axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"]}, LLAMA_8B) == memory_gib(fused, LLAMA_8B)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, None),
        ({"rl": "dpo"}, MISTRAL_7B),
        ({"reward_model": True}, MISTRAL_7B),
        ({"deepspeed": "deepspeed_configs/zero3.json"}, MISTRAL_7B),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, MISTRAL_7B),
        ({"fsdp_config": {"offload_params": True}}, MISTRAL_7B),
        ({"tensor_parallel_size": 2}, MISTRAL_7B),
        ({"unfrozen_parameters": ["lm_head"]}, MISTRAL_7B),
    ],
)
def test_what_can_not_be_told_is_said_not_to_be(changes, shape):
    assert memory_gib(QLORA | changes, shape) is None
    assert why_unjudged(QLORA | changes, shape)
    assert why_unjudged(QLORA, MISTRAL_7B) == ""


def test_a_mixture_of_experts_has_no_shape(tmp_path):
    shape = '{"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16%s}'
    for more, known in (("", True), (', "num_local_experts": 8', False), (', "n_routed_experts": 64', False)):
        (tmp_path / "config.json").write_text(shape % more)
        assert (find_shape(str(tmp_path)) is not None) == known


@pytest.mark.parametrize(
    ("values", "shape", "card", "level"),
    [
        (WHOLE | SAVED, MISTRAL_7B, 15, "error"),  # 7B trained whole on a T4
        (WHOLE | SAVED, MISTRAL_7B, 40, "error"),
        (WHOLE | SAVED, MISTRAL_7B, 80, ""),
        (WHOLE | SAVED, QWEN_05B, 40, ""),
        (LORA, MISTRAL_7B, 40, "error"),
        (LORA | SAVED, MISTRAL_7B, 40, ""),
        (LORA | SAVED, MISTRAL_7B, 15, "error"),
        (LORA, MISTRAL_7B, 52, "warning"),  # an estimate that was not measured is not sure enough to stop
        (QLORA | SAVED, MISTRAL_7B, 15, ""),
        (QLORA | {"base_model": "meta-llama/Llama-3.1-70B"}, None, 15, "error"),
        (QLORA | {"base_model": "meta-llama/Llama-3.1-70B"}, None, 80, ""),
        (LORA | {"base_model": "meta-llama/Llama-3.1-70B"}, None, 80, "error"),
        (QLORA | {"base_model": "Qwen/Qwen3-30B-A3B"}, None, 15, ""),
        (QLORA | {"base_model": "someone/a-model"}, None, 15, ""),
    ],
)
def test_a_step_is_refused_only_where_it_surely_does_not_fit(values, shape, card, level):
    assert [finding.level for finding in check_memory(config(values), shape, card)] == ([level] if level else [])


def test_names_that_hold_no_size():
    for name in ("unsloth/mistral-bnb-4bit", "gpt2", "", "a/tinyb"):
        assert named_gib({"base_model": name, "bf16": True}) is None


def applied(values, tier, shape, overrides=()):
    layer, _ = read_tier(tier.name)
    room, before = Room(shape=shape, memory_gib=tier.memory_gib), config(values)
    after, _ = with_changes(before, tier_changes(before, layer, overrides, room))
    after, _ = with_changes(after, overrides)
    return after.values, check_left(before, layer, overrides, room)


KINDS = [QLORA, LORA, LORA | {"load_in_8bit": True, "load_in_4bit": False}, WHOLE, QLORA | {"lora_r": 256}, QLORA | {"sequence_len": 8192}]


@pytest.mark.parametrize("tier", TIERS, ids=[tier.name for tier in TIERS])
@pytest.mark.parametrize("shape", [MISTRAL_7B, LLAMA_8B, QWEN_05B, None])
def test_no_tier_makes_what_fits_not_fit(tier, shape):
    for kind, micro, saved in itertools.product(KINDS, (1, 2, 8), (True, False, None)):
        own = kind | {"micro_batch_size": micro, "gradient_accumulation_steps": 8 // micro, "gradient_checkpointing": saved}
        values, _ = applied(own, tier, shape)
        assert step_size(values) == 8
        before, after = estimate(own, shape), estimate(values, shape)
        if before is None:
            assert values["micro_batch_size"] <= micro
            assert values["gradient_checkpointing"] or not saved
        elif before.gib <= NEARLY * tier.memory_gib:
            assert after.gib <= NEARLY * tier.memory_gib, own
        if before and not after.fits(tier.memory_gib):
            assert (values["micro_batch_size"], values["gradient_checkpointing"]) == (micro, saved), "left as it was written"


@pytest.mark.parametrize("name", ["mistral_qlora", "mistral_qlora_chat", "mistral_qlora_padded"])
def test_nothing_of_a_tier_is_left_out_of_the_shipped_configs(preflight, name):
    for tier in TIERS:
        if tier.compute_capability >= (7, 5):
            ran = preflight(CHECKOUT / f"axolotl_configs/{name}.yaml", "--gpu", tier.name, "--json")
            assert not {"config.tier-left", "gpu.memory"} & set(ran.codes), tier.name


def test_what_is_left_out_is_said_with_its_reason():
    tier = next(tier for tier in TIERS if tier.name == "a100-40gb")
    values, (finding,) = applied(LORA | SAVED | {"micro_batch_size": 1, "sequence_len": 8192}, tier, MISTRAL_7B)
    assert (values["micro_batch_size"], values["gradient_checkpointing"]) == (2, True)
    assert finding.level == "info"
    assert "gradient_checkpointing: false was left out, since a step would take about" in finding.message
    assert "it is gradient_checkpointing: true" in finding.message
    values, (finding,) = applied(LORA | SAVED | {"micro_batch_size": 1}, tier, None)
    assert (values["micro_batch_size"], values["gradient_checkpointing"]) == (1, True)
    assert "is not judged here" in finding.message


def test_what_is_set_by_hand_is_taken_whatever_fits():
    tier = next(tier for tier in TIERS if tier.name == "a100-40gb")
    chosen = [Change(key="gradient_checkpointing", value=False, layer="--set"), Change(key="micro_batch_size", value=4, layer="--set")]
    values, _ = applied(LORA | SAVED | {"gradient_checkpointing": False}, tier, MISTRAL_7B, chosen)
    assert (values["micro_batch_size"], values["gradient_checkpointing"]) == (4, False)
