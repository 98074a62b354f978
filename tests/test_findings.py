import re

from preflight.findings import Finding, Report
from tests.conftest import CHECKOUT


def test_docs_and_code_name_the_same_findings():
    code = "\n".join(path.read_text() for path in (CHECKOUT / "preflight").rglob("*.py"))
    used = set(re.findall(r'"((?:checkpoint|code|config|data|drive|gpu|hub|internal|packages|scale|tensorboard|workspace)\.[a-z-]+)"', code))
    table = (CHECKOUT / "docs" / "findings.md").read_text()
    documented = re.findall(r"^\| `([a-z.-]+)` \|", table, re.M)
    assert sorted(used - {"config.yaml", "config.json", "data.zip"}) == documented


def test_a_report_is_ok_until_a_finding_is_an_error():
    warning, error = (Finding(code="x.y", level=level, message="m") for level in ("warning", "error"))
    assert Report(findings=(warning,)).ok
    assert not Report(findings=(warning, error)).ok


def test_the_launch_line_is_shell():
    report = Report(environment={"A": "", "B": "x y"}, command=("run", "it's"))
    assert report.launch_line == """A= 'B=x y' run 'it'"'"'s'"""
