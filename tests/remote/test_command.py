"""`make colab` at the terminal: what it asks, what it goes on with, how it ends."""

import dataclasses
import json
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from preflight.cli.remote_travel import to_the_end
from preflight.data.archives import pack
from preflight.files import silent
from preflight.remote.colab import Colab, TroubleError
from preflight.remote.state import RunFile, read_run, write_run
from tests.support import laptop as support
from tests.support.colab import account, change, make_account

SMOKE = ["axolotl_configs/smoke.yaml", "--gpu", "A100"]
SETS = ["--set", "save_steps=4"]  # so few rows take 40 steps


def edit(rows):
    """Another row of the same size."""
    path = rows / "train_postgres.jsonl"
    held = path.read_bytes()
    changed = held.replace(b"SELECT", b"select", 1)
    assert changed != held
    path.write_bytes(changed)


def packed(rows, tmp_path):
    return pack(list(rows.glob("*.jsonl")), tmp_path / "expected.zip", 1 << 30, silent)


def trained_on(home):
    return [line.removeprefix("rows ") for line in (home / "log").read_text().splitlines() if line.startswith("rows ")]


def test_a_killed_command_goes_on_without_its_options_and_rows_edited_meanwhile_are_not_mixed_in(quick, rows, tmp_path):
    before = packed(rows, tmp_path)
    change(faults={"exec  answer('look'": ["", "", "kill-after"]})
    assert quick(*SMOKE, *SETS, "--data", rows, "--yes").returncode == -9
    assert read_run(quick.folder).started
    edit(rows)
    change(faults={"exec": "lose"})  # so that the rows have to be sent once more
    ran = quick(*SMOKE)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"The rows of {rows} have changed since this run began: it goes on with those that it began with" in ran.stdout
    assert "The machine is gone" in ran.stdout
    assert set(trained_on(quick.home)) == {before}
    assert account()["machines"] == {}


def test_rows_edited_to_the_same_size_before_anything_is_trained_are_judged_and_sent_anew(quick, rows, tmp_path):
    change(faults={"exec  answer('start'": "kill-before"})
    assert quick(*SMOKE, *SETS, "--data", rows, "--yes").returncode == -9
    edit(rows)
    run = read_run(quick.folder)
    (quick.folder / "journey.json").write_text(json.dumps(dataclasses.asdict(dataclasses.replace(run, started=False))))  # killed a moment before
    ran = quick(*SMOKE, "--yes")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"The rows of {rows} are not those that were judged, and nothing was trained yet: they are judged and sent anew." in ran.stdout
    assert trained_on(quick.home) == [packed(rows, tmp_path)]
    assert read_run(quick.folder).machines == 1, "on the machine that was there"


def test_other_options_than_the_run_began_with_are_refused_and_fresh_begins_anew(quick, rows, tmp_path):
    change(faults={"exec  answer('look'": ["", "", "kill-after"]})
    assert quick(*SMOKE, *SETS, "--data", rows, "--yes").returncode == -9
    for words, says in (
        (["--set", "learning_rate=0.1"], "the run that was begun here has other values: --set save_steps=4"),
        (["--data", tmp_path / "nowhere"], f"--data {tmp_path / 'nowhere'}: no rows are there"),
        (["--data", "https://127.0.0.1/rows.zip"], f"the run that was begun here has its rows from {rows}"),
    ):
        ran = quick(*SMOKE, *words)
        assert ran.returncode == 1
        assert f"remote: {says}" in ran.stderr
        assert "was not stopped, and may run and cost. The same command goes on with it; or end it: colab stop -s sql-codegen-a100-" in ran.stderr
    (first,) = account()["machines"]

    assert quick(*SMOKE, *SETS, "--data", rows, "--fresh").returncode == 130, "nobody is here to ask"
    assert list(account()["machines"]) == [first]
    edit(rows)
    quick.home.mkdir(exist_ok=True)
    (quick.home / "mine").write_text("of the earlier run")
    ran = quick(*SMOKE, *SETS, "--data", rows, "--fresh", "--yes")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert trained_on(quick.home) == [packed(rows, tmp_path)]
    assert account()["machines"] == {}
    assert len(list(quick.folder.glob("home-*/mine"))) == 1, "what came home before is kept"


