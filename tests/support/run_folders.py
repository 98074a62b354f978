"""Run folders as training and evaluation leave them, without either: each file written by the kit's own writer."""

import json
from pathlib import Path

from preflight.checkpoints import manifest, mirror
from preflight.checkpoints.history import History, Session, write_history
from preflight.checkpoints.mirror import MirrorSettings
from preflight.machine.run_folder import RunFolder
from preflight.postgres.judge import Judgement
from preflight.training.evaluation import result
from preflight.training.evaluation.answers import Answers, Question
from preflight.training.evaluation.execution import Asked, summarise

LOG = [
    {"step": 0, "eval_loss": 3.0},
    {"step": 10, "loss": 2.0},
    {"step": 20, "eval_loss": 1.0},
    {"step": 40, "loss": 0.4},
    {"step": 40, "eval_loss": 1.2},
]
ASKED = [
    Asked(line=n + 1, question=f"CREATE TABLE boats (id int);\n\nNumber {n}?", expected=f"SELECT id FROM boats WHERE id = {n}") for n in range(40)
]


def begun(root: Path, name: str, to: str = "", **experiment) -> RunFolder:
    """A run of which the YAML is written and nothing else."""
    run = RunFolder(folder=root / "runs" / name)
    run.outputs.mkdir(parents=True)
    run.config.write_text("adapter: qlora\nlearning_rate: 0.001\n")
    mirror.write_settings(run.folder, MirrorSettings(to=to, experiment={"learning_rate": 0.001} | experiment))
    return run


def trained(
    run: RunFolder, *, step=40, max_steps=40, ended="finished", machine="l4", seconds=3600.0, log=LOG, sessions=1, adapter=b"weights"
) -> RunFolder:
    """Trained up to a step: a checkpoint, the history, and, if it is the last step, the adapter."""
    experiment = mirror.read_settings(run.folder).experiment
    each = Session(machine=machine, begun="2026-11-26 10:00", seconds=seconds / sessions, first_step=0, last_step=step)
    write_history(run.outputs, History(name=run.folder.name, step=step, max_steps=max_steps, ended=ended, sessions=(each,) * sessions, log=log))
    if ended != "diverged":
        described(run.outputs / f"checkpoint-{step}", experiment, step, max_steps, adapter, log)
    if ended == "finished":
        described(run.outputs, experiment, step, max_steps, adapter, None)
    return run


def described(folder: Path, experiment, step, max_steps, adapter, log, best=0) -> None:
    """The files of an adapter with their manifest, and the trainer's state with those of a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(adapter)
    if log is not None:
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": max_steps, "log_history": list(log)}))
    found = manifest.describe(folder, subfolders=log is not None, step=step, max_steps=max_steps, best_step=best, experiment=experiment)
    manifest.write(folder, found)


def evaluated(run: RunFolder, right: set[int], rows: Path, asked=ASKED) -> RunFolder:
    """Evaluated, with the answers to these questions right and all others wrong."""
    given = [one.expected if i in right else "SELECT <b>1</b>" for i, one in enumerate(asked)]
    found = [Judgement(verdict="right") if i in right else Judgement(verdict="wrong", cause="other rows") for i in range(len(asked))]
    base = summarise(asked, ["no"] * len(asked), [Judgement(verdict="wrong", cause="does not parse")] * len(asked))
    questions = [Question(tokens=(1,), answer=one.expected, question=one.question, line=one.line) for one in asked]
    answers = Answers(questions=questions, base=["no"] * len(asked), adapter=given)
    state = {"global_step": 40, "log_history": LOG}
    figures = {"base": base, "adapter": summarise(asked, given, found)}
    measured = result.summarise(answers, state, run.outputs, figures, "", len(asked), rows)
    (run.folder / result.FILE).write_text(result.as_text(measured))
    return run
