"""What is wrong with a run once its steps are known. Each check is a pure function. One for every run gets a line in CHECKS; what only
matters where a GPU waits is called by plan/stage.py."""

from collections.abc import Callable

from preflight.config.layers import Config
from preflight.config.values import sequence_len, step_size, whole_number, world_size
from preflight.data.audit import DatasetLengths
from preflight.findings import Finding
from preflight.plan.cost import earliest_stop, evaluation_interval
from preflight.plan.steps import Steps, count_batches, eval_batch_size, plan_steps, split_off, trained_order
from preflight.plan.throughput import Pace

LONG = 30  # minutes of work between two saves that a disconnect may cost
PLAN_EXAMPLES = 16  # in an optimizer step of the plan: 4 rows x 4


def check_saving(config: Config, steps: Steps) -> list[Finding]:
    """`config.saves-never`: no checkpoint before the last step."""
    values = config.values
    if values.get("save_strategy") in ("no", "best") or steps.saves != (steps.steps,) or steps.steps <= 1:
        return []
    key = next((key for key in ("save_steps", "save_strategy", "saves_per_epoch") if values.get(key)), "save_steps")
    said = f"{key}: {values[key]}" if values.get(key) else "by default, at the end of each epoch"
    message = f"the run has {steps.steps:,} steps and nothing is saved before the last ({said}): a disconnect loses all of it"
    fix = f"save_steps: {max(1, steps.steps // 10)}"
    return [Finding(code="config.saves-never", level="error", where=config.where(key), message=message, fix=fix)]


def check_warmup(config: Config, steps: Steps) -> list[Finding]:
    """`config.warmup-too-long`: a warmup that never ends."""
    if not steps.warmup >= steps.steps > 1:
        return []
    key = "warmup_steps" if config.values.get("warmup_steps") else "warmup_ratio"
    message = f"warmup of {steps.warmup:,} steps in a run of {steps.steps:,}: the learning rate never comes down"
    fix = "delete warmup_steps and write warmup_ratio: 0.03"
    return [Finding(code="config.warmup-too-long", level="error", where=config.where(key), message=message, fix=fix)]


def check_early_stopping(config: Config, steps: Steps) -> list[Finding]:
    """`config.early-stopping`: a patience that the run is too short for."""
    patience, every = config.values.get("early_stopping_patience"), evaluation_interval(config.values, steps.steps)
    if not isinstance(patience, int) or patience < 1 or not every or earliest_stop(config.values, steps.steps):
        return []
    first = every * (patience + 1)
    message = f"early_stopping_patience {patience} never stops this run: at the earliest after step {first:,}, and it has {steps.steps:,}"
    fix = f"evaluate more often, such as eval_steps: {max(1, steps.steps // (2 * (patience + 1)))}, or delete it"
    return [Finding(code="config.early-stopping", level="warning", where=config.where("early_stopping_patience"), message=message, fix=fix)]


def check_rows(config: Config, lengths: DatasetLengths) -> list[Finding]:
    """`config.too-few-rows`: rows of which no step comes to be. Training would end with an adapter that has learnt nothing, or not start."""
    values = config.values
    if not any(file.measured for file in lengths.train) or plan_steps(values, lengths):
        return []  # rows none of which can be read are reported as such
    order = trained_order(values, lengths.train)
    kept, _ = split_off(values, order)
    micro, limit = whole_number(values.get("micro_batch_size"), 1), sequence_len(values)
    if not order:
        key, message = "sequence_len", f"no row is left to train on: all are longer than sequence_len {limit:,}, or no token of theirs has loss"
        fix = "a larger sequence_len, or other rows"
    elif not kept:
        key = "val_set_size"
        message, fix = f"val_set_size {values.get(key)} takes all of {len(order):,} sequences, and Axolotl would stop", "val_set_size: 0.05"
    else:
        key, fits = "sample_packing", count_batches({**values, "micro_batch_size": 1}, kept)
        message = f"the rows fill {fits} packed sequences, less than a micro batch of {micro}: not a step would be trained, and the adapter saved as it began"
        fix = f"--set micro_batch_size={fits}" if fits else "sample_packing: false"
    return [Finding(code="config.too-few-rows", level="error", where=config.where(key), message=message, fix=fix)]


def check_evaluation(config: Config, steps: Steps) -> list[Finding]:
    """`config.eval-too-small`: validation rows that don't fill one packed batch are not evaluated at all."""
    if steps.eval_batches != 0:
        return []
    micro = whole_number(config.values.get("micro_batch_size"), 1)
    message = f"the validation rows don't fill one packed batch of {micro} sequences, so there is nothing to evaluate"
    fix = "eval_sample_packing: false"
    if config.values.get("eval_sample_packing") is False or not config.values.get("sample_packing"):
        message = (
            f"the validation rows are fewer than a batch of {eval_batch_size(config.values)}, and an incomplete one is dropped: nothing is evaluated"
        )
        fix = "eval_batch_size: 1"
    key = "test_datasets" if config.values.get("test_datasets") else "val_set_size"
    return [Finding(code="config.eval-too-small", level="error", where=config.where(key), message=message, fix=fix)]


def check_examples(config: Config, steps: Steps | None) -> list[Finding]:
    """`config.examples-per-step` where packed steps hold twice, or half, the examples of the plan's."""
    if steps is None or steps.tokens_per_step is None or not config.needs_gpu or not steps.examples_per_step:
        return []
    examples, product, gpus = steps.examples_per_step, step_size(config.values), world_size(config.values)
    sequences = max(1, round(product * PLAN_EXAMPLES / examples / gpus)) * gpus
    if PLAN_EXAMPLES / 2 <= examples <= 2 * PLAN_EXAMPLES or sequences == product:
        return []
    most = whole_number(config.values.get("micro_batch_size"), 1)  # what the tier lets fit
    micro = max(n for n in range(1, most + 1) if sequences % n == 0)
    about = sequences * examples / product
    return [
        Finding(
            code="config.examples-per-step",
            level="warning",
            where=config.where("micro_batch_size"),
            message=f"a packed step holds {examples:,} of these rows on average, and the plan's {PLAN_EXAMPLES}: fewer, larger steps learn less from as many rows"
            if examples > PLAN_EXAMPLES
            else f"a packed step holds {examples:,} of these rows on average, and the plan's {PLAN_EXAMPLES}: its gradient is noisier",
            fix=f"for about {about:,.0f} a step: --set micro_batch_size={micro} --set gradient_accumulation_steps={sequences // micro}",
        )
    ]


CHECKS: tuple[Callable[[Config, Steps], list[Finding]], ...] = (check_saving, check_warmup, check_evaluation, check_early_stopping)


def check_interval(config: Config, steps: Steps | None, pace: Pace | None) -> list[Finding]:
    """`config.saves-far-apart` where a disconnect could cost more than half an hour of work."""
    if steps is None or pace is None or not steps.saves:
        return []
    gaps = [after - before for before, after in zip((0, *steps.saves), steps.saves, strict=False)]
    minutes = max(gaps) * (pace.step.low + pace.step.high) / 120
    if minutes <= LONG:
        return []
    every = max(gaps)
    while every > 1 and every * minutes / max(gaps) > LONG:
        every = every // 2
    also = f" --set eval_steps={every}" if config.values.get("load_best_model_at_end") else ""
    return [
        Finding(
            code="config.saves-far-apart",
            level="warning",
            where=config.where("save_steps"),
            message=f"{len(steps.saves)} checkpoints, about {minutes:,.0f} minutes of work between two: what a disconnect may cost",
            fix=f"--set save_steps={every}{also}",
        )
    ]
