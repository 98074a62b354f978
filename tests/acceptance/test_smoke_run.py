"""The README's two commands, as written: one real run of the real Axolotl, shared by every test here."""

import json
import re
import shutil
import subprocess
import sys

import yaml
from huggingface_hub import ModelCard

from preflight.checkpoints.records import read_records
from preflight.files import read_content
from preflight.plan.throughput import find_pace
from preflight.training.evaluation.execution import Asked, judge_answers
from tests.conftest import CHECKOUT, in_this_environment, readme_commands, run


def test_train_reaches_what_the_project_promises(smoke):
    assert smoke.resumed.code == 0, smoke.resumed.out[-3000:]
    result = json.loads((smoke.folder / "evaluation.json").read_text())
    assert result["eval_loss_after"] <= 0.6 * result["eval_loss_before"]
    assert result["questions"] == 30
    assert result["base_exact"] <= 0.05 * 30
    assert result["adapter_exact"] >= 0.4 * 30


def test_train_ends_with_the_figures_of_this_run(smoke):
    result = json.loads((smoke.folder / "evaluation.json").read_text())
    end = smoke.resumed.out[-6000:]
    assert f"{result['eval_loss_before']:.3f}" in end
    assert f"{result['eval_loss_after']:.3f}" in end
    assert f"{result['adapter_exact']} of 30" in end
    executed = result["executed"]["adapter"]
    assert executed["right"] >= result["adapter_exact"]
    assert f"{executed['right']} of 30 right when run on PostgreSQL" in end
    for shown in (
        result["example"]["question"],
        result["example"]["adapter"],
        "workspace/runs/smoke/outputs",
        "tensorboard --logdir",
        "make train CONFIG=",
        "workspace/runs/index.html",
    ):
        assert shown in end


def test_the_kept_checkpoints_were_judged_and_what_was_measured_is_on_drive(smoke):
    result = json.loads((smoke.folder / "evaluation.json").read_text())
    choice = result["choice"]
    assert len(choice["right"]) == 2, "of the two that are kept"
    assert choice["questions"] == 15, "half as many as of the test rows"
    assert choice["right"][f"checkpoint-{choice['step']}"] == max(choice["right"].values())
    assert json.loads((smoke.folder / "outputs/manifest.json").read_text())["chosen_step"] == choice["step"]
    assert f"chosen        {choice['says']}" in smoke.resumed.out
    asked = [int(line) for line in result["executed"]["adapter"]["verdicts"]]
    assert len(asked) == 30
    assert sorted(asked) != list(range(1, 31)), "chosen by a seed, as is said"
    assert f"asked         30 of {result['available']} test rows, chosen by a seed" in smoke.resumed.out
    drive = smoke.checkout / "workspace/drive/MyDrive/sql-codegen-models/smoke"
    assert {"evaluation.json", "history.json", "page.html"} <= {path.name for path in drive.iterdir()}
    assert (smoke.folder.parent / "index.html").exists()


def test_training_is_told_in_a_few_lines_and_axolotls_own_are_kept(smoke):
    """The killed session, the one that went on, and what each would have shown."""
    told = smoke.resumed.out.partition("training: all that Axolotl prints goes to workspace/runs/smoke/training.log\n")[2].partition(
        "training: ended after"
    )[0]
    for line in (
        "starting Axolotl",
        "reading the rows",
        f"goes on from step {smoke.killed_at}",
        f"step {smoke.state['max_steps']}: checkpoint-{smoke.state['max_steps']} is saved",
        "mirror: the final adapter is in ",
    ):
        assert line in told, told
    assert re.search(r"^step \d+: validation loss \d\.\d+, the lowest so far$", told, re.M)
    assert re.search(r"^step [\d,]+ of [\d,]+ \(\d+%\), loss \d\.\d+, [\d.]+ s a step, \d+:\d\d left, evaluating, batch \d+ of \d+$", told, re.M)
    assert len(told.splitlines()) < 60, told
    log = (smoke.folder / "training.log").read_text()
    assert log.count("\n== ") == 1, "two sessions"
    assert "train_loss" in log
    assert "the end of workspace/runs/smoke/training.log" in smoke.killed, "where training fails, the end of its log is shown"


