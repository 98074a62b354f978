import json
import shutil
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from preflight.config.layers import Config
from preflight.config.schema import SCHEMA, check_deprecated, check_plugin_keys, find_problems, read_schema
from preflight.config.yaml_file import YamlFile, read_yaml
from tests.conftest import CHECKOUT

# configs that the kit did not write: Axolotl's own, of other models and methods (tests/examples/axolotl/README.md)
FOREIGN = sorted((CHECKOUT / "tests/examples/axolotl").glob("*.y*ml"))
VALUES = [True, False, 0, 1, 2, -1, 1.5, 4.0, "4", "4.0", "2e-4", "abc", "true", "yes", " 3 ", "1_000", [], ["a"], [1], {}]


def config(**values):
    return Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)


def check_config(config):
    return [problem.finding for problem in find_problems(config, read_schema())] + check_plugin_keys(config, read_schema())


def check(**values):
    return [(finding.code, finding.message.partition(":")[0], finding.fix) for finding in check_config(config(**values))]


def test_the_committed_schema_is_that_of_the_pinned_axolotl(axolotl):
    assert json.loads(json.dumps(axolotl.ask("schema"))) == json.loads(SCHEMA.read_text())


OWN = {"answer_marker", "fp8_frozen_weights", "stack_lora_products", "cuda_graphs"}  # keys of the kit's plugin


def test_no_value_that_axolotl_takes_is_called_wrong(axolotl):
    """Every key of the top level with every kind of value, against Axolotl's own models."""
    schema = read_schema()
    of_plugins = {key for keys in schema["x-plugins"].values() for key in keys} | OWN
    asked = 0
    for key, option in schema["properties"].items():
        if key in of_plugins or key == "datasets" or option.get("deprecated"):  # old keys are taken off before the models see them
            continue
        judge = Draft202012Validator({"$defs": schema["$defs"], **option})
        for value, refused in zip(VALUES, axolotl.ask("field_errors", key=key, values=VALUES), strict=True):
            if refused is False and (key, value) not in [("image_resize_algorithm", True), ("image_resize_algorithm", False)]:
                assert judge.is_valid(value), (key, value)
                asked += 1
    assert asked > 2000


def test_a_value_that_axolotl_refuses_is_called_wrong(axolotl):
    for key, value in [
        ("lora_r", "abc"),
        ("bf16", "perhaps"),
        ("sequence_len", 1.5),
        ("learning_rate", [1]),
        ("gradient_checkpointing", {}),
        ("seed", "x"),
    ]:
        assert axolotl.ask("field_errors", key=key, values=[value]) == [True]
        assert [code for code, *_ in check(**{key: value})] == ["config.bad-value"], (key, value)


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.name)
def test_configs_that_the_kit_did_not_write(axolotl, path):
    """What Axolotl takes is taken; a key is called unknown only if Axolotl really drops it."""
    values = yaml.safe_load(path.read_text())
    answer = axolotl.ask("validate", values=values)
    findings = check_config(config(**values))
    assert answer["error"] == ""
    assert [finding for finding in findings if finding.code == "config.bad-value"] == []
    kept = set(leaves(answer["values"]))
    for finding in findings:
        key = finding.message.partition(":")[0]
        assert not any(leaf == key or leaf.startswith(f"{key}.") for leaf in kept), key


def leaves(values, prefix=""):
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, dict | list) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_foreign_configs_are_there_in_kind():
    texts = [path.read_text() for path in FOREIGN]
    for part in (
        "rl: dpo",
        "rl: kto",
        "rl: orpo",
        "rl: gdpo",
        "fsdp_config:",
        "deepspeed:",
        "reward_model: true",
        "adapter: lora",
        "plugins:",
        "pretraining_dataset:",
    ):
        assert any(part in text for text in texts), part


@pytest.mark.parametrize("key", ["overrides_of_model_config", "model_config", "model_type", "type_of_model", "curriculum_sampling"])
def test_keys_that_axolotl_takes(key):
    assert key in read_schema()["properties"]


def test_keys_below_the_top_are_strict():
    assert check(datasets=[{"path": "a", "typ": "completion"}]) == [("config.unknown-key", "datasets.0.typ", "did you mean type?")]
    assert check(special_tokens={"pad_tokn": "x"}) == [("config.unknown-key", "special_tokens.pad_tokn", "did you mean pad_token?")]
    assert check(fsdp_config={"fsdp_offload_params": True, "version": 2}) == []


def test_rows_are_of_the_class_that_the_method_reads():
    entry = {"path": "a", "type": "chatml.intel", "ds_type": "json"}
    assert check(datasets=[entry]) == []
    assert check(datasets=[entry], rl="dpo") == [("config.unknown-key", "datasets.0.ds_type", "delete it")]


def test_names_of_other_libraries_are_understood():
    assert {fix for *_, fix in check(lora_rank=1, per_device_train_batch_size=1, max_seq_length=1)} == {
        "did you mean lora_r?",
        "did you mean micro_batch_size?",
        "did you mean sequence_len?",
    }


def test_numbers_as_axolotl_reads_them():
    """YAML reads 2e-4 as text; pydantic takes it, and a number in quotes, as a number."""
    assert check(learning_rate="2e-4", lora_r="16", lora_dropout="0.05", seed=4.0) == []
    assert [code for code, *_ in check(lora_r="16.5", sequence_len="2k", num_epochs="three")] == ["config.bad-value"] * 3


