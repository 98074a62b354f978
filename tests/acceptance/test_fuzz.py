"""A short pass of `make fuzz`, and that it sees what it looks for."""

import json
import sys

import pytest

from preflight.checkpoints import manifest
from tests.acceptance.fuzz import Case, judge, taken_for_whole, unlike_its_design
from tests.checkpoints.test_verify import checkpoint, final
from tests.conftest import CHECKOUT, environment, run


def fuzz(*arguments):
    return run(sys.executable, "-m", "tests.acceptance.fuzz", *arguments, env=environment() | {"PYTHONPATH": str(CHECKOUT)})


def test_mutated_inputs_end_as_designed(tmp_path):
    ran = fuzz("--cases", "180", "--seed", "1", "--kept", tmp_path)
    assert ran.code == 0, ran.out
    assert ran.out.splitlines()[-1] == "180 cases (60 configs, 60 checkpoints, 60 rows), seed 1: 0 kinds fell"
    assert list(tmp_path.iterdir()) == []


def test_a_case_can_be_run_again_alone(tmp_path):
    ran = fuzz("--seed", "7", "--case", "3", "--only", "rows", "--seconds", "60", "--kept", tmp_path)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "1 cases (1 rows), seed 7: 0 kinds fell")


DOCUMENT = json.dumps({"ok": True, "findings": []})
CRASHED = json.dumps({"ok": False, "findings": [{"code": "internal.crash", "where": "preflight.x"}]})


@pytest.mark.parametrize(
    ("code", "out", "err", "says"),
    [
        (0, DOCUMENT, "", ""),
        (2, "", "usage: ...", ""),
        (2, "", "", "without a word"),
        (1, DOCUMENT, "", "exit code 1"),
        (3, DOCUMENT, "", "exit code 3"),
        (3, CRASHED, "", "internal.crash in preflight.x"),
        (0, DOCUMENT, "Traceback (most recent call last)", "Traceback"),
        (0, "NaN", "", "no JSON"),
        (0, "", "", "no JSON"),
    ],
)
def test_what_is_not_its_design_is_seen(code, out, err, says):
    fell = unlike_its_design(code, out, err)
    assert bool(fell) == bool(says)
    assert says in fell


def test_a_hang_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.acceptance.fuzz.SECONDS", 0.2)

    def forever():
        while True:
            pass

    assert judge(Case([], before=forever), tmp_path).startswith("over 0.2 s, in test_fuzz.py:")


def test_damage_that_is_taken_for_whole_is_seen(tmp_path):
    """Were the weights of a checkpoint that nothing is wrong with the damaged ones."""
    one = checkpoint(tmp_path, 100)
    final(tmp_path, 100)
    assert taken_for_whole(tmp_path, set()) == ""
    assert (
        taken_for_whole(tmp_path, {one / "adapter_model.safetensors"})
        == "checkpoint-100 is taken for whole, and adapter_model.safetensors was changed"
    )
    assert taken_for_whole(tmp_path, {tmp_path / "adapter_model.safetensors"}).startswith("the run is taken for finished")
    assert taken_for_whole(tmp_path, {one / "adapter_model.safetensors", one / manifest.NAME}) == "", "it is another manifest"
    (one / "adapter_model.safetensors").write_bytes(b"")
    assert taken_for_whole(tmp_path, {one / "adapter_model.safetensors"}) == ""
