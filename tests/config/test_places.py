"""What a config names beside its rows is looked for, where Axolotl would look for it."""

from pathlib import Path

import pytest

from preflight.config.layers import Config
from preflight.config.places import check_places, inspect_places, named_places
from preflight.config.yaml_file import YamlFile

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def found(values, *, plan=False):
    config = Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)
    return check_places(config, inspect_places(named_places(values)), plan=plan)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with one of each, good and bad."""
    monkeypatch.chdir(tmp_path)
    for name in ("outputs/checkpoint-50/trainer_state.json", "adapter/adapter_config.json", "tokenizer/tokenizer_config.json"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("{}")
    Path("model").mkdir()
    Path("model/config.json").write_text("{}")
    Path("outputs/checkpoint-9").mkdir()
    Path("zero2.json").write_text('{"zero_optimization": {"stage": 2}}')
    Path("broken.json").write_text('{"zero')
    Path("list.json").write_text("[]")
    Path("mine.jinja").write_text(TEMPLATE)
    return tmp_path


@pytest.mark.parametrize(
    ("values", "key", "says"),
    [
        ({"resume_from_checkpoint": "./outputs/checkpoint-500"}, "resume_from_checkpoint", "no folder outputs/checkpoint-500"),
        ({"resume_from_checkpoint": "outputs/checkpoint-9"}, "resume_from_checkpoint", "no trainer_state.json"),
        ({"resume_from_checkpoint": "zero2.json"}, "resume_from_checkpoint", "no folder"),
        ({"resume_from_checkpoint": "~/outputs/checkpoint-50"}, "resume_from_checkpoint", "no folder"),
        ({"deepspeed": "deepspeed_configs/zero3.json"}, "deepspeed", "no file deepspeed_configs/zero3.json"),
        ({"deepspeed": "broken.json"}, "deepspeed", "can't be read as JSON"),
        ({"deepspeed": "list.json"}, "deepspeed", "a JSON mapping"),
        ({"lora_model_dir": "./adaptor"}, "lora_model_dir", "no adapter at adaptor"),
        ({"lora_model_dir": "outputs/checkpoint-9"}, "lora_model_dir", "no adapter_config.json"),
        ({"tokenizer_config": "model/tokenizer"}, "tokenizer_config", "no tokenizer at model/tokenizer"),
        ({"base_model_config": "./adapter"}, "base_model_config", "no config of a model"),
        ({"chat_template_jinja": "templates/mine.jinja"}, "chat_template_jinja", "is no file"),
        ({"datasets": [{"path": "x", "chat_template_jinja": "yours.jinja"}]}, "datasets.0.chat_template_jinja", "is no file"),
    ],
)
def test_what_is_not_there_is_an_error_at_its_line(here, values, key, says):
    (finding,) = found(values)
    assert (finding.code, finding.level) == ("config.missing-file", "error")
    assert finding.where.endswith(f"$.{key}")
    assert says in finding.message
    assert finding.fix


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"resume_from_checkpoint": "outputs/checkpoint-50", "deepspeed": "zero2.json"},
        {"resume_from_checkpoint": None, "deepspeed": "", "lora_model_dir": None},
        {"deepspeed": {"zero_optimization": {"stage": 2}}},
        {"lora_model_dir": "adapter", "tokenizer_config": "./tokenizer", "base_model_config": "model"},
        {"lora_model_dir": "someone/an-adapter", "tokenizer_config": "mistralai/Mistral-7B-v0.1"},
        {"chat_template_jinja": "mine.jinja"},
        {"chat_template_jinja": TEMPLATE},
        {"datasets": [{"path": "x", "chat_template_jinja": "mine.jinja"}, "odd"], "chat_template_jinja": f"\n{TEMPLATE}\n"},
    ],
)
def test_what_is_there_or_on_the_hub_is_not(here, values):
    assert found(values) == []


def test_a_plan_elsewhere_only_warns_of_what_colab_has(here):
    values = {"resume_from_checkpoint": "/content/drive/MyDrive/x/checkpoint-500"}
    assert [found(values, plan=plan)[0].level for plan in (True, False)] == ["warning", "error"]


def test_the_checkpoint_that_is_there_is_named(here):
    assert found({"resume_from_checkpoint": "outputs/checkpoint-51"})[0].fix == "resume_from_checkpoint: outputs/checkpoint-50"
