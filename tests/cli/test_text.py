import json
import re
from pathlib import Path

import pytest

from preflight.cli.console import show_findings
from preflight.cli.text import render_json, render_text
from preflight.findings import Finding
from preflight.launch.command import Command
from preflight.launch.stage import Launch
from preflight.machine.environment import Environment
from preflight.machine.gpu import GpuReading
from preflight.machine.host import Host
from preflight.machine.stage import Machine
from preflight.machine.workspace import find_workspace
from preflight.result import Report

ERROR = Finding(code="a.error", level="error", where="f.yaml:3 $.x", message="bad [/INST] value", fix="fix [it]")
WARNING = Finding(code="a.warning", level="warning", message="careful")
HERE = find_workspace(Path("/ws"), environ={})
MACHINE = Machine(workspace=HERE, gpus=GpuReading(reason="none"), environment=Environment(accelerate=None), host=Host())


def report(*findings, **records):
    return Report(findings=findings, machine=MACHINE, **records)


@pytest.mark.parametrize("width", [40, 80, 130])
def test_the_command_is_one_line_however_narrow_the_terminal(width):
    launch = Launch(config_path=Path("c.yaml"), commands=(Command(argv=("run", *["word"] * 60)),), written=True)
    assert render_text(report(launch=launch), "x", width, colour=False).splitlines()[-1] == launch.line


def test_markup_in_a_message_is_text():
    text = render_text(report(ERROR), "[x].yaml", 100, colour=False)
    assert "bad [/INST] value" in text
    assert "fix: fix [it]" in text
    assert "preflight [x].yaml" in text


def test_errors_come_first_and_are_counted():
    text = render_text(report(WARNING, ERROR, ERROR), "x", 100, colour=False)
    assert text.index("a.error") < text.index("a.warning")
    assert "2 errors: nothing to launch until they are fixed." in text


def test_findings_that_differ_in_their_places_alone_are_one_with_a_count(capsys):
    alike = [Finding(code="x.y", level="error", message="wrong", where=f"a.yaml:{line}", fix="right") for line in range(1, 21)]
    other = Finding(code="x.y", level="error", message="something else", where="a.yaml:3")
    text = render_text(report(*alike, other, other), "x", 100, colour=False)
    show_findings([*alike, other, other])
    for shown in (text, capsys.readouterr().out):
        assert shown.count("wrong") == 1
        assert "error x.y  a.yaml:1 and 19 more\n" in shown
        assert "error x.y  a.yaml:3 (2 times)\n" in shown
    assert "22 errors" in text
    assert len(json.loads(render_json(report(*alike)))["findings"]) == 20


def test_no_colour_means_no_escape_codes():
    assert "\x1b" not in render_text(report(ERROR), "x", 100, colour=False)
    assert "\x1b" in render_text(report(ERROR), "x", 100, colour=True)


def test_json_is_what_the_report_holds():
    plain = json.loads(render_json(report(ERROR)))
    assert plain["ok"] is False
    assert plain["findings"][0] == {"code": "a.error", "level": "error", "where": "f.yaml:3 $.x", "message": "bad [/INST] value", "fix": "fix [it]"}
    assert plain["workspace"]["root"] == "/ws"
    assert plain["plan"]["steps"] is None
    assert (plain["changes"], plain["command"], plain["config_path"]) == ([], [], "")


def test_names_and_rows_from_outside_give_the_terminal_no_orders(capsys):
    """An escape sequence in a file name, a row or a value could set the clipboard or hide a line."""
    evil = Finding(code="a.error", level="error", where="f\x1b[2J.yaml", message="\x1b]52;c;cm0gLXJm\x07", fix="a\u202eb")
    text = render_text(report(evil), "x\x1b[8m", 100, colour=False)
    assert not set(text) & set("\x1b\x07\u202e")
    assert "\\x1b]52;c;cm0gLXJm\\x07" in text
    show_findings([evil])
    assert not set(capsys.readouterr().out) & set("\x1b\x07\u202e")


def test_half_a_surrogate_pair_is_json_too():
    document = render_json(report(Finding(code="data.x", level="error", message="a \ud800 b")))
    assert json.loads(document.encode())["findings"][0]["message"] == "a \ud800 b"


def test_what_stopping_early_saves_is_said_as_a_range(preflight):
    saves = ("--set", "save_steps=25", "--set", "eval_steps=25")
    ran = preflight("--gpu", "l4", "--data", "sample_data", *saves, "--set", "early_stopping_patience=1")
    said = " ".join(ran.out.split())
    assert re.search(r"early stop from step 50 on, once .* says; saves 0 to \d+ min, 0\.0 to \d\.\d compute units", said), said
    plan = preflight("--gpu", "l4", "--data", "sample_data", *saves, "--set", "early_stopping_patience=1", "--json").json["plan"]
    assert plan["early_stop"]["from_step"] == 50
    assert plan["early_stop"]["hours_saved"]["low"] == 0 < plan["early_stop"]["hours_saved"]["high"] < plan["hours"]["high"]