def test_the_card_says_what_was_measured_in_the_place_of_the_trainers_own(smoke):
    result = json.loads((smoke.folder / "evaluation.json").read_text())
    card = ModelCard.load(smoke.folder / "outputs/README.md")
    assert (card.data.library_name, card.data.pipeline_tag, "qlora" in card.data.tags) == ("peft", "text-generation", True)
    executed = result["executed"]["adapter"]
    for part in (
        f"- adapter: {executed['right']} of 30 right when run on PostgreSQL (",
        f"- asked: 30 of {result['available']} questions of the test rows, chosen by a seed\n",
        f"- checkpoint: {result['choice']['says']}\n",
        f"| `train_postgres.jsonl` | training | 2,000 | `{read_content(smoke.checkout / 'sample_data/train_postgres.jsonl').sha256}` |",
    ):
        assert part in card.text, part
    for leaked in (str(smoke.checkout), "generated automatically", result["example"]["question"]):
        assert leaked not in card.content
    drive = smoke.checkout / "workspace/drive/MyDrive/sql-codegen-models/smoke"
    assert (drive / "README.md").read_text() == card.content
    assert "card          workspace/runs/smoke/outputs/README.md\n" in smoke.resumed.out


def test_what_to_try_next_is_what_this_run_has_shown(smoke):
    """Its texts have loss on every token, and nothing else is more than noise."""
    result = json.loads((smoke.folder / "evaluation.json").read_text())
    assert result["cut"]["base"] > 15, "a base that has learnt no end runs on"
    assert result["cut"]["adapter"] < 3
    assert 0.7 < result["prompt_share"] < 0.9
    said = smoke.resumed.out.partition("to try next, by what smoke has shown:\n")[2]
    assert f"{result['prompt_share']:.0%} of the tokens that have loss are schema and question, not answer. " in said
    assert said.startswith("  --set datasets.0.type=preflight.answer_only --set test_datasets.0.type=preflight.answer_only: ")
    assert "by heart" not in said
    assert "still falling" not in said
    assert "To try next" in (smoke.folder / "page.html").read_text()


def test_a_killed_run_goes_on_from_its_last_checkpoint(smoke):
    assert smoke.killed_at in (100, 150)
    assert f"resuming from step {smoke.killed_at} of" in smoke.resumed.out
    steps = [entry["step"] for entry in smoke.state["log_history"] if "loss" in entry]
    assert steps == sorted(set(steps)), "a step was trained twice"


def test_training_ends_with_the_launcher_that_started_it(smoke):
    assert "training ended with an error" in smoke.killed
    assert smoke.orphans == []


def test_another_split_of_the_step_ends_at_the_same_step(smoke):
    """Trained as 1 x 2 sequences, killed, and as 2 x 1 to the end: as another GPU of a later session would."""
    assert re.search(r"--set +gradient_accumulation_steps +2", smoke.killed)
    planned = re.search(r"run +(\d+) steps, ", smoke.killed)
    assert planned[1] == re.search(r"run +(\d+) steps, ", smoke.resumed.out)[1]
    assert smoke.state["global_step"] == smoke.state["max_steps"] == int(planned[1])
    kept = yaml.safe_load((smoke.folder / "config.yaml").read_text())
    assert (kept["micro_batch_size"], kept["gradient_accumulation_steps"]) == (2, 1)


def test_another_train_leaves_a_finished_run_alone(smoke):
    assert smoke.again.code == 0
    assert "Nothing left to train" in smoke.again.out
    assert "axolotl.cli.train" not in smoke.again.out
    assert smoke.again.out.splitlines()[-10:] == smoke.resumed.out.splitlines()[-10:]