def test_a_wrong_value_says_what_is_taken():
    (finding,) = check_config(config(save_total_limit="two"))
    assert finding.message == "save_total_limit: 'two' is not a whole number"


def test_old_keys_are_said():
    old = config(flash_attention=True, evaluation_strategy="steps", fsdp_config={"fsdp_offload_params": True}, xformers_attention=False)
    keys = [finding.message.partition(":")[0] for finding in check_deprecated(old, read_schema())]
    assert keys == ["flash_attention", "evaluation_strategy", "fsdp_config.fsdp_offload_params"]


def test_five_misspelt_keys(preflight, tmp_path):
    """The issue's own example: all in one run, each with its line and the right name."""
    text = (CHECKOUT / "axolotl_configs/mistral_qlora.yaml").read_text()
    wrong = {
        "lora_r:": "lora_rank:",
        "save_total_limit:": "save_totl_limit:",
        "gradient_checkpointing:": "gradient_checkpoint:",
        "    type:": "    typ:",
        "learning_rate:": "learning_rte:",
    }
    for right, misspelt in wrong.items():
        text = text.replace(f"\n{right}", f"\n{misspelt}", 1)
    (tmp_path / "wrong.yaml").write_text(text)
    ran = preflight(tmp_path / "wrong.yaml", "--gpu", "a100-40gb", "--json")
    lines = {line.partition(":")[0].strip(): number for number, line in enumerate(text.splitlines(), 1) if not line.startswith("#")}
    found = [finding for finding in ran.json["findings"] if finding["code"].startswith("config.")]
    assert {finding["code"] for finding in found} == {"config.unknown-key"}
    for right, misspelt in wrong.items():
        name, meant = misspelt.strip(" :"), right.strip(" :")
        (finding,) = (finding for finding in found if f" {name}" in f" {finding['message']}".replace(".", " "))
        assert finding["fix"] == f"did you mean {meant}?"
        assert f"wrong.yaml:{lines[name]} " in finding["where"]
    assert (ran.code, len(found)) == (1, 5)


def test_every_shipped_yaml_tells_the_editor_its_schema():
    for path in (CHECKOUT / "axolotl_configs").rglob("*.yaml"):
        first = path.read_text().splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema=")
        assert (path.parent / first.partition("=")[2]).is_file(), path


def test_the_schema_alone_judges_the_shipped_configs():
    """What an editor does with it."""
    for path in (CHECKOUT / "axolotl_configs").rglob("*.yaml"):
        file, _ = read_yaml(path)
        schema = json.loads((path.parent / path.read_text().splitlines()[0].partition("=")[2]).read_text())
        assert list(Draft202012Validator(schema).iter_errors(dict(file.values))) == []


def test_a_tier_file_with_a_wrong_key(preflight, tmp_path):
    """The kit's own files are judged as well: here a copy of the project with a tier that is wrong in two ways."""
    shutil.copytree(CHECKOUT / "preflight", tmp_path / "preflight", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "axolotl_configs", tmp_path / "axolotl_configs")
    shutil.copy(CHECKOUT / "requirements.txt", tmp_path)
    with (tmp_path / "axolotl_configs/tiers/l4.yaml").open("a") as tier:
        tier.write("bf_16: true\nlearning_rate: 0.1\n")
    ran = preflight("--gpu", "l4", "--json", cwd=tmp_path)
    found = {(finding["code"], finding["where"].rpartition("$.")[2]) for finding in ran.json["findings"] if "l4.yaml" in finding["where"]}
    assert found == {("config.unknown-key", "bf_16"), ("config.not-for-a-tier", "bf_16"), ("config.not-for-a-tier", "learning_rate")}


KEYS = {
    "message_property_mappings": {"role": "from"},
    "roles": {"user": ["client"]},
    "field_messages": "m",
    "field_chosen": "c",
    "ds_type": "json",
    "shards": 2,
}


@pytest.mark.parametrize("group", ["datasets", "test_datasets"])
def test_the_keys_of_a_data_set_that_axolotl_drops_are_unknown_and_no_others(axolotl, group):
    """By the method: validate_config makes one class of the entries of `datasets`; pydantic picks that of `test_datasets`."""
    for method in (None, "dpo", "orpo"):
        values = {"base_model": "x", "learning_rate": 1e-4, "micro_batch_size": 1, "num_epochs": 1, "datasets": [{"path": "x", "type": "completion"}]}
        values |= ({"rl": method} if method else {}) | {group: [{"path": "x", "type": "chat_template.default"} | KEYS]}
        answer = axolotl.ask("validate", values=values)
        assert answer["error"] == ""
        dropped = KEYS.keys() - answer["values"][group][0].keys()
        assert {problem.path for problem in find_problems(config(**values), read_schema())} == {f"{group}.0.{key}" for key in dropped}, method


def test_a_key_without_a_value_is_refused_where_axolotl_refuses_it(axolotl):
    for key in ("output_dir", "save_steps", "chat_template", "num_epochs"):
        values = {"base_model": "x", "learning_rate": 1e-4, "micro_batch_size": 1, "num_epochs": 1, "datasets": [{"path": "x", "type": "completion"}]}
        refused = bool(axolotl.ask("validate", values=values | {key: None})["error"])
        found = check_config(config(**values | {key: None}))
        assert [finding.fix.partition(", or")[0] for finding in found] == ["delete the line"] * refused, key
