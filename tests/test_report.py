import json

import pytest

from preflight.findings import Finding, Report
from preflight.report import render_json, render_text

ERROR = Finding(code="a.error", level="error", where="f.yaml:3 $.x", message="bad [/INST] value", fix="mend [it]")
WARNING = Finding(code="a.warning", level="warning", message="careful")


@pytest.mark.parametrize("width", [40, 80, 130])
def test_the_command_is_one_line_however_narrow_the_terminal(width):
    report = Report(command=("run", *["word"] * 60), written=True)
    assert render_text(report, "x", width, colour=False).splitlines()[-1] == report.launch_line


def test_markup_in_a_message_is_text():
    text = render_text(Report(findings=(ERROR,)), "[x].yaml", 100, colour=False)
    assert "bad [/INST] value" in text
    assert "mend: mend [it]" in text
    assert "preflight [x].yaml" in text


def test_errors_come_first_and_are_counted():
    text = render_text(Report(findings=(WARNING, ERROR, ERROR)), "x", 100, colour=False)
    assert text.index("a.error") < text.index("a.warning")
    assert "2 errors: nothing to launch until they are mended." in text


def test_no_colour_means_no_escape_codes():
    report = Report(findings=(ERROR,))
    assert "\x1b" not in render_text(report, "x", 100, colour=False)
    assert "\x1b" in render_text(report, "x", 100, colour=True)


def test_json_is_what_the_report_holds():
    plain = json.loads(render_json(Report(findings=(ERROR,), changes=({"key": "a", "value": None, "layer": "t"},))))
    assert plain["ok"] is False
    assert plain["findings"][0] == {"code": "a.error", "level": "error", "where": "f.yaml:3 $.x", "message": "bad [/INST] value", "fix": "mend [it]"}
    assert plain["changes"] == [{"key": "a", "value": None, "layer": "t"}]
