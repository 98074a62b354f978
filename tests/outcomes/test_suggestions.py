"""What is suggested after a run. The histories in tests/examples/runs are the losses of real runs of the smoke model, 2026-11-27: `short` is
`--set max_steps=90`, `heart` 30 epochs of 60 rows, `whole` the smoke run itself. A real run that diverges is in tests/acceptance/test_runs.py, one that trains on its
prompts in test_smoke_run.py; nothing short makes a model run on or be wrong by order alone."""

import json

import pytest

from preflight.config.settings import read_settings
from preflight.data.prompt_strategies import find_strategy
from preflight.files import copy
from preflight.machine.run_folder import HISTORY
from preflight.machine.workspace import find_workspace
from preflight.outcomes.suggestions import NOISE, RULES, suggest
from preflight.outcomes.table import gather
from preflight.plan import estimate
from preflight.training.evaluation import result
from preflight.training.evaluation.against import read_asked
from preflight.training.evaluation.execution import judge_answers
from tests.conftest import CHECKOUT
from tests.support.run_folders import begun, evaluated, trained

SETTINGS, _ = read_settings()
FLAT = [0.5] * 30


def suggested(root, name="one"):
    """(change, reason, cost) of each suggestion after a run."""
    runs = gather(find_workspace(root), SETTINGS)
    one = next(one for one in runs.outcomes if one.name == name)
    return [(this.change, this.because, this.cost) for this in suggest(one, runs, SETTINGS)]


def log(train, *evals, every=10):
    """A trainer's log: a loss of training each tenth step, and (step, loss) of each evaluation."""
    logged = [{"step": every * (i + 1), "loss": loss} for i, loss in enumerate(train)]
    return [{"step": 0, "eval_loss": 3.0}, *logged, *({"step": step, "eval_loss": loss} for step, loss in evals)]


def ran(root, losses, *, name="one", ended="finished", machine="l4", **experiment):
    last = max(entry["step"] for entry in losses)
    return trained(begun(root, name, **{"num_epochs": 3, **experiment}), step=last, max_steps=last, log=losses, ended=ended, machine=machine)


def recorded(root, name, **experiment):
    """A run folder with the history of a real run."""
    held = json.loads((CHECKOUT / f"tests/examples/runs/{name}/{HISTORY}").read_text())
    run = trained(begun(root, name, **experiment), step=held["step"], max_steps=held["max_steps"], log=held["log"])
    copy(CHECKOUT / f"tests/examples/runs/{name}/{HISTORY}", run.outputs / HISTORY)
    return run


def test_a_run_that_was_too_short(tmp_path):
    recorded(tmp_path, "short", max_steps=90, num_epochs=2)
    ((change, because, cost),) = suggested(tmp_path, "short")
    assert change == "--set max_steps=135"
    assert because.startswith("both losses were still falling at the end: that of training by ")
    assert cost.startswith("About 0.0")


def test_a_run_that_learnt_its_rows_by_heart(tmp_path):
    run = recorded(tmp_path, "heart", num_epochs=30)
    ((change, because, _),) = suggested(tmp_path, "heart")
    evals = {entry["eval_loss"]: entry["step"] for entry in json.loads((run.outputs / HISTORY).read_text())["log"] if "eval_loss" in entry}
    assert f"rose from {min(evals):.3f} at step {evals[min(evals)]}" in because
    assert "as when rows are learnt by heart" in because
    epochs = float(change.partition("--set num_epochs=")[2])
    assert 0.5 <= epochs < 30


def test_a_whole_run_of_the_sample_is_neither(tmp_path):
    """Its last evaluation is the best, by less than noise."""
    recorded(tmp_path, "whole", num_epochs=2)
    assert suggested(tmp_path, "whole") == []


