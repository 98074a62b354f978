"""The config against what the small files of the base model say."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from preflight.config.checks.base import check_family, check_name, check_targets, check_tokens
from preflight.config.checks.situation import Situation
from preflight.config.layers import Config
from preflight.config.model_files import ModelFiles, read_model, why_unjudged
from preflight.config.yaml_file import YamlFile
from tests.conftest import CHECKOUT
from tests.support.hub import SMALL

SMOKE = str(CHECKOUT / "sample_data/smoke_base")
MISTRAL = "mistralai/Mistral-7B-v0.1"
LORA = {"adapter": "lora"}
CHATML = ["<|im_start|>", "<|im_end|>"]


def found(check, base_model, **values):
    values = LORA | {"base_model": base_model} | values
    config = Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)
    files = read_model(base_model) if isinstance(base_model, str) else base_model
    situation = Situation(model=files, base_model_here=Path(base_model).is_dir())
    return [(finding.code, finding.level, finding.fix) for finding in check(config, situation)]


def folder(at, config, names=(), index=False):
    """A model's folder with this config.json and tensors of these names, none of which has a value."""
    at.mkdir()
    (at / "config.json").write_text(json.dumps(config))
    if index:
        (at / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, "model-00001.safetensors")}))
    elif names:
        header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in names}).encode()
        (at / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return str(at)


@pytest.mark.parametrize("base", [SMOKE, MISTRAL, "unsloth/mistral-7b-bnb-4bit"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"lora_target_modules": ["q_proj", "v_proj", "gate_prog"]}, [("config.no-such-module", "error", "gate_prog -> gate_proj")]),
        ({"lora_target_modules": ["c_attn", "c_proj"]}, [("config.no-such-module", "error", "")]),
        ({"lora_target_modules": ["q_proj", "c_attn"]}, [("config.no-such-module", "warning", "")]),
        ({"lora_target_modules": "q_proj"}, [("config.no-such-module", "error", "lora_target_modules: [q_proj]")]),
        ({"lora_target_linear": True, "lora_target_modules": ["c_attn"]}, [("config.no-such-module", "warning", "")]),
        ({"lora_target_linear": True, "lora_modules_to_save": ["embed_token"]}, [("config.no-such-module", "error", "embed_token -> embed_tokens")]),
        ({"lora_target_modules": ["q_proj", "self_attn.v_proj", "model.layers.0.mlp.down_proj"]}, []),
        ({"lora_target_modules": "all-linear"}, []),
        ({"lora_target_modules": "model.layers.[\\d]+.self_attn.(q|k)_proj"}, []),
        ({"lora_target_linear": True, "lora_modules_to_save": ["embed_tokens", "lm_head"]}, []),
        ({"lora_target_linear": True}, []),
        ({"adapter": None, "lora_target_modules": ["c_attn"]}, []),
    ],
)
def test_modules_are_those_that_the_model_has(base, values, expected):
    got = found(check_targets, base, **values)
    assert [one[:2] for one in got] == [one[:2] for one in expected]
    assert all(fix in one[2] for one, (*_, fix) in zip(got, expected, strict=True))


@pytest.mark.parametrize("index", [False, True])
def test_the_names_come_from_the_files_of_the_weights(tmp_path, index):
    names = ["transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_attn.bias", "transformer.wte.weight"]
    base = folder(tmp_path / "gpt", {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}, names, index)
    assert found(check_targets, base, lora_target_modules=["c_attn"]) == []
    assert [one[0] for one in found(check_targets, base, lora_target_modules=["q_proj"])] == ["config.no-such-module"]


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": 8},
        {"architectures": ["SomethingForCausalLM"], "model_type": "something"},
        {},
    ],
)
def test_what_can_not_be_told_is_not_judged(tmp_path, config):
    assert found(check_targets, folder(tmp_path / "base", config), lora_target_modules=["w1", "anything"]) == []


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_files_that_hold_something_else_are_none(tmp_path, text):
    for name in ("config.json", "tokenizer.json", "model.safetensors.index.json", "model.safetensors"):
        (tmp_path / name).write_text(text)
    assert read_model(str(tmp_path)) == ModelFiles(name=str(tmp_path))


