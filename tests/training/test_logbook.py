"""The history that training writes, by the trainer's own early stopping and its own records of state and control."""

from types import SimpleNamespace

import pytest
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState

from preflight.checkpoints.history import read_history
from preflight.training.plugin.divergence import Divergence
from preflight.training.plugin.logbook import Logbook

ARGS = SimpleNamespace(load_best_model_at_end=True, metric_for_best_model="eval_loss", greater_is_better=False, eval_strategy="steps")


def session(outputs, losses, max_steps=100, diverged=False, begin=0):
    """A session of an evaluation every ten steps: the history that it leaves."""
    state, control = TrainerState(max_steps=max_steps, global_step=begin, is_world_process_zero=True), TrainerControl()
    stopping, divergence = EarlyStoppingCallback(2), Divergence()
    logbook = Logbook(outputs, {"machine": "l4"}, divergence)
    logbook.on_train_begin(ARGS, state, control)
    for loss in losses:
        state.global_step += 10
        control.should_training_stop = state.global_step >= max_steps
        logbook.on_step_end(ARGS, state, control)
        state.log_history.append({"step": state.global_step, "eval_loss": loss})
        stopping.on_evaluate(ARGS, state, control, {"eval_loss": loss})
        logbook.on_evaluate(ARGS, state, control)
        state.best_metric = min(loss, state.best_metric or loss)
        logbook.on_save(ARGS, state, control)
        if control.should_training_stop:
            break
    divergence.last_word = "ended" if diverged else ""
    logbook.finish()
    return read_history(outputs)


@pytest.mark.parametrize(
    ("losses", "more", "ended", "step"),
    [
        ([3, 2, 1], {"max_steps": 30}, "finished", 30),
        ([3, 2, 2.1, 2.2, 1], {}, "stopped early", 40),
        ([3, 2, 2.1, 1.9, 2.5], {}, "", 50),
        ([3, 2, 2.1, 2.2], {"max_steps": 40}, "finished", 40),
        ([3, float("nan")], {"diverged": True}, "diverged", 20),
    ],
)
def test_how_it_ended(tmp_path, losses, more, ended, step):
    history = session(tmp_path / "one", losses, **more)
    assert (history.name, history.ended, history.step) == (tmp_path.name, ended, step)
    assert [entry["step"] for entry in history.log] == list(range(10, step + 1, 10))


def test_a_second_session_comes_after_the_first(tmp_path):
    session(tmp_path / "one", [3, 2])
    history = session(tmp_path / "one", [2.5], begin=20)
    assert [(one.machine, one.first_step, one.last_step) for one in history.sessions] == [("l4", 0, 20), ("l4", 20, 30)]
    assert all(one.seconds > 0 for one in history.sessions)


def test_a_disk_that_is_full_stops_no_training(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    session_of = tmp_path / "file/outputs"
    assert session(session_of, [3]) is None
    assert "can't be written" in caplog.text
