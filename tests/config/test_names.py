import itertools
from pathlib import Path

import pytest

from preflight.config.layers import Change, parse_override
from preflight.config.names import LONGEST, default_name, find_run, name_problem
from preflight.config.yaml_file import read_yaml
from preflight.files import CONFIGS
from preflight.machine.workspace import find_workspace

SMOKE = CONFIGS / "smoke.yaml"
FILE, _ = read_yaml(SMOKE)


def named(*overrides):
    return default_name(FILE, [parse_override(text) for text in overrides])


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "smoke"),
        (["learning_rate=0.004"], "smoke-learning_rate-0.004"),
        (["learning_rate=4e-3"], "smoke-learning_rate-0.004"),
        (["learning_rate=0.005"], "smoke"),  # what the file says already
        (["learning_rate=0.1", "learning_rate=0.005"], "smoke"),
        (["num_epochs=3", "learning_rate=0.00001"], "smoke-learning_rate-1e-05-num_epochs-3"),
        (["max_steps=4", "seed=7"], "smoke-max_steps-4-seed-7"),
        (["save_steps=10", "eval_steps=10", "logging_steps=1", "output_dir=/tmp/x", "bf16=true", "use_tensorboard=false"], "smoke"),
        (["micro_batch_size=1", "gradient_accumulation_steps=2"], "smoke"),  # the same step, shared out otherwise
        (["micro_batch_size=4"], "smoke-micro_batch_size-4"),
        (["datasets.0.path=/content/data/train_postgres.jsonl"], "smoke"),  # the same rows, elsewhere
        (["datasets.0.path=/content/data/clean.jsonl"], "smoke-datasets.0.path-clean"),
        (["lora_target_modules=[q_proj, v_proj]"], "smoke-lora_target_modules-q_proj+v_proj"),
        (["lr_scheduler=null"], "smoke-lr_scheduler-none"),
        (["base_model=someone/else 7B"], "smoke-base_model-someone-else-7B"),
        (["lora_model_dir=/a/run/outputs"], "smoke-lora_model_dir-outputs"),
        (["learning_rate.x=1"], "smoke"),  # which is refused
    ],
)
def test_a_run_is_named_by_what_is_set_of_the_experiment(overrides, name):
    assert {named(*order) for order in itertools.permutations(overrides)} == {name} or "learning_rate=0.1" in overrides
    assert named(*overrides) == name
    assert name_problem(name) == ""


def test_long_names_are_cut_and_stay_apart():
    many = [f"special_tokens.token_{number}=x{number}" for number in range(30)]
    first, second = named(*many), named(*many[:-1], "special_tokens.token_29=y")
    assert first != second
    assert max(map(len, (first, second))) <= LONGEST
    assert (name_problem(first), name_problem(second)) == ("", "")


def test_no_secret_comes_into_a_name():
    token = "hf_" + "a" * 34
    assert token not in named(f"hub_token={token}", f"wandb_name={token}")


@pytest.mark.parametrize("name", ["rate-1e-4", "größer_2", "रन१", "a.b+c", "x" * LONGEST])
def test_names_that_a_folder_can_have(name):
    assert name_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "such as run-1"),
        ("   ", "such as run-1"),
        ("my run", "my-run"),
        ("a/b", "a-b"),
        ("../../etc", "etc"),
        (".hidden", ": hidden"),
        ("-rf", ": rf"),
        ("\x1b[31mred", "letters, digits"),
        ("<script>", "script"),
        ("a\u202eb", "a-b"),
        ("checkpoint-50", "run-checkpoint-50"),
        ("runs", "run-runs"),
        ("x" * 81, "at most 80"),
        ("🙂", "run-1"),
    ],
)
def test_names_that_are_refused_with_one_that_is_not(name, says):
    assert says in name_problem(name)


def test_the_command_line_refuses_them_in_one_sentence(preflight):
    ran = preflight(SMOKE, "--plan-only", "--name", "my\x1b[31m run")
    assert ran.code == 2
    assert "my--31m-run" in ran.err
    assert "\x1b" not in ran.err


def test_a_run_is_found_again_and_one_of_an_earlier_kit_under_the_configs_name(tmp_path):
    workspace = find_workspace(tmp_path)
    rate = [Change(key="learning_rate", value=0.004, layer="--set")]

    def begun(name, value):
        workspace.run(name).folder.mkdir(parents=True)
        workspace.run(name).config.write_text(f"learning_rate: {value}\n")

    assert find_run(workspace, SMOKE, rate).folder.name == "smoke-learning_rate-0.004", "nothing is there yet"
    begun("smoke", 0.005)
    assert find_run(workspace, SMOKE, rate).folder.name == "smoke-learning_rate-0.004"
    workspace.run("smoke").config.write_text("learning_rate: 0.004\n")
    assert find_run(workspace, SMOKE, rate).folder.name == "smoke"
    begun("smoke-learning_rate-0.004", 0.004)
    assert find_run(workspace, SMOKE, rate).folder.name == "smoke-learning_rate-0.004"
    assert find_run(workspace, SMOKE, rate, "mine").folder.name == "mine"
    assert find_run(workspace, SMOKE).folder.name == "smoke"
    assert find_run(workspace, Path("/nowhere/gone.yaml"), rate).folder.name == "gone"
    assert {find_run(workspace, SMOKE, rate, name).prepared for name in ("", "mine")} == {tmp_path / "runs/smoke/prepared"}
