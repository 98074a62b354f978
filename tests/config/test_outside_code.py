"""Code from elsewhere is found wherever a config can name it, and what comes with Axolotl is left alone."""

import ast
import importlib.util
import tempfile
from pathlib import Path

import pytest

from preflight.config.checks import check_values
from preflight.config.checks.data_sets import ROW_TYPES
from preflight.config.checks.outside_code import INTEGRATIONS, OWN_PLUGINS, PREFERENCE_TYPES, imports_outside
from preflight.config.checks.situation import Situation
from preflight.config.layers import Config
from preflight.config.yaml_file import YamlFile
from tests.config.test_checks import GOOD

AXOLOTL = Path(importlib.util.find_spec("axolotl").submodule_search_locations[0])
LIGER = "axolotl.integrations.liger.LigerPlugin"


def unsafe(changes):
    values = GOOD | changes
    config = Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)
    return [finding for finding in check_values(config, Situation()) if finding.code == "config.unsafe-code"]


OUTSIDE = [
    {"plugins": ["some_module.Plugin"]},
    {"plugins": [LIGER, "liger.LigerPlugin"]},  # the top-level module liger is tried first
    {"plugins": ["axolotl.integrations.liger.os.system"]},
    {"plugins": ["axolotl.integrations.nemo_gym.NemoGymPlugin"]},
    {"plugins": ["axolotl.integrations.lm_eval.LMEvalPlugin"], "lm_eval_tasks": ["hellaswag", "/tmp/task.yaml"]},
    {"plugins": ["axolotl.integrations.lm_eval.LMEvalPlugin"], "lm_eval_model": "x,trust_remote_code=True"},
    {"trust_remote_code": "yes"},
    {"overrides_of_model_kwargs": {"trust_remote_code": True}},
    {"overrides_of_model_kwargs": {"trust_remote_code": "false"}},  # a text, which transformers takes for true
    {"overrides_of_model_kwargs": {"adapter_kwargs": {"trust_remote_code": 1}}},
    {"overrides_of_model_kwargs": {"weights_only": False}},
    {"overrides_of_model_kwargs": {"allow_all_kernels": True}},
    {"overrides_of_model_kwargs": {"kernel_config": {"RMSNorm": "someone/kernel:Norm"}}},
    {"overrides_of_model_kwargs": {"attn_implementation": "someone/kernel"}},
    {"overrides_of_model_kwargs": {"anything_new": "x"}},
    {"overrides_of_model_config": {"auto_map": {"AutoConfig": "someone/model--config.Config"}}},
    {"overrides_of_model_config": {"text_config": {"_attn_implementation": "paged|someone/kernel"}}},
    {"attn_implementation": "someone/kernel@main:attention"},
    {"model_kwargs": {"trust_remote_code": True}},
    {"processor_kwargs": {"trust_remote_code": True}},
    {"pretraining_dataset": [{"path": "x", "trust_remote_code": True}]},
    {"pretraining_dataset": [{"path": "x", "type": "mine.strategy"}]},
    {"test_datasets": [{"path": "x", "type": "mine.strategy"}]},
    {"datasets": [{"path": "x", "type": "preflight.cli.ask"}]},  # of the kit's own modules one is meant for it
    {"trl": {"reward_funcs": ["rewards.length"]}},
    {"trl": {"rollout_func": "mine.rollout"}},
    {"hatchery": {"reward_funcs": ["org/reward-model", "rewards.length"]}},
    {"vllm": {"serve_module": "mine"}},
    {"vllm": {"worker_extension_cls": "mine.Worker"}},
    {"trainer_cls": "mine.Trainer"},
    {"torchdistx_path": "/tmp/torchdistx"},
    {"rl": "grpo", "datasets": [{"path": "x", "type": "rwd.gsm8k_transform"}]},
    {"rl": "dpo", "datasets": [{"path": "x", "type": "mine"}]},
    {"rl": "dpo", "datasets": [{"path": "x", "type": "chatml.mine.transform"}]},
]
INSIDE = [
    {"plugins": [LIGER, "axolotl.integrations.liger.plugin.LigerPlugin", *OWN_PLUGINS]},
    {"plugins": [f"axolotl.integrations.{package}.{name}" for package, name in INTEGRATIONS.items() if package != "nemo_gym"]},
    {"plugins": ["axolotl.integrations.nemo_gym.NemoGymPlugin"], "nemo_gym_auto_start": False},
    {"plugins": ["axolotl.integrations.lm_eval.LMEvalPlugin"], "lm_eval_tasks": ["arc_challenge:25", "hellaswag"], "output_dir": "/content/x"},
    {"trust_remote_code": "no", "plugins": None},
    {"overrides_of_model_kwargs": {"use_cache": False, "device_map": {"": 0}, "rope_scaling": {"type": "linear"}, "trust_remote_code": False}},
    {"overrides_of_model_config": {"rope_theta": 1e6, "sliding_window": None, "anything": "x"}},
    {"attn_implementation": "kernels-community/flash-attn3"},
    {"overrides_of_model_kwargs": {"attn_implementation": {"": "sdpa", "text": "kernels-community/vllm-flash-attn3"}}},
    {"trl": {"reward_funcs": ["trl.rewards.think_format_reward", "org/reward-model-v1.5"]}},
    {"trainer_cls": "axolotl.core.trainers.base.AxolotlTrainer"},
    {"rl": "dpo", "datasets": [{"path": "x", "type": "chatml.intel"}]},
    {"rl": "orpo", "datasets": [{"path": "x", "type": "chat_template.argilla"}]},
    {"datasets": [{"path": "x", "type": "alpaca:phi"}, {"path": "y", "type": "chat_template.default"}]},
    {"pretraining_dataset": [{"path": "x", "type": "pretrain"}]},
    {"datasets": [{"path": "x", "type": "preflight.answer_only"}]},
    {"datasets": [{"path": "x", "type": "completion", "field": "trust_remote_code"}]},
]


