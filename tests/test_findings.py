import re
import sys

import pytest

from preflight.findings import Diagnostics, Finding
from preflight.launch.command import shell_line
from tests.cli.test_text import report
from tests.conftest import CHECKOUT, run

OK, WARNING, ERROR = (Finding(code="x.y", level=level, message="m") for level in ("ok", "warning", "error"))


def test_docs_and_code_name_the_same_findings():
    code = "\n".join(path.read_text() for path in (CHECKOUT / "preflight").rglob("*.py"))
    used = set(re.findall(r'"((?:checkpoint|code|config|data|drive|gpu|hub|internal|packages|run|scale|tensorboard|workspace)\.[a-z-]+)"', code))
    table = (CHECKOUT / "docs" / "findings.md").read_text()
    documented = re.findall(r"^\| `([a-z.-]+)` \|", table, re.M)
    assert sorted(used - {"config.yaml", "config.json", "data.zip", "data.pkl", "tensorboard.exe"}) == documented


def test_a_report_is_ok_until_a_finding_is_an_error():
    assert report(WARNING).ok
    assert not report(WARNING, ERROR).ok


@pytest.mark.parametrize(("writes", "findings", "may"), [(True, (OK, WARNING), True), (True, (WARNING, ERROR), False), (False, (OK,), False)])
def test_a_stage_may_write_unless_this_is_a_plan_or_an_error_was_found(writes, findings, may):
    diagnostics = Diagnostics(writes=writes)
    diagnostics.add(*findings)
    assert diagnostics.may_write == may


def test_a_step_that_crashes_is_a_finding_and_the_others_still_run(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    diagnostics = Diagnostics()
    assert diagnostics.take("default", lambda: 1 / 0) == "default"
    diagnostics.check(lambda: [WARNING])
    assert [finding.code for finding in diagnostics.findings] == ["internal.crash", "x.y"]
    (log,) = tmp_path.iterdir()
    assert "ZeroDivisionError" in log.read_text()
    assert str(log) in diagnostics.findings[0].fix


def test_a_launch_line_is_shell():
    assert shell_line({"A": "", "B": "x y"}, ("run", "it's")) == """A= B='x y' run 'it'"'"'s'"""


def test_a_shell_takes_a_variable_with_a_blank_for_a_variable():
    line = shell_line({"PYTHONPATH": "/a kit/x"}, (sys.executable, "-c", "import os; print(os.environ['PYTHONPATH'])"))
    assert run("bash", "-c", line).out == "/a kit/x\n"
