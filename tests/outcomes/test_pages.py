"""The pages, in a real browser where there is one."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
from playwright.sync_api import sync_playwright

from preflight.cli.runs import main
from preflight.config.settings import read_settings
from preflight.machine.workspace import find_workspace
from preflight.outcomes.markup import figure, label, text
from preflight.outcomes.pages import write_pages
from preflight.outcomes.table import gather
from preflight.plan import estimate
from preflight.training.evaluation.execution import Asked
from tests.support.run_folders import begun, evaluated, trained

SETTINGS, _ = read_settings()
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
EVIL = "<img src=x onerror=window.owned=1><script>window.owned=1</script></script><!--"
NAME = "größer <b>1 \x1b[31m\u202e"


def written(root, **more):
    """A workspace with two runs, one of which has hostile text in everything that comes from outside, and its pages."""
    rows = root / "rows"
    rows.write_text("rows")
    asked = [
        Asked(line=n + 1, question=f"CREATE TABLE t (id int);\n\n{EVIL} {n}", expected=f"SELECT {n} FROM a JOIN b USING (id)") for n in range(20)
    ]
    one = evaluated(trained(begun(root, "calm"), machine="l4"), set(range(12)), rows, asked)
    other = evaluated(trained(begun(root, NAME, learning_rate=EVIL), machine=EVIL), set(range(3)), rows, asked)
    for run in (one, other):
        lengths = SimpleNamespace(train=[SimpleNamespace(path=SimpleNamespace(name=f"{EVIL}.jsonl"), histogram=((128, 90), (256, 10)))])
        estimate.write_estimate(run.folder, None, lengths)
    other.config.write_text(f"learning_rate: '{EVIL}'\n")
    workspace = find_workspace(root)
    return write_pages(gather(workspace, SETTINGS), workspace, SETTINGS), one.folder / "page.html", other.folder / "page.html"


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium on the PATH")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("width", [1100, 390])
def test_every_figure_is_there_and_nothing_of_the_rows_runs(browser, tmp_path, width):
    index, calm, evil = written(tmp_path)
    for path, figures in ((index, 2), (calm, 4), (evil, 4)):
        said, asked = list[str](), list[str]()
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-drawn]", state="attached")
        assert said == []
        assert [address for address in asked if not address.startswith(("file:", "blob:", "data:"))] == [], "no network"
        assert page.evaluate("[...document.querySelectorAll('.figure')].filter(figure => figure.querySelector('svg.main-svg')).length") == figures
        assert page.evaluate("document.querySelectorAll('.figure').length") == figures
        assert page.evaluate("window.owned") is None
        assert page.evaluate("document.querySelectorAll('img').length") == 0
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, "a phone scrolls down, not to the side"
        if path == evil:
            assert EVIL in page.inner_text("body"), "it is shown"
        if path == index:
            page.click("a:has-text('größer')")
            page.wait_for_url("**/page.html")
            assert page.inner_text("h1") == NAME.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
            page.click("text=All runs")
            page.wait_for_url("**/index.html")
            assert page.inner_text("h1") == "Runs"
        page.close()


def test_a_page_says_what_the_run_reached_and_cost(tmp_path):
    run = trained(begun(tmp_path, "one"), machine="l4", seconds=7200)
    (run.folder / estimate.FILE).write_text(json.dumps({"hours": [1.5, 2.5], "usd": ["x"]}))
    workspace = find_workspace(tmp_path)
    write_pages(gather(workspace, SETTINGS), workspace, SETTINGS)
    said = (run.folder / "page.html").read_text()
    assert "2.00; the estimate was 1.50 to 2.50" in said
    assert "<td>0.34</td>" in said
    assert "learning_rate: 0.001" in said, "the YAML"
    assert len(said) < 2_500_000, "one file, with the library"


def test_only_the_run_that_was_evaluated_is_written_anew(tmp_path):
    _, calm, evil = written(tmp_path)
    calm.unlink()
    evil.unlink()
    workspace = find_workspace(tmp_path)
    write_pages(gather(workspace, SETTINGS), workspace, SETTINGS, ["calm"])
    assert (calm.exists(), evil.exists()) == (True, False)


def test_text_of_a_figure_is_no_markup():
    assert label("<a href='x'>1</a>") == "&lt;a href='x'&gt;1&lt;/a&gt;"
    assert "<script>alert" not in figure("x", [{"name": "</script><script>alert(1)"}])
    assert text("a\x07\u200fb\ud800") == "a\\x07\\u200fb\\ud800"


def test_pages_before_anything_ran_and_on_a_disk_that_takes_none(tmp_path, capsys):
    assert main(["--workspace", str(tmp_path), "--page"]) == 0
    assert "No run in" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    run = trained(begun(tmp_path, "one"))
    (run.folder / "page.html").mkdir()
    assert main(["--workspace", str(tmp_path), "--page"]) == 1
    assert re.search("no page: .*: Is a directory", capsys.readouterr().err)
    assert main(["--workspace", str(tmp_path)]) == 0
