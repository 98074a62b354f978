"""Checkpoints, the choice of the best one, and the learning rate, as far as the values alone tell."""

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.config.checks.situation import Situation, finding
from preflight.config.layers import Config
from preflight.config.values import interval
from preflight.findings import Finding

LARGEST_RATE = 0.05  # ten times the rate of the smoke run's tiny model, 250 times that of a 7B


def check_saving(config: Config, situation: Situation) -> Iterator[Finding]:
    """Checkpoints that are never written, or too few to fall back on."""
    values = config.values
    if values.get("save_strategy") == "no" and not values.get("save_steps"):
        message = "save_strategy no: a disconnect loses the whole run"
        yield finding(config, "config.saves-never", "warning", "save_strategy", message, "save_strategy: steps and save_steps: 100")
    if values.get("save_total_limit") == 1:
        message = "save_total_limit 1: if the runtime is lost during a save, there is no earlier checkpoint to resume from"
        if values.get("load_best_model_at_end"):
            message += ", except the best one if that is another"
        yield finding(config, "config.one-checkpoint", "warning", "save_total_limit", message, "save_total_limit: 2")


def check_best_model(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.best-model-mismatch`: Axolotl turns load_best_model_at_end off in silence unless saves line up with evaluations."""
    values = config.values
    if not values.get("load_best_model_at_end"):
        return
    save, evaluate = interval(values, "save"), interval(values, "eval")
    if not values.get("test_datasets") and not values.get("val_set_size"):
        problem, fix = "there are no validation rows to choose by", "name them in test_datasets, or load_best_model_at_end: false"
    elif not save or not evaluate:
        problem = "it needs both save_steps and eval_steps, or saves_per_epoch and evals_per_epoch that are not once in the whole run"
        fix = "set both; save_steps a multiple of eval_steps"
    elif save % evaluate:
        said, other = _said(values, "save"), _said(values, "eval")
        problem, fix = f"{said} is no multiple of {other}", said.replace("save", "eval", 1).replace(" ", ": ")
    else:
        return
    message = f"load_best_model_at_end: {problem}, and Axolotl then silently ignores it"
    yield finding(config, "config.best-model-mismatch", "error", "load_best_model_at_end", message, fix)


def check_early_stopping(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.early-stopping`: a patience that would stop at the wrong moment, never, or end training with a traceback."""
    values, key = config.values, "early_stopping_patience"
    patience = values.get(key)
    if not isinstance(patience, int) or not patience:
        return
    save, evaluate = interval(values, "save"), interval(values, "eval")
    metric = str(values.get("metric_for_best_model") or "eval_loss")
    if patience < 0:
        problem, fix = "no evaluation can come before it", f"{key}: 3"
    elif not values.get("test_datasets") and not values.get("val_set_size"):
        problem, fix = "there are no validation rows whose loss could tell when", f"name them in test_datasets, or delete {key}"
    elif not save or not evaluate or save % evaluate:
        problem, fix = (
            "it needs save_steps that are a multiple of eval_steps",
            f"eval_steps: {int(save) if save >= 1 else 100} and save_steps: {int(save) if save >= 1 else 100}",
        )
    elif metric.removeprefix("eval_") != "loss":
        problem, fix = f"an evaluation gives no {metric}, and the trainer then stops for nothing, in silence", "metric_for_best_model: eval_loss"
    elif values.get("greater_is_better"):
        problem, fix = "with greater_is_better a loss that falls counts as worse: it stops while the model still learns", "greater_is_better: false"
    else:
        return
    yield finding(config, "config.early-stopping", "error", key, f"{key} {patience}: {problem}", fix)


def _said(values: Mapping[str, Any], kind: str) -> str:
    key = f"{kind}s_per_epoch" if values.get(f"{kind}s_per_epoch") else f"{kind}_steps"
    return f"{key} {values[key]}"


def check_learning_rate(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.learning-rate`: one that can't be meant."""
    rate = config.values.get("learning_rate")
    try:
        too_large = rate is not None and float(rate) >= LARGEST_RATE
    except (TypeError, ValueError):
        return  # schema.py says that it is no number
    if too_large:
        message = f"learning_rate {rate} destroys a model in a few steps"
        yield finding(config, "config.learning-rate", "warning", "learning_rate", message, "learning_rate: 0.0002, the plan's, for a 7B")