def test_other_rows_than_those_of_the_checkpoints_at_home_are_refused_here(quick, rows):
    (quick.home / "checkpoint-4").mkdir(parents=True)
    write_run(quick.folder, RunFile(config="axolotl_configs/smoke.yaml", commit="c" * 40, rows_sha256="0" * 64, started=True, code=1))
    ran = quick(*SMOKE, *SETS, "--data", rows, "--yes")
    assert ran.returncode == 1
    assert f"whose checkpoints are in {quick.home}: preflight on the machine would refuse to mix them\n  fix: --fresh sets them aside" in ran.stderr
    assert account()["machines"] == {}


def test_rows_at_an_address_are_fetched_by_the_machine(quick, rows, tmp_path):
    (tmp_path / "site").mkdir()
    pack(list(rows.glob("*.jsonl")), tmp_path / "site/rows.zip", 1 << 30, silent)

    class Site(SimpleHTTPRequestHandler):
        def __init__(self, *words):
            super().__init__(*words, directory=tmp_path / "site")

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/rows.zip"
        ran = quick(*SMOKE, *SETS, "--data", address, "--yes")
        server.shutdown()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert trained_on(quick.home) == [address]
    assert not any("kit-in-rows" in line for line in (tmp_path / "google/log").read_text().splitlines() if "upload" in line)


def interrupted(typing, after, answer):
    """What is said once Ctrl-C was pressed after these words, and the question answered so."""
    typing.read(after)
    typing.type("\x03")
    typing.read("[Y/n]")
    typing.type(answer)
    return typing.read()


def test_ctrl_c_asks_and_the_machine_runs_on_or_stops(quick, rows):
    with quick.typed(*SMOKE, *SETS, "--data", rows, "--yes", STEP_SECONDS="60") as typing:
        said = interrupted(typing, "then training.", "n\n")
    assert typing.code == 130
    assert "was not stopped, and may run and cost. The same command goes on with it; or end it: colab stop -s sql-codegen-a100-" in said
    assert len(account()["machines"]) == 1
    with quick.typed(*SMOKE) as typing:
        typing.read("Going on with the run of commit")
        said = interrupted(typing, "units so far", "\n")
    assert typing.code == 130
    assert "The machine is stopped." in said
    assert account()["machines"] == {}
    assert "Traceback" not in typing.shown


def test_at_the_terminal_a_notebook_of_the_users_own_is_told_from_a_lost_machine(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("COLAB_STANDIN", str(tmp_path / "google"))
    change(faults={"new": "nameless"})
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=quick.clone, capture_output=True, text=True, check=True).stdout.strip()
    with pytest.raises(TroubleError):
        Colab(program=str(tmp_path / "bin/colab")).new("sql-codegen-a100-1-0", "A100")
    write_run(quick.folder, RunFile(config="axolotl_configs/smoke.yaml", commit=commit, arguments=tuple(SMOKE[:1]), session="sql-codegen-a100-1-0"))
    refused = quick(*SMOKE, "--yes")
    assert refused.returncode == 1
    assert refused.stdout.count("Still running: gpu-a100-s-") == 2, "at the start and at the end"
    assert (
        "a notebook in the browser, or a start whose answer was lost: stop it with: python -m preflight.remote --stop gpu-a100-s-" in refused.stdout
    )
    with quick.typed(*SMOKE) as typing:
        typing.read("a notebook of yours, so that another machine may be taken beside it? [y/N]")
        typing.type("y\n")
        typing.read()
    assert typing.code == 0, typing.shown
    assert [machine["unknown"] for machine in account()["machines"].values()] == [True]


def test_a_machine_that_can_not_be_stopped_is_the_last_thing_said_and_the_exit_code(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLAB_STANDIN", str(tmp_path / "google"))
    monkeypatch.setattr("tests.support.colab.ROOT", tmp_path / "google")
    make_account(tmp_path / "google", faults={"stop": ["network"] * 5})
    support.make_code(tmp_path)
    run = RunFile(config="tiny.yaml", commit="c" * 40, arguments=("tiny.yaml",))
    assert to_the_end(support.journey(tmp_path), run) == 1
    said, error = capsys.readouterr()
    assert f"At home: {tmp_path / 'run/home'}" in said
    assert error.startswith("remote: THE MACHINE MAY STILL RUN: sql-codegen-a100-")
    assert "\n  fix: colab stop -s sql-codegen-a100-" in error
    assert to_the_end(support.journey(tmp_path), read_run(tmp_path / "run")) == 0
    assert account()["machines"] == {}
