"""`make colab` as a person lives through it: a real, short training, with a stand-in for Google's command and for its machines."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import CHECKOUT, environment
from tests.remote.conftest import SECRET
from tests.support.colab import account, keep, make_account

SETS = ["max_steps=12", "save_steps=3", "eval_steps=12", "logging_steps=1"]


RUN = ["axolotl_configs/smoke.yaml", "--data", "sample_data", "--gpu", "A100"]


def test_the_laptop_killed_the_machine_vanished_another_gpu_and_home(laptop, rows, tmp_path):
    home = tmp_path / "work/remote/smoke/home"
    run = ["axolotl_configs/smoke.yaml", "--gpu", "A100", "--gpu", "L4", *(word for text in SETS for word in ("--set", text)), "--data", rows]

    refused = laptop(*run)  # nobody at the terminal, and no --yes: nothing is taken
    assert refused.returncode == 130
    assert "The account has 600.00 units." in refused.stdout
    assert "--yes says so" in refused.stderr
    assert account()["machines"] == {}

    keep(account() | {"faults": {"download content/kit-results/checkpoint": "kill-after"}})
    killed = laptop(*run, "--yes")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    assert len(account()["machines"]) == 1, "the machine trains on while the laptop is off"

    ended = laptop(*run[:5], once_home={"faults": {"exec": "lose"}, "unavailable": ["A100"]})
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Going on with the run of commit" in ended.stdout
    assert "The machine is gone" in ended.stdout
    assert "No A100 is to be had now." in ended.stdout
    assert "A machine with NVIDIA L4 is here" in ended.stdout
    assert re.search(r"^checkpoint-\d+ is on the machine again\.$", ended.stdout, re.M)

    assert (home / "adapter_model.safetensors").is_file()
    assert json.loads((home / "manifest.json").read_text())["step"] == 12
    assert json.loads((home / "evaluation.json").read_text())
    assert list((home / "runs").rglob("events*"))
    assert "checkpoint.restored" in (home / "log").read_text()
    assert "It cost " in ended.stdout
    assert account()["machines"] == {}

    table = [sys.executable, "-m", "preflight.runs", "--workspace", tmp_path / "work", "--json"]
    (listed,) = json.loads(subprocess.run(table, cwd=CHECKOUT, env=environment(), check=True, capture_output=True).stdout)["runs"]
    assert (listed["state"], listed["from_colab"], listed["step"]) == ("finished", True, 12)
    assert len(listed["sessions"]) == 2
    assert listed["hours"] > 0

    assert json.loads((tmp_path / "work/remote/rates.json").read_text())["l4"]["per_hour"] == 1.71
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_what_is_missing_is_one_line_with_its_fix(laptop, clone, tmp_path):
    nowhere = laptop(*RUN, PATH="/usr/bin:/bin")
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith("remote: the `colab` command is not installed\n  fix: uv tool install google-colab-cli")

    make_account(tmp_path / "google", logged_in=False)
    assert "is not logged in to a Google account\n  fix: run `colab usage` once" in laptop(*RUN).stderr

    make_account(tmp_path / "google", balance=0.0)
    assert "no compute units are left (0.00)\n  fix: buy units" in laptop(*RUN, "--yes").stderr

    make_account(tmp_path / "google")
    (clone / "axolotl_configs/mine.yaml").write_text((clone / "axolotl_configs/smoke.yaml").read_text())
    assert "has edits that are not committed" in laptop("axolotl_configs/mine.yaml", "--yes").stderr
    assert account()["machines"] == {}


def test_machines_of_the_kit_that_still_run_are_listed_with_what_they_cost(laptop, tmp_path):
    env = os.environ | {"COLAB_STANDIN": str(tmp_path / "google")}
    subprocess.run([tmp_path / "bin/colab", "new", "-s", "sql-codegen-t4-old", "--gpu", "T4"], env=env, check=True, capture_output=True)
    said = laptop(*RUN).stdout
    assert re.search(r"^Still running: \S+ \(T4\), it may take 1\.19 units an hour; stop it with: colab stop -s sql-codegen-t4-old$", said, re.M)
    assert "The account's machines, 1 in all, take 1.19 units an hour." in said
    assert laptop("--stop", "sql-codegen-t4-old").stdout.endswith(" (T4) is stopped.\n")
    assert account()["machines"] == {}
    assert "no machine sql-codegen-t4-old runs" in laptop("--stop", "sql-codegen-t4-old").stderr


@pytest.mark.parametrize("given", ["soon", "0", "-3", "nan", "inf", "1e9"])
def test_a_variable_that_can_not_be_is_refused(laptop, given):
    ran = laptop(*RUN, PREFLIGHT_REMOTE_EVERY=given)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"remote: PREFLIGHT_REMOTE_EVERY is '{given}', which is no such number\n  fix: give seconds from one look")
