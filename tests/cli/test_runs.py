import json

import pytest

from preflight.cli.runs import main
from tests.support.run_folders import begun, evaluated, trained


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text("rows")
    return path


def said(capsys, root, *options):
    capsys.readouterr()
    assert main(["--workspace", str(root), *options]) == 0
    return capsys.readouterr().out


def test_the_table_and_the_verdict(tmp_path, capsys, rows, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    evaluated(trained(begun(tmp_path, "good"), machine="l4"), set(range(30)), rows)
    evaluated(trained(begun(tmp_path, "bad", learning_rate=0.01), machine="l4"), set(range(3)), rows)
    trained(begun(tmp_path, "lost", learning_rate=9.0), step=20, ended="diverged")
    shown = said(capsys, tmp_path)
    good = next(line for line in shown.splitlines() if line.startswith("good"))
    for part in ("finished", "40 of 40", "best 1.000 at 20, last 1.200", "30 of 40 (60 to 86%)", "1.00", "1.7", "0.17", "learning_rate 0.001"):
        assert part in good
    assert "diverged at step 20 of 40" in shown
    assert (
        "good answers better than bad, by more than chance\n  good alone right 27, bad alone right 0, of the same 40 questions: p = 1.5e-08" in shown
    )
    document = json.loads(said(capsys, tmp_path, "--json"))
    assert [one["name"] for one in document["runs"]] == ["bad", "good", "lost"]
    assert document["comparison"]["leader"] == "good"
    assert document["differing"] == ["learning_rate"]


def test_what_to_try_next_stands_below_the_table(tmp_path, capsys):
    losses = [{"step": 10 * (i + 1), "loss": 1.0 if i < 10 else 0.4} for i in range(30)]
    losses += [{"step": step, "eval_loss": loss} for step, loss in ((100, 1.0), (200, 1.1), (300, 1.2))]
    trained(begun(tmp_path, "one", num_epochs=3), machine="l4", step=300, max_steps=300, log=losses)
    shown = said(capsys, tmp_path)
    assert (
        "\nto try next, by what one has shown:\n  --set num_epochs=1: the loss on the validation rows rose from 1.000 at step 100 to 1.200" in shown
    )
    (found,) = json.loads(said(capsys, tmp_path, "--json"))["runs"][0]["suggestions"]
    assert (found["change"], found["hours"], found["compute_units"]) == ("--set num_epochs=1", pytest.approx(1 / 3), pytest.approx(0.57))
    trained(begun(tmp_path, "two", num_epochs=1), machine="l4")
    assert "to try next" not in said(capsys, tmp_path), "that is what two has tried"


def test_before_anything_ran(tmp_path, capsys):
    assert "No run in " in said(capsys, tmp_path)
    assert json.loads(said(capsys, tmp_path, "--json"))["runs"] == []


def test_names_and_values_from_outside_can_not_write_to_the_terminal(tmp_path, capsys):
    trained(begun(tmp_path, "a\x1b[2Jb \u202e<b>", seed="\x1b]0;title\x07"))
    trained(begun(tmp_path, "größer", seed="[bold]"))
    shown = said(capsys, tmp_path)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold]" in shown
    assert "\x1b" not in said(capsys, tmp_path, "--json")