@pytest.mark.parametrize("changes", OUTSIDE, ids=str)
def test_code_from_elsewhere_is_found_and_the_place_is_named(changes):
    found = unsafe(changes)
    assert found
    for finding in found:
        assert finding.level == "error"
        assert finding.fix
        assert any(key in finding.where for key in changes)


@pytest.mark.parametrize("changes", INSIDE, ids=str)
def test_what_comes_with_axolotl_is_left_alone(changes):
    assert unsafe(changes) == []


def test_the_plugins_that_are_known_are_those_that_axolotl_has():
    found = {}
    for path in (AXOLOTL / "integrations").glob("*/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(isinstance(base, ast.Name) and base.id == "BasePlugin" for base in node.bases):
                found[path.parent.name] = node.name
    assert found == INTEGRATIONS


def test_the_preference_types_are_the_modules_that_axolotl_has():
    modules = [path.stem for name in ("dpo", "kto", "orpo", "ebft") for path in (AXOLOTL / "prompt_strategies" / name).glob("[!_]*.py")]
    assert set(modules) == PREFERENCE_TYPES


@pytest.mark.parametrize("module", sorted(path.stem for path in (AXOLOTL / "prompt_strategies").glob("[!_]*.py")))
def test_a_type_that_axolotl_has_is_not_from_outside(module):
    assert not imports_outside(f"{module}.load", ROW_TYPES | {module}, preference=False)


def test_axolotl_runs_what_is_found(axolotl):
    """The real one imports such a plugin while it only validates; so the finding has to come before it is started."""
    values = {"base_model": "x", "datasets": [{"path": "x", "type": "completion"}], "learning_rate": 1, "micro_batch_size": 1}
    plugin = "tests.support.fakes.outside.Plugin"
    mark = Path(tempfile.gettempdir()) / "outside-mark"
    mark.unlink(missing_ok=True)
    assert axolotl.ask("validate", values=values | {"plugins": [plugin]})["error"] == ""
    assert mark.exists()
    mark.unlink()
    (finding,) = unsafe({"plugins": [plugin]})
    assert plugin in finding.message