def test_the_run_folder_holds_adapter_events_and_yaml(smoke):
    outputs = smoke.folder / "outputs"
    assert (outputs / "adapter_model.safetensors").stat().st_size > 100_000
    assert list(outputs.rglob("events.out.tfevents.*"))
    adapter = json.loads((outputs / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"], len(adapter["target_modules"])) == (16, 32, 0.05, 7)


def test_the_yaml_says_which_layer_set_what(smoke):
    text = (smoke.folder / "config.yaml").read_text()
    assert re.search(r"^# preflight: +output_dir = ", text, re.M)
    assert re.search(r"^# preflight: +resume_from_checkpoint = ", text, re.M)
    assert yaml.safe_load(text)["adapter"] == "qlora"


def test_accelerate_has_nothing_to_guess(smoke):
    assert "values were not passed to `accelerate launch`" not in smoke.killed + smoke.resumed.out + smoke.resumed.err


def test_the_command_that_ran_is_the_one_that_preflight_printed(smoke):
    launch = next(line for line in smoke.resumed.out.splitlines() if "accelerate launch" in line)
    assert "AXOLOTL_DO_NOT_TRACK=1" in launch
    assert launch.endswith("-m axolotl.cli.train workspace/runs/smoke/config.yaml")


def test_axolotls_own_validators_have_judged_the_config_before_it_was_launched(smoke):
    assert "judged by Axolotl's own validators" in smoke.resumed.out
    assert "judged by Axolotl's schema" in smoke.killed, "they are not started twice here"


def test_another_experiment_of_this_name_does_not_touch_the_run(smoke):
    before = (smoke.folder / "config.yaml").read_bytes()
    other = subprocess.run(
        ["make", "train", "ARGS=--name smoke --set learning_rate=0.001"],
        cwd=smoke.checkout,
        env=in_this_environment(),
        capture_output=True,
        text=True,
    )
    assert other.returncode == 2  # make's own code for a failed recipe
    assert "checkpoint.other-run" in other.stdout
    assert "learning_rate: 0.005 then, 0.001 now" in " ".join(other.stdout.split())
    assert (smoke.folder / "config.yaml").read_bytes() == before


def test_a_finer_split_of_the_step_may_go_on_with_the_run(smoke):
    other = subprocess.run(
        ["make", "train", "ARGS=--set micro_batch_size=1 --set gradient_accumulation_steps=2"],
        cwd=smoke.checkout,
        env=in_this_environment(),
        capture_output=True,
        text=True,
    )
    assert "Nothing left to train" in other.stdout


def test_a_real_run_leaves_its_pace_here_and_on_drive(smoke):
    """The next preflight of the same config on the same machine goes by it."""
    here = smoke.folder / "outputs"
    (record,) = [one for one in read_records([here]) if one.depends["micro_batch_size"] == 2]  # the fixture runs another split as well
    assert record.steps > 50
    assert record.evaluation_batch > 0
    assert record.start > 0
    pace = find_pace({}, [record], record.depends, None, None)
    assert pace.source == "measured"
    drive = smoke.checkout / "workspace/drive/MyDrive/sql-codegen-models/smoke"
    assert record.step in [one.step for one in read_records([drive])]
    assert record.end > 0


def test_make_test_as_the_readme_writes_it(smoke):
    assert readme_commands() == ["make train", "make test"]
    selected = in_this_environment() | {"PYTEST_ADDOPTS": "tests/test_findings.py"}  # not this test again
    if (judged := CHECKOUT / ".mypy_cache").is_dir():  # of the same files: mypy would take 12 s from nothing
        shutil.copytree(judged, smoke.checkout / ".mypy_cache")
    done = run("bash", "-c", readme_commands()[1], cwd=smoke.checkout, env=selected)
    assert done.code == 0, done.out[-3000:]
    assert "All checks passed" in done.out
    assert "no issues found" in done.out
    assert " passed" in done.out


ASKED = ["How many flights are there?", "Which flights have price between 90 and 100?"]
OTHER = "CREATE TABLE flights (number int);\n"
# both command lines in one process, which loads torch once
ASK_TWICE = """
import runpy, sys
for options in (["--json"], ["--schema", "other.sql", "--question", "Which flights have price between 90 and 100?"]):
    sys.argv = ["ask", "axolotl_configs/smoke.yaml", *options]
    try:
        runpy.run_module("preflight.ask", run_name="__main__")
    except SystemExit as end:
        print("exit", end.code, flush=True)
"""


def test_the_adapter_answers_questions_and_what_does_not_run_is_said(smoke):
    """From a pipe in the sample's tables, and on a table that has none of the columns."""
    (smoke.checkout / "other.sql").write_text(OTHER)
    lines = [*(line.encode() for line in ASKED), b"caf\xe9?", b"word " * 3000]
    done = subprocess.run(
        [sys.executable, "-c", ASK_TWICE], cwd=smoke.checkout, env=in_this_environment(), input=b"\n".join(lines), capture_output=True
    )
    assert b"Traceback" not in done.stderr, done.stderr
    *answered, first, refused, why, second = done.stdout.decode().splitlines()
    assert (first, second) == ("exit 0", "exit 0")
    found = [json.loads(line) for line in answered]
    assert [one["question"] for one in found[:2]] == ASKED
    assert [one["state"] for one in found] == ["runs", "runs", "not asked", "not asked"]
    assert [one["message"].partition(" tokens")[0][:15] for one in found[2:]] == ["it is not UTF-8", "with its tables"]
    rows = (CHECKOUT / "sample_data/test_postgres.jsonl").read_text().splitlines()
    tables = json.loads(rows[0])["text"].partition("\n\n")[0]
    expected = ("SELECT count(*) FROM flights;", "SELECT code FROM flights WHERE price >= 90 AND price <= 100;")
    asked = [Asked(line=i, question=f"{tables}\n\n{ASKED[i]}", expected=expected[i]) for i in range(2)]
    figures, problem = judge_answers(asked, {"ask": [one["answer"] for one in found[:2]]})
    assert problem == ""
    assert figures["ask"].verdicts["0"] == "right", found
    assert refused.startswith("SELECT ")
    assert why.startswith("  does not run (unknown "), "a column, or a table"