def test_what_a_shorter_run_costs_is_its_share_of_this_ones(tmp_path):
    losses = log([1.0] * 10 + [0.4] * 20, (100, 1.0), (200, 1.1), (300, 1.2))
    ran(tmp_path, losses)
    ((change, _, cost),) = suggested(tmp_path)
    assert (change, cost) == ("--set num_epochs=1", "About 0.33 h and 0.6 units; this run took 1.00 h and 1.7 units")


@pytest.mark.parametrize(
    ("experiment", "best", "change"),
    [({"max_steps": 300}, 100, "max_steps=100"), ({"num_epochs": 1}, 200, "num_epochs=0.5"), ({"num_epochs": 0.5}, 200, "early_stopping_patience=1")],
)
def test_no_further_than_to_the_lowest_loss(tmp_path, experiment, best, change):
    evals = [(step, 1.0 if step == best else 1.3) for step in (100, 200, 300)]
    ran(tmp_path, log([1.0] * (best // 10) + [0.4] * (30 - best // 10), *evals), **experiment)
    assert [said[0] for said in suggested(tmp_path)] == [f"--set {change}"]


@pytest.mark.parametrize(
    "losses",
    [
        log([1.0] * 10 + [0.4] * 20, (100, 1.0), (200, 1.0), (300, 1.0 + 0.9 * NOISE)),  # within noise
        log(FLAT, (100, 1.0), (200, 1.1), (300, 1.2)),  # training's did not fall: it is no memory
        log([1.0] * 10 + [0.4] * 20, (300, 1.2)),  # one evaluation
        log([], (100, 1.0), (300, 1.2)),
        log(FLAT, (100, 1.0), (200, 0.9), (300, 0.8)),  # training's did not fall: not unfinished either
        log([1.0 - i / 60 for i in range(30)], (100, 1.0), (300, 1.0 - 0.9 * NOISE)),
        log([1.0 - i / 60 for i in range(30)]),
        log([1.0, 0.1] * 14 + [1.0, 0.0], (100, 1.0), (300, 0.8)),  # up and down by more than it falls
    ],
)
def test_what_can_be_noise_says_nothing(tmp_path, losses):
    ran(tmp_path, losses)
    assert suggested(tmp_path) == []


def test_a_run_that_diverged(tmp_path):
    run = ran(tmp_path, log([2.0, 9.0]), ended="diverged", learning_rate=0.3)
    assert suggested(tmp_path) == [
        (
            "--set learning_rate=0.03",
            "it diverged at step 20 of 20, with a learning rate of 0.3",
            "What it costs is not known: nothing was measured, and no estimate was kept",
        )
    ]
    (run.folder / estimate.FILE).write_text(json.dumps({"hours": [8, 12], "compute_units": [80, 120]}))
    assert suggested(tmp_path)[0][2] == "80.0 to 120.0 units, by the estimate"


def changed(run, **values):
    """What the evaluation has measured, otherwise."""
    held = json.loads((run.folder / result.FILE).read_text())
    (run.folder / result.FILE).write_text(json.dumps(held | values))


@pytest.fixture
def judged(tmp_path):
    """A run without a fault that was evaluated."""
    (tmp_path / "rows").write_text("rows")
    entries = {name: [{"type": "completion", "field": "text"}] for name in ("datasets", "test_datasets")}
    return evaluated(ran(tmp_path, log(FLAT, (150, 1.0), (300, 1.0)), sequence_len=512, **entries), set(range(40)), tmp_path / "rows")


def test_answers_that_are_right_but_for_their_order(judged, tmp_path):
    """Those of the sample with the ORDER BY left out, as PostgreSQL judges them."""
    asked = read_asked(CHECKOUT / "sample_data/test_postgres.jsonl", find_strategy({"type": "completion", "field": "text"}, {}))
    ordered = [one for one in asked if " ORDER BY " in one.expected and not one.expected.endswith(("ONLY;", "DESC;")) and "LIMIT" not in one.expected]
    given = [one.expected.partition(" ORDER BY ")[0] + ";" for one in ordered]
    figures, _ = judge_answers(ordered, {"adapter": given})
    wrong = figures["adapter"].causes["other order"]
    assert wrong >= 5
    assert suggested(tmp_path) == []
    held = json.loads((judged.folder / result.FILE).read_text())
    held["executed"]["adapter"] |= {"causes": figures["adapter"].causes, "questions": 100}
    changed(judged, **held)
    ((change, because, _),) = suggested(tmp_path)
    assert (change, because) == ("--set num_epochs=5", f"{wrong} of 100 answers give the right rows in another order than the one that is asked for")
    held["executed"]["adapter"]["causes"] = {"other order": 1}
    changed(judged, **held)
    assert suggested(tmp_path) == [], "one in a hundred can be chance"


def test_answers_that_never_end_where_rows_were_cut(judged, tmp_path):
    rows = {"rows": {"train.jsonl": [[512, 900], [1024, 70], [2048, 30]]}}
    (judged.folder / estimate.FILE).write_text(json.dumps(rows))
    assert suggested(tmp_path) == []
    changed(judged, cut={"base": 40, "adapter": 10})
    ((change, because, _),) = suggested(tmp_path)
    assert change == "--set sequence_len=2048"
    assert because.startswith("10 of 40 answers ran on to their limit, and 100 of 1,000 training rows are longer than sequence_len 512")
    (judged.folder / estimate.FILE).write_text(json.dumps({"rows": {"train.jsonl": [[512, 1000]]}}))
    assert suggested(tmp_path) == [], "no row was cut: it is not that"


def test_loss_on_what_is_no_answer(judged, tmp_path):
    changed(judged, prompt_share=0.38)
    ((change, because, _),) = suggested(tmp_path)
    assert change == "--set datasets.0.type=preflight.answer_only --set test_datasets.0.type=preflight.answer_only"
    assert because == "38% of the tokens that have loss are schema and question, not answer"
    changed(judged, prompt_share=0.2)
    assert suggested(tmp_path) == []
    changed(judged, prompt_share=0.38)
    only = {name: [{"type": "preflight.answer_only", "field": "text"}] for name in ("datasets", "test_datasets")}
    ran(tmp_path, log(FLAT), name="two", sequence_len=512, **only)
    assert suggested(tmp_path) == [], "two has tried it"


def test_loss_on_the_inputs_of_other_rows(tmp_path):
    (tmp_path / "rows").write_text("rows")
    entries = {"datasets": [{"type": "alpaca"}]}
    run = evaluated(ran(tmp_path, log(FLAT, (150, 1.0), (300, 1.0)), train_on_inputs=True, **entries), set(range(40)), tmp_path / "rows")
    changed(run, prompt_share=0.5)
    assert [said[0] for said in suggested(tmp_path)] == ["--set train_on_inputs=false"]


def test_what_another_run_has_tried_is_not_suggested(tmp_path):
    losses = log([1.0] * 10 + [0.4] * 20, (100, 1.0), (200, 1.1), (300, 1.2))
    ran(tmp_path, losses)
    ran(tmp_path, log(FLAT), name="two", num_epochs=1)
    assert suggested(tmp_path) == []


def test_at_most_three_and_none_of_a_run_that_goes_on(judged, tmp_path):
    assert len(RULES) > 3
    trained(judged, step=10, max_steps=300, ended="", log=log([1.0]))
    assert suggested(tmp_path) == []


@pytest.mark.parametrize(
    "values", [{"cut": 7}, {"cut": {"adapter": "x"}}, {"prompt_share": "much"}, {"prompt_share": True}, {"questions": "many", "cut": {"adapter": 9}}]
)
def test_a_result_that_holds_something_else_is_passed_over(judged, tmp_path, values):
    changed(judged, **values)
    (judged.folder / estimate.FILE).write_text('{"rows": [1], "hours": 3}')
    assert all(change for change, _, _ in suggested(tmp_path))
