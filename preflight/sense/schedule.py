"""Warmup, learning rate, checkpoints and the choice of the best one."""

from collections.abc import Iterator

from preflight.config import Config
from preflight.findings import Finding
from preflight.sense.situation import Situation, finding

LARGEST_RATE = 0.05  # ten times the rate of the smoke run's tiny model, 250 times that of a 7B


def check_saving(config: Config, situation: Situation) -> Iterator[Finding]:
    """Checkpoints that are never written, or too few to fall back on."""
    values, steps = config.values, situation.steps
    if values.get("save_strategy") == "no" and not values.get("save_steps"):
        message = "save_strategy no: a disconnect loses the whole run"
        yield finding(config, "config.saves-never", "warning", "save_strategy", message, "save_strategy: steps and save_steps: 100")
    elif steps and values.get("save_strategy") != "best" and steps.saves == (steps.steps,) and steps.steps > 1:
        key = next((key for key in ("save_steps", "save_strategy", "saves_per_epoch") if values.get(key)), "save_steps")
        said = f"{key}: {values[key]}" if values.get(key) else "by default, at the end of each epoch"
        message = f"the run has {steps.steps:,} steps and nothing is saved before the last ({said}): a disconnect loses all of it"
        yield finding(config, "config.saves-never", "error", key, message, f"save_steps: {max(1, steps.steps // 10)}")
    if values.get("save_total_limit") == 1:
        message = "save_total_limit 1: if the newest checkpoint is half-written when the machine vanishes, there is no older one to go on from"
        if values.get("load_best_model_at_end"):
            message += " but the best, if that is another"
        yield finding(config, "config.one-checkpoint", "warning", "save_total_limit", message, "save_total_limit: 2")


def check_best_model(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.best-model-mismatch`: Axolotl turns load_best_model_at_end off in silence unless saves line up with evaluations."""
    values = config.values
    if not values.get("load_best_model_at_end"):
        return
    save, evaluate = values.get("save_steps"), values.get("eval_steps")
    if not values.get("test_datasets") and not values.get("val_set_size"):
        problem, fix = "there are no validation rows to choose by", "name them in test_datasets, or load_best_model_at_end: false"
    elif not save or not evaluate:
        problem, fix = "it needs both save_steps and eval_steps", "set both; save_steps a multiple of eval_steps"
    elif float(save) % float(evaluate):
        problem, fix = f"save_steps {save} is no multiple of eval_steps {evaluate}", f"eval_steps: {save}"
    else:
        return
    message = f"load_best_model_at_end: {problem}, and Axolotl then drops it in silence"
    yield finding(config, "config.best-model-mismatch", "error", "load_best_model_at_end", message, fix)


def check_schedule(config: Config, situation: Situation) -> Iterator[Finding]:
    """A warmup that never ends, and a learning rate that can't be meant."""
    steps = situation.steps
    if steps and steps.warmup >= steps.steps > 1:
        key = "warmup_steps" if config.values.get("warmup_steps") else "warmup_ratio"
        message = f"warmup of {steps.warmup:,} steps in a run of {steps.steps:,}: the learning rate never comes down"
        yield finding(config, "config.warmup-too-long", "error", key, message, "delete warmup_steps and write warmup_ratio: 0.03")
    rate = config.values.get("learning_rate")
    try:
        too_large = rate is not None and float(rate) >= LARGEST_RATE
    except (TypeError, ValueError):
        return  # schema.py says that it is no number
    if too_large:
        message = f"learning_rate {rate} destroys a model in a few steps"
        yield finding(config, "config.learning-rate", "warning", "learning_rate", message, "learning_rate: 0.0002, the plan's, for a 7B")