@pytest.mark.parametrize(
    ("architecture", "named", "codes"),
    [
        ("Qwen2ForCausalLM", "LlamaForCausalLM", ["config.other-family"]),
        ("Qwen2ForCausalLM", "MistralForCausalLM", ["config.other-family"]),
        ("LlamaForCausalLM", "MistralForCausalLM", ["config.other-family"]),
        ("Qwen2ForCausalLM", "Qwen2ForCausalLM", []),
        ("Qwen2ForCausalLM", "Qwen2ForSequenceClassification", []),
        ("GPT2LMHeadModel", "GPT2ForCausalLM", []),
        ("Qwen2ForCausalLM", "AutoModelForCausalLM", []),
        ("Qwen2ForCausalLM", None, []),
    ],
)
def test_a_class_of_another_family_is_an_error(tmp_path, architecture, named, codes):
    base = folder(tmp_path / "base", {"architectures": [architecture]})
    assert [one[0] for one in found(check_family, base, model_type=named)] == codes


@pytest.mark.parametrize("base", [SMOKE, MISTRAL])
@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({"tokens": CHATML}, 1),
        ({"special_tokens": {"eos_token": "<|im_end|>"}}, 1),
        ({"special_tokens": {"additional_special_tokens": CHATML}}, 1),
        ({"tokens": CHATML, "special_tokens": {"eos_token": "<|im_end|>"}}, 2),
        ({"special_tokens": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}}, 0),
        ({"special_tokens": {"pad_token": "[PAD]"}}, 0),
        ({"tokens": CHATML, "lora_modules_to_save": ["embed_tokens", "lm_head"]}, 0),
        ({"tokens": CHATML, "peft_trainable_token_indices": [1024]}, 0),
        ({"tokens": CHATML, "adapter": None}, 0),
        ({"tokens": "<|im_end|>", "special_tokens": "</s>"}, 0),
    ],
)
def test_new_tokens_want_their_embeddings_trained(base, values, keys):
    got = found(check_tokens, base, **values)
    assert [one[:2] for one in got] == [("config.untrained-tokens", "error")] * keys
    assert all("lora_modules_to_save: [embed_tokens, lm_head]" in one[2] for one in got)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("${ORG}/x", "mistralai/Mistral-7B-v0.1"),
        ("{{ model }}", "mistralai/Mistral-7B-v0.1"),
        ("mistralai/Mistral-7B-v0.1 ", "base_model: mistralai/Mistral-7B-v0.1"),
        (" mistralai/Mistral-7B-v0.1", "base_model: mistralai/Mistral-7B-v0.1"),
        ("mistralai/Mistral-7B-v0.1:main", "base_model: mistralai/Mistral-7B-v0.1 and revision_of_model: main"),
        ("mistralai/Mistral 7B", "the path of a folder"),
        ("https://huggingface.co", "mistralai/Mistral-7B-v0.1"),
    ],
)
@pytest.mark.parametrize("plan", [True, False])
def test_what_can_be_no_name_is_an_error_and_never_a_crash(preflight, name, fix, plan):
    ran = preflight("axolotl_configs/smoke.yaml", "--json", "--set", f"base_model={json.dumps(name)}", *(["--plan-only"] if plan else []))
    (one,) = [finding for finding in ran.json["findings"] if finding["code"] == "config.no-base-model"]
    assert ran.code == 1
    assert fix in one["fix"]
    assert not {"internal.crash", "hub.not-found"} & set(ran.codes)


@pytest.mark.parametrize("name", [MISTRAL, "gpt2", "a/b.c-d_e", "Qwen/Qwen2.5-Coder-7B", SMOKE])
def test_names_that_can_be_are_none(name):
    assert found(check_name, name) == []


def test_a_model_that_nothing_is_known_of_is_said_not_to_be_judged(preflight):
    assert "nobody/knows-it is not on this machine" in why_unjudged(read_model("nobody/knows-it"))
    assert {why_unjudged(read_model(name)) for name in (SMOKE, MISTRAL, "")} == {""}
    ran = preflight("axolotl_configs/smoke.yaml", "--plan-only", "--json", "--set", "base_model=nobody/knows-it")
    assert "target modules" in ran.json["validators"]["model_note"]


FETCH = """
import sys
from preflight.config.model_files import fetch_small, read_model

before = read_model(sys.argv[1])
fetch_small(sys.argv[1])
print(before.seen, read_model(sys.argv[1]).architectures)
"""


def test_the_small_files_come_from_the_hub_and_no_others(tmp_path, hub):
    hub.server.fetched.clear()
    env = {key: value for key, value in os.environ.items() if key != "HF_TOKEN"} | {"HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", FETCH, SMALL], cwd=CHECKOUT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "False ('Qwen2ForCausalLM',)\n"
    assert done.stderr == ""
    assert hub.server.fetched == {"config.json", "tokenizer_config.json"}
