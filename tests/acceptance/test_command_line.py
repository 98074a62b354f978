"""`python -m preflight` as a person types it, in a process of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import CHECKOUT, environment, few_options, few_rows, in_small_disk, run, tree, with_full_disk

SMOKE = "axolotl_configs/smoke.yaml"
CONTRACT = {"ok", "findings", "workspace", "gpu", "data", "checkpoints", "plan", "config_path", "command"}
PLAN = {"tier", "tokens_per_step", "examples_per_step", "steps", "tokens", "trained_tokens", "checkpoints", "hours", "compute_units", "cost_usd"}
A100 = ["NVIDIA A100-SXM4-40GB", 39.6, [8, 0]]


def test_json_keeps_to_the_contract(preflight):
    ran = preflight(SMOKE, "--json", "--plan-only")
    assert (ran.code, ran.err) == (0, "")
    assert ran.json.keys() >= CONTRACT
    assert ran.json["plan"].keys() >= PLAN
    assert ran.json["plan"]["tokens_per_step"] == 1024
    assert ran.json["command"][1:3] == ["launch", "--num_processes"]
    assert ran.json["command"][-3:-1] == ["-m", "axolotl.cli.train"]


def test_plan_only_writes_nothing(preflight, tmp_path):
    ran = preflight(SMOKE, "--plan-only")
    assert ran.code == 0
    assert "nothing was staged or written" in ran.out
    assert not (tmp_path / "workspace").exists()


def test_text_ends_with_the_launch_command_in_one_line(preflight, tmp_path):
    ran = preflight(SMOKE)
    last = ran.out.splitlines()[-1]
    assert ran.code == 0
    assert re.fullmatch(
        r"AXOLOTL_DO_NOT_TRACK=1 CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 \S*accelerate launch --num_processes 1 --num_machines 1 "
        r"--mixed_precision no --dynamo_backend no --num_cpu_threads_per_process \d+ -m axolotl.cli.train \S+/runs/smoke/config.yaml",
        last,
    )
    assert shutil.which(last.split()[3]), "the launcher is not there"


def test_the_resolved_yaml_holds_every_value_of_the_file_and_the_layers(preflight, tmp_path):
    preflight(SMOKE, "--name", "smoke", "--set", "learning_rate=0.001", "--set", "datasets.0.field=text")
    text = (tmp_path / "workspace/runs/smoke/config.yaml").read_text()
    resolved = yaml.safe_load(text)
    user = yaml.safe_load((CHECKOUT / SMOKE).read_text())
    changed = {key for key in resolved if resolved[key] != user.get(key)}
    assert changed == {"learning_rate", "datasets", "test_datasets", "dataset_prepared_path", "output_dir", "plugins"}
    assert "# --set:           learning_rate = 0.001\n" in text
    assert "datasets.0.field" not in text, "a --set that changes nothing is not a change"


@pytest.fixture
def few(tmp_path):
    """Options for rows that a process is done with in a second, and a workspace without a run of others."""
    return [*few_options(tmp_path / "few"), "--workspace", str(tmp_path / "ws")]


def test_telemetry_stays_as_the_user_set_it(few):
    env = environment() | {"AXOLOTL_DO_NOT_TRACK": "0"}
    ran = run(sys.executable, "-m", "preflight", SMOKE, *few, "--json", "--plan-only", env=env)
    assert ran.code == 0
    assert "AXOLOTL_DO_NOT_TRACK" not in ran.json["environment"]


def test_without_a_gpu_the_main_config_says_what_to_do_instead(preflight):
    ran = preflight()
    assert ran.code == 1
    assert "gpu.none" in ran.out
    for way in ("make train", "Colab", "--gpu"):
        assert way in ran.out


def test_the_gpu_that_is_here_chooses_the_tier(preflight, tmp_path):
    rows = tmp_path / "rows"
    shutil.copytree(CHECKOUT / "sample_data", rows, ignore=lambda folder, names: [name for name in names if not name.endswith(".jsonl")])
    ran = preflight("--data", rows, "--set", "save_steps=25", "--set", "eval_steps=25", "--json", gpus=[A100])
    assert ran.json["plan"]["tier"] == "a100-40gb"
    assert {finding["code"] for finding in ran.json["findings"]} <= {"packages.mismatch", "config.examples-per-step"}  # the sample rows are short
    assert ran.json["plan"]["tokens_per_step"] == 4 * 2048
    assert "CUDA_VISIBLE_DEVICES" not in ran.json["environment"]


def test_an_unknown_gpu_gets_the_nearest_tier_and_a_warning(preflight):
    ran = preflight("--json", "--plan-only", gpus=[["NVIDIA B300", 268, [10, 3]]])
    assert "gpu.unknown" in ran.codes
    assert ran.json["plan"]["tier"] == "h200"


def test_gpu_plans_for_one_that_is_not_here(preflight, tmp_path):
    ran = preflight("--gpu", "t4", "--json", gpus=[A100])
    assert ran.code == 0
    assert {"key": "fp16", "value": True, "layer": "tier t4"} in ran.json["changes"]
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "learning_rate"], "KEY=VALUE"),
        (["--set", "=3"], "KEY=VALUE"),
        (["--set", "x=[1"], "not YAML"),
        (["--gpu", "a200"], "invalid choice: 'a200' (choose from 't4'"),
        (["--data", "rows.zip"], "no such folder or zip"),
        (["--data", "sample_data", "--sha256", "0" * 64], "it goes with --data https"),
        (["--data", "https://example.com/rows.zip", "--sha256", "12"], "64 hexadecimal digits"),
        (["--data", "no_such_folder"], "no such folder"),
        (["--nonsense"], "unrecognized"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(preflight, tmp_path, arguments, says):
    ran = preflight(SMOKE, *arguments)
    assert ran.code == 2
    assert says in ran.err.splitlines()[-1]
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize(
    ("override", "code", "says"),
    [
        ("lora_rank=8", "config.unknown-key", "did you mean lora_r?"),
        ("datasets.0.pth=x", "config.unknown-key", "did you mean path?"),
        ("datasets.7.path=x", "config.bad-value", "datasets.7 does not exist"),
        ("num_epochs.x=1", "config.bad-value", "num_epochs holds 2"),
        ("sequence_len=long", "config.bad-value", "'long' is not a whole number"),
    ],
)
def test_a_set_that_cannot_work_is_a_finding(preflight, tmp_path, override, code, says):
    ran = preflight(SMOKE, "--set", override, "--json")
    (finding,) = ran.json["findings"]
    assert ran.code == 1
    assert finding["code"] == code
    assert finding["where"].startswith("--set $.")
    assert says in finding["message"] + finding["fix"]
    assert not (tmp_path / "workspace/runs").exists()


def test_help_teaches(preflight):
    ran = preflight("--help")
    assert ran.code == 0
    for part in ("examples:", "exit code:", "--set KEY=VALUE", "--gpu NAME", "--workspace DIR", "--data SOURCE", "--json", "--plan-only"):
        assert part in ran.out


@pytest.mark.parametrize("name", ["gone.jsonl", "empty.jsonl", "folder.jsonl"])
def test_rows_that_are_not_there(preflight, tmp_path, name):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder.jsonl").mkdir()
    ran = preflight(SMOKE, "--set", f"datasets.0.path={tmp_path / name}", "--json")
    assert (ran.code, ran.codes) == (1, ["data.missing"])
    assert str(tmp_path / name) in ran.json["findings"][0]["where"]


def test_a_workspace_that_is_a_read_only_disk(preflight, tmp_path):
    disk = tmp_path / "disk"
    ran = preflight(SMOKE, "--json", workspace=disk / "workspace", under=in_small_disk(disk, "ro"))
    # PostgreSQL refuses root, and such a namespace holds nobody else
    assert (ran.code, [code for code in ran.codes if code != "data.sql-not-checked"]) == (1, ["workspace.not-writable"])


def test_a_disk_that_fills_while_staging_loses_nothing(preflight, tmp_path):
    """The first set fits, the second does not: it is refused, and the first is still there and whole."""
    disk, rows = tmp_path / "disk", tmp_path / "rows"
    rows.mkdir()
    for name in ("train_postgres.jsonl", "val_postgres.jsonl"):
        (rows / name).write_text("".join(json.dumps({"text": f"[INST] {name} {i} [/INST] b"}) + "\n" for i in range(1000)))
    command = [
        sys.executable,
        "-m",
        "preflight",
        SMOKE,
        "--set",
        "save_steps=5",
        "--set",
        f"output_dir={tmp_path}/out",
        "--workspace",
        str(disk / "ws"),
    ]
    script = '"$@" --data "$0" >/dev/null && "$@" --json; cd "$1" 2>/dev/null; find %s -type f | sort >&2' % (disk / "ws" / "sample_data")
    ran = run(*in_small_disk(disk, "size=300k"), "sh", "-c", script, rows, *command)
    assert ran.codes == ["workspace.full"]
    assert ran.err.split() == [str(disk / "ws/sample_data" / name) for name in ("manifest.json", "train_postgres.jsonl", "val_postgres.jsonl")]


def test_ctrl_c_while_staging_leaves_nothing(tmp_path):
    rows, workspace = tmp_path / "rows", tmp_path / "workspace"
    rows.mkdir()
    for name in ("train_postgres.jsonl", "val_postgres.jsonl"):
        with (rows / name).open("wb") as file:
            file.truncate(400_000_000)  # sparse: no disk of its own, half a second to copy
    process = subprocess.Popen(
        [sys.executable, "-m", "preflight", SMOKE, "--data", rows, "--workspace", workspace],
        cwd=CHECKOUT,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell starts its background jobs with SIGINT ignored
    )
    while not (workspace / ".sample_data.new" / "train_postgres.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.strip() == "Interrupted. No partial files were left; run the same command again to continue."
    assert tree(workspace) == {".staging.lock": b""}


def test_no_heavy_import(few):
    ran = run(sys.executable, "-X", "importtime", "-m", "preflight", SMOKE, *few)
    assert ran.code == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ran.err.splitlines() if line.startswith("import time:")}
    assert "rich" in imported
    assert (
        imported & {"torch", "transformers", "axolotl", "peft", "accelerate", "datasets", "pandas", "scipy"} == set()
    )  # numpy: for the order that Axolotl shuffles to


def test_an_environment_without_packages_says_what_installs_them(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    ran = run(tmp_path / "bare/bin/python", "-m", "preflight", SMOKE, env={"PATH": os.environ["PATH"]})
    assert ran.code == 2
    assert ran.err == "preflight: the Python package yaml is not installed. Install everything: scripts/setup.sh, then use .venv/bin/python\n"


def test_an_older_python_is_told_so_before_anything_else():
    old = "import sys; sys.version_info = (3, 10, 4); import runpy; runpy.run_module('preflight', run_name='__main__')"
    ran = run(sys.executable, "-c", old)
    assert ran.code == 2
    assert ran.err == "preflight needs Python 3.11 to 3.13; this is 3.10. Run it with another one: python3.11 -m preflight\n"


def test_a_reader_that_goes_away_is_no_fault(few):
    ran = run("bash", "-c", f"'{sys.executable}' -m preflight {SMOKE} {' '.join(few)} --plan-only | head -n 1; echo ${{PIPESTATUS[0]}}")
    assert ran.out.splitlines()[-1] in ("0", "1")


def test_a_fault_of_the_kit_is_exit_3_and_the_other_checks_still_run(preflight, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(CHECKOUT / "preflight", copy / "preflight")
    shutil.copytree(CHECKOUT / "axolotl_configs", copy / "axolotl_configs")
    shutil.copy(CHECKOUT / "requirements.txt", copy)
    (copy / "axolotl_configs/schema/axolotl.json").write_text('{"properties": {}}')  # a broken installation
    ran = run(sys.executable, "-m", "preflight", SMOKE, "--json", "--plan-only", cwd=copy)
    assert ran.code == 3
    assert "internal.crash" in ran.codes
    assert "data.missing" in ran.codes, "the rows were not judged"
    log = ran.json["findings"][0]["fix"].rpartition(" ")[2]
    assert "KeyError" in Path(log).read_text()


@pytest.mark.parametrize("path", sorted((CHECKOUT / "tests/examples/rejected").glob("*.yaml")), ids=lambda path: path.name)
def test_rejected_examples(preflight, path):
    """Each says in its first line which findings it must give: `# expect: code[:line] ...`."""
    ran = preflight(path, "--json", "--plan-only")
    expected = path.read_bytes().split(b"\n")[0].decode().partition("expect: ")[2].split()
    found = [finding["code"] + (f":{line[1]}" if (line := re.search(r"\.yaml:(\d+)", finding["where"])) else "") for finding in ran.json["findings"]]
    assert [code for code in found if not code.startswith("internal.skipped")] == expected
    assert ran.code == 1


@pytest.mark.parametrize("path", sorted((CHECKOUT / "tests/examples/accepted").glob("*.yaml")), ids=lambda path: path.name)
def test_accepted_examples(preflight, path):
    ran = preflight(path, "--json", "--plan-only", gpus=[A100])
    assert [finding for finding in ran.json["findings"] if finding["code"].startswith("config.")] == []


def test_a_plan_needs_no_disk(preflight, tmp_path):
    """With /tmp full it is made as ever; nor does --json need it for the document."""
    full = with_full_disk(tmp_path / "full")
    base = f"base_model={CHECKOUT / 'sample_data/smoke_base'}"
    arguments = (CHECKOUT / SMOKE, "--json", "--data", CHECKOUT / "sample_data", "--set", base)
    ran = preflight(*arguments, "--plan-only", workspace="/tmp/ws", under=full)
    assert (ran.code, ran.err, ran.json["plan"]["steps"]) == (0, "", 398)
    ran = preflight(*arguments, workspace="/tmp/ws", under=full)
    assert (ran.code, ran.err) == (1, "")
    assert "workspace.full" in ran.codes


def test_a_plan_of_an_archive_says_that_there_is_no_room_for_it(preflight, tmp_path, monkeypatch):
    """With no folder for temporary files at all, and with one that fills up."""
    package = [sys.executable, "-m", "preflight.packaging", "sample_data", tmp_path / "rows.zip"]
    subprocess.run(package, cwd=CHECKOUT, check=True, capture_output=True)
    arguments = (CHECKOUT / SMOKE, "--plan-only", "--json", "--data")
    held = ("sh", "-c", 'exec 9< "$1"; shift; exec "$@"', "sh", tmp_path / "rows.zip")  # of what the full /tmp hides
    full = ("sh", "-c", 'ln -s /proc/self/fd/9 /tmp/rows.zip; exec "$@"', "sh")
    ran = preflight(*arguments, "/tmp/rows.zip", workspace="/tmp/ws", under=(*held, *with_full_disk(tmp_path / "full"), *full))
    assert (ran.code, ran.err) == (1, "")
    (found,) = [finding for finding in ran.json["findings"] if finding["code"] == "workspace.full"]
    assert "TMPDIR=DIR" in found["fix"]
    monkeypatch.setenv("TMPDIR", str(tmp_path / "small"))
    ran = preflight(*arguments, tmp_path / "rows.zip", under=in_small_disk(tmp_path / "small", "size=200k"))
    assert (ran.code, ran.err) == (1, "")
    assert "workspace.full" in ran.codes


@pytest.mark.parametrize("arguments", [("--json",), ()])
def test_what_is_printed_to_a_full_disk_is_said_in_one_line(few, arguments):
    ran = run("bash", "-c", f"'{sys.executable}' -m preflight {SMOKE} --plan-only {' '.join([*few, *arguments])} > /dev/full")
    assert (ran.code, ran.err) == (1, "preflight: No space left on device\n")


def test_a_report_that_can_not_be_written_is_said_beside_the_one_that_is_printed(preflight, tmp_path):
    ran = preflight(SMOKE, "--plan-only", "--report", "/dev/full/report.json")
    assert (ran.code, ran.err) == (1, "preflight: --report /dev/full/report.json: File exists\n")
    assert "A plan only" in ran.out


def test_a_workspace_whose_name_no_yaml_can_hold(preflight, tmp_path):
    ran = preflight(SMOKE, "--json", workspace=tmp_path / "w\udce4")
    assert (ran.code, ran.json["command"]) == (1, [])
    assert "workspace.not-writable" in ran.codes
    assert preflight(SMOKE, "--json", workspace=tmp_path / "w\u00e4").code == 0


def test_no_such_config(preflight):
    ran = preflight("nowhere.yaml", "--json")
    assert ran.code == 1
    assert ran.json["findings"][0]["code"] == "config.unreadable"
    assert json.dumps(ran.json["config_path"]) == '""'


def test_a_config_of_100_mb(preflight, tmp_path):
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(100_000_000)
    ran = preflight(tmp_path / "huge.yaml", "--json")
    assert (ran.code, ran.codes) == (1, ["config.unreadable", "internal.skipped"])
    assert "100,000,000 bytes is no config" in ran.json["findings"][0]["message"]


def test_the_plan_says_what_follows_from_the_rows(preflight):
    ran = preflight("--gpu", "a100-40gb", "--data", "sample_data", "--set", "save_steps=25", "--set", "eval_steps=25")
    text = " ".join(ran.out.split())
    assert "8,192 tokens, packed: 76.9 examples on average" in text
    assert "78 steps, 630,288 tokens, 630,288 of them trained on; warmup 2 steps; 4 checkpoints, after step 25, 50, 75, 78" in text
    assert "Mistral 7B v0.1, as mistral_common ships it" in text


def test_one_row_is_shown_as_the_trainer_sees_it(preflight, tmp_path):
    rows = few_rows(tmp_path / "rows", "sample_data/messages")
    config, *options = ("axolotl_configs/mistral_qlora_chat.yaml", "--gpu", "l4", "--data", rows)
    ran = preflight(config, *options, "--set", "base_model=sample_data/smoke_base", "--show-example", "3", "--json")
    example = ran.json["example"]
    turns = json.loads((CHECKOUT / "sample_data/messages/train_postgres.jsonl").read_text().splitlines()[2])["messages"]
    assert "".join(token["text"] for token in example["tokens"]) == f"<s> [INST] {turns[0]['content']} [/INST] {turns[1]['content']}</s>"
    assert "".join(token["text"] for token in example["tokens"] if token["trained"]).strip() == turns[1]["content"] + "</s>"
    text = preflight(config, *options, "--show-example").out
    assert "The row as the trainer sees it" in text
    assert re.search(r"read, \d+ tokens +<s> \[INST\] CREATE", text)
    assert re.search(r"trained, \d+ tokens +SELECT .*</s>\n", text)
    assert "there is no row" in preflight(config, *options, "--show-example", "99999").out


def test_rows_that_the_config_does_not_describe(preflight, tmp_path):
    """Rows with messages under a config for text: said with the line, before anything is launched."""
    ran = preflight(SMOKE, "--data", "sample_data/messages", "--json")
    (first, *_) = [finding for finding in ran.json["findings"] if finding["code"] == "data.wrong-columns"]
    assert ran.code == 1
    assert first["where"].endswith("train_postgres.jsonl:1")
    assert first["message"].endswith("no column text; the columns are messages")
    assert "type: chat_template" in first["fix"]


def test_misspelt_and_senseless_in_one_run(preflight):
    ran = preflight(SMOKE, "--set", "lora_rank=8", "--set", "sequence_len=long", "--set", "save_steps=5000", "--set", "val_set_size=0.1", "--json")
    assert set(ran.codes) >= {"config.unknown-key", "config.bad-value", "config.conflict"}
