"""A run on machines that break in every way that can be thought of, with a stand-in for Google's command."""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

from preflight.config.rates import read_rates
from preflight.remote.colab import Colab, LostError, RefusedError, RemoteError, TroubleError
from preflight.remote.journey import arrive, begun, travel
from preflight.remote.machines import MayRunError, give_back, still_running, stop, take
from preflight.remote.state import RUN, RunFile, read_run, write_run
from tests.conftest import CHECKOUT
from tests.support import laptop
from tests.support.colab import account, change, end_machines, make_account

SECRET = "hf_thisIsASecretOfTheTest"


def expected(steps=laptop.STEPS):
    weights = b"0" * 2500
    for _ in range(steps):
        weights = (hashlib.sha256(weights).hexdigest().encode() * 40)[:2500]
    return weights


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A laptop with code and rows, and an account with 600 units."""
    monkeypatch.setenv("COLAB_STANDIN", str(tmp_path / "google"))
    monkeypatch.setattr("tests.support.colab.ROOT", tmp_path / "google")
    make_account(tmp_path / "google")
    laptop.make_code(tmp_path)
    yield tmp_path
    end_machines(tmp_path / "google")


def start(place, **env):
    command = [sys.executable, "-m", "tests.support.laptop", str(place)]
    return subprocess.run(command, cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": str(CHECKOUT)} | env, capture_output=True, text=True, timeout=120)


def calls(place):
    return [json.loads(line) for line in (place / "google/log").read_text().splitlines()]


def assert_home(place):
    home = place / "run/home"
    assert (home / "adapter").read_bytes() == expected()
    assert (home / "checkpoint-3/weights").read_bytes() == expected()
    assert json.loads((home / "evaluation.json").read_text()) == {"right": 3}
    assert (home / "README.md").read_text() == "# The card\n"
    log = (home / "log").read_text()
    assert (home / "training.log").read_text() == "all that Axolotl printed"
    assert "from step" in log
    assert "rows " not in log or f"rows {hashlib.sha256((place / 'rows.zip').read_bytes()).hexdigest()}" in log
    assert account()["machines"] == {}, "a machine still runs"


def test_a_run_comes_home_and_its_secret_stays_in_memory(place):
    ran = start(place, HF_TOKEN=SECRET)
    assert ran.returncode == 0, ran.stderr
    assert_home(place)
    assert "A machine with NVIDIA A100 40 GB is here" in ran.stdout
    assert "The adapter is at home, verified." in ran.stdout
    assert "compute units: 600.00 before" in ran.stdout
    assert "token" in (place / "run/home/log").read_text().split("\n")[1]
    assert "no token" not in (place / "run/home/log").read_text()
    for path in place.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert read_rates(place)["a100-40gb"].per_hour == 5.4


def test_a_page_that_a_person_wrote_at_home_stays(place):
    (place / "run/home").mkdir(parents=True)
    (place / "run/home/README.md").write_text("# Mine\n")
    ran = start(place, HF_TOKEN=SECRET)
    assert ran.returncode == 0, ran.stderr
    assert (place / "run/home/README.md").read_text() == "# Mine\n"


CHANGES = ["new", "stop", "exec  answer('unpack'", "exec  answer('join'", "exec  answer('start'"]  # calls after which things are otherwise


@pytest.mark.parametrize(("when", "kinds"), [("kill-before", CHANGES), ("kill-after", [""])], ids=["before", "after"])
def test_the_laptop_may_die_at_each_kind_of_call(place, when, kinds):
    """After each kind; a death before a call is one after the call before it, so of those only the ones that matter most."""
    make_account(place / "google", kill_each=when, kill_kinds=kinds)
    ends = 0
    while (ran := start(place, HF_TOKEN=SECRET)).returncode == -9:
        ends += 1
        assert ends < 60
    assert ran.returncode == 0, ran.stderr
    assert_home(place)
    killed = account()["killed"]
    assert ends == len(killed)
    if kinds == CHANGES:
        assert len(killed) == len(CHANGES)
    else:
        assert {key.split()[0] for key in killed} == {"usage", "sessions", "new", "exec", "upload", "download", "stop"}
        assert {"sessions  after new", "sessions  after stop", "usage  after sessions"} <= set(killed), killed
    started = (place / "run/home/log").read_text().count("from step")
    assert started == 1, "the training was started once"


LINE = {"upload": "cut", "download": "short", "usage": "network", "exec": "network", "stop": "network", "new": "network"}


@pytest.mark.parametrize(
    "fault", [{"exec  answer('cut'": "lose"}, {"exec  answer('start'": "lose", "stop": "stays"}, LINE], ids=["midway", "at-start", "line"]
)
def test_what_breaks_on_the_way_is_gone_over_again(place, fault):
    make_account(place / "google", faults=fault)
    ran = start(place)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert_home(place)
    assert account()["faults"] == {}


@pytest.mark.parametrize(
    "fault", [{"exec  answer('look'": "network"}, {"exec  answer('look'": "network", "sessions": "network"}], ids=["look", "list"]
)
def test_a_machine_that_does_not_answer_at_first_is_not_taken_twice(place, fault):
    make_account(place / "google", faults=fault)
    trip = dataclasses.replace(laptop.journey(place), retry=1.1)  # more than a second: names hold the second that they were made in
    arrive(trip, travel(trip, RunFile(config="tiny.yaml", commit="c" * 40, arguments=("tiny.yaml",))))
    assert_home(place)
    assert [call[2] for call in calls(place)].count("new") == 1
    assert read_run(place / "run").machines == 1


def test_a_machine_that_vanishes_is_followed_by_one_of_another_kind_from_the_newest_checkpoint(place):
    said = []

    def say(text):
        said.append(text)
        if sum("at home" in one for one in said) == 1 and "at home" in text:
            change(faults={"exec": "lose"}, unavailable=["A100"])

    trip = dataclasses.replace(laptop.journey(place), say=say)
    run = travel(trip, RunFile(config="tiny.yaml", commit="c" * 40, arguments=("tiny.yaml",)))
    bill = arrive(trip, run)
    assert_home(place)
    assert run.machines == 2
    assert run.gpu == "l4"
    assert read_rates(place)["l4"].per_hour == 1.71, "each machine has its own rate"
    (first, *_) = [text.partition(" is at home")[0] for text in said if "at home" in text]
    assert f"{first} is on the machine again." in said
    assert "No A100 is to be had now." in said
    step = int(first.removeprefix("checkpoint-"))
    assert f"from step {step} " in (place / "run/home/log").read_text()
    assert json.loads((place / "run/home/history.json").read_text()) == [0, step], "the history goes on from machine to machine"
    assert bill.startswith("It cost ")


def test_a_checkpoint_that_was_put_at_home_is_gone_on_from(place):
    folder, weights = place / "run/home/checkpoint-2", expected(2)
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(weights)
    files = {"weights": [len(weights), hashlib.sha256(weights).hexdigest()]}
    (folder / "manifest.json").write_text(json.dumps({"step": 2, "max_steps": 3, "files": files, "experiment": {"run": 1}}))
    ran = start(place)
    assert "checkpoint-2 is on the machine again." in ran.stdout
    assert_home(place)
    assert "from step 2 " in (place / "run/home/log").read_text()


def test_another_gpu_than_was_asked_for_is_given_back(place):
    make_account(place / "google", gives={"A100": "T4"})
    ran = start(place)
    assert "Asked for A100, got Tesla T4: given back." in ran.stdout
    assert "A machine with NVIDIA L4 is here" in ran.stdout
    assert_home(place)


def begin(place, **changes):
    trip = dataclasses.replace(laptop.journey(place), **changes)
    return trip, RunFile(config="tiny.yaml", commit="c" * 40, arguments=("tiny.yaml",))


def trained(place):
    """A run whose results are all at home, and whose machine runs."""
    trip, run = begin(place)
    return trip, trip.keep(dataclasses.replace(take(trip, run), rate=5.4, code=0))


def test_without_units_or_machines_nothing_is_left_on(place):
    trip, run = begin(place)
    make_account(place / "google", balance=0.0)
    with pytest.raises(RemoteError, match="no compute units are left") as raised:
        travel(trip, run)
    assert "colab pay" in raised.value.fix
    make_account(place / "google", unavailable=["A100", "L4"])
    with pytest.raises(RemoteError, match="none of A100, L4 is to be had now"):
        travel(trip, run)
    assert account()["machines"] == {}


def test_a_network_that_stays_away_ends_in_a_sentence(place):
    trip, run = begin(place, patience=0.3)
    make_account(place / "google", faults={str(number): "network" for number in range(1, 100)})
    with pytest.raises(RemoteError, match="no way to the machine"):
        travel(trip, run)


def test_a_machine_whose_name_the_command_has_forgotten_is_stopped_and_followed_by_another(place):
    """The real command forgets a name at the first 401 or 404 of the machine, and gives nothing back."""
    trip, run = begin(place)
    make_account(place / "google", faults={"exec  answer('cut'": "prune"})
    said = []
    run = travel(dataclasses.replace(trip, say=said.append), run)
    arrive(trip, run)
    assert_home(place)
    assert run.machines == 2
    assert any(re.fullmatch(r"`colab` has forgotten the name of gpu-a100-s-\d+, which still runs: stopping it\.", text) for text in said)
    stops = [call[2:] for call in calls(place) if "stop" in call]
    assert stops[0] == ["stop", "-s", next(call[4] for call in calls(place) if call[2] == "new")]
    assert stops[1][0] == "--config", "by its endpoint, since the name is no longer known"


def test_a_machine_that_this_laptop_does_not_know_is_listed(place):
    trip, _ = begin(place)
    make_account(place / "google", faults={"new": "nameless"})
    with pytest.raises(TroubleError, match="RemoteDisconnected"):
        trip.colab.new("sql-codegen-a100-1", "A100")
    (one,) = still_running(trip.colab, None)
    assert one.name == "?"
    assert still_running(trip.colab, RunFile(config="", commit="", session="x", endpoint=one.endpoint)) == []
    trip.colab.stop("sql-codegen-a100-1")
    assert still_running(trip.colab, None), "the real command says of an unknown name that it is not found, and exits with 0"
    assert stop(trip.colab, place, "", one.endpoint)
    assert account()["machines"] == {}
    assert not list(place.glob(".sessions*"))


@pytest.mark.parametrize("fault", ["nameless", "nameless-kill"])
def test_an_answer_to_new_that_is_lost_never_leads_to_a_second_machine(place, fault):
    make_account(place / "google", faults={"new": fault})
    ran = start(place)
    if fault == "nameless-kill":
        assert ran.returncode == -9
        ran = start(place)
    for again in (ran, start(place)):
        assert again.returncode == 1
        assert "MayRunError: the answer to `colab new` was lost" in again.stderr
    trip, _ = begin(place)
    with pytest.raises(MayRunError, match=r"\(A100\).*it may take 5\.40 to 7\.52 units an hour. No other is taken") as raised:
        travel(trip, begun(trip.folder))
    (one,) = trip.colab.sessions()
    assert f"python -m preflight.remote --stop {one.endpoint} (or in Colab's web page: Manage sessions)" in raised.value.fix
    with pytest.raises(MayRunError):
        arrive(trip, begun(trip.folder))
    assert [call[2] for call in calls(place)].count("new") == 1
    assert len(account()["machines"]) == 1

    assert stop(trip.colab, place, "", one.endpoint)
    assert start(place).returncode == 0
    assert_home(place)


def test_a_notebook_of_the_user_is_no_reason_to_wait(place):
    make_account(place / "google", faults={"new": ["nameless", "network"]})
    trip, run = begin(place)
    with pytest.raises(TroubleError):
        trip.colab.new("a-notebook", "A100")
    with pytest.raises(TroubleError, match="Max retries exceeded"):
        take(trip, run)
    run = take(trip, begun(trip.folder))
    assert (run.machines, run.gpu) == (1, "a100-40gb")
    give_back(trip, run)
    assert list(account()["machines"]) == ["a-notebook"], "it is the user's, and runs on"


def test_a_machine_that_came_after_its_answer_was_lost_is_found_by_its_name(place):
    trip, run = begin(place)
    make_account(place / "google", faults={"sessions": ["", "network"], "new": "late"})
    for says in ("Aborted", "Max retries exceeded"):
        with pytest.raises(TroubleError, match=says):
            run = take(trip, begun(trip.folder) or run)
    run = take(trip, begun(trip.folder))
    assert run.endpoint == account()["machines"][run.session]["endpoint"]
    assert [call[2] for call in calls(place)].count("new") == 1
    give_back(trip, run)


def test_a_login_that_can_not_be_renewed_for_want_of_a_network_is_waited_for(place):
    trip, run = begin(place)
    make_account(place / "google", faults={"exec  answer('look'": ["", "", "logged-out"], "stop": "logged-out"})
    said = []
    arrive(trip, travel(dataclasses.replace(trip, say=said.append), run))
    assert_home(place)
    assert any(text.startswith("the `colab` command is not logged in to a Google account. Trying again") for text in said)


@pytest.mark.parametrize("fault", ["network", "logged-out", "stays"])
def test_a_stop_that_fails_is_tried_again_and_then_said(place, fault):
    trip, run = trained(place)
    change(faults={"stop": [fault] * (10 if fault == "stays" else 5)})  # one that stays is stopped by its endpoint too
    with pytest.raises(
        MayRunError, match=r"^THE MACHINE MAY STILL RUN: sql-codegen-a100-\S+ \(gpu-a100-s-\d+\); it takes 5\.40 units an hour"
    ) as raised:
        arrive(trip, run)
    assert f"colab stop -s {run.session}, then `colab sessions`" in raised.value.fix
    assert begun(trip.folder) == run, "the next start finds it"
    assert len(account()["machines"]) == 1
    change(faults={"stop": "network"})
    assert arrive(trip, travel(trip, begun(trip.folder))).startswith("It cost ")
    assert account()["machines"] == {}
    assert begun(trip.folder) is None


def test_what_it_cost_may_be_unknown_and_the_machine_is_stopped_all_the_same(place):
    trip, run = trained(place)
    change(faults={"usage": "network"})
    assert arrive(trip, run).startswith("What it cost is not known: `colab usage`: ")
    assert account()["machines"] == {}
    assert begun(trip.folder) is None


def test_what_the_command_says_is_told_apart(place, tmp_path):
    colab = Colab(program=laptop.journey(place).colab.program)
    with pytest.raises(LostError):
        colab.upload("nobody", place / "rows.zip", "x")
    make_account(place / "google", unavailable=["T4"])
    with pytest.raises(RefusedError):
        colab.new("sql-codegen-t4-1", "T4")
    make_account(place / "google", logged_in=False)
    for call in (colab.usage, colab.sessions):
        with pytest.raises(RemoteError, match="not logged in") as raised:
            call()
        assert "colab usage" in raised.value.fix
    old = tmp_path / "colab"
    old.write_text("#!/bin/sh\necho 'SyntaxError: invalid syntax' >&2\nexit 1\n")
    old.chmod(0o755)
    with pytest.raises(RemoteError, match=r"3\.12 or newer"):
        Colab(program=str(old)).usage()
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho 'Balance: many'\n")
    other.chmod(0o755)
    with pytest.raises(RemoteError, match="something else than version"):
        Colab(program=str(other)).usage()
    with pytest.raises(RemoteError, match="can't be run"):
        Colab(program=str(tmp_path / "none")).usage()


def test_code_that_fails_on_the_machine_is_no_answer(place):
    colab = laptop.journey(place).colab
    colab.new("sql-codegen-t4-1", "T4")
    with pytest.raises(TroubleError, match="gave no answer"):
        colab.ask("sql-codegen-t4-1", "no_such_function")
    colab.stop("sql-codegen-t4-1")


def test_the_file_of_a_run_is_whole_or_said_to_be_damaged(tmp_path):
    assert read_run(tmp_path) is None
    run = RunFile(config="a.yaml", commit="c", arguments=("a", "b"), session="s")
    write_run(tmp_path, run)
    assert read_run(tmp_path) == run
    assert begun(tmp_path) == run
    write_run(tmp_path, RunFile(config="a.yaml", commit="c", code=0))
    assert begun(tmp_path) is None
    (tmp_path / RUN).write_text("{")
    with pytest.raises(OSError, match="is damaged"):
        read_run(tmp_path)
