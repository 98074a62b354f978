"""Steps and their pace -> hours -> compute units -> money; and the GPU memory that a step takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preflight.config import STEP_KEYS, Config, sequence_len, sequences_on_each, step_size, whole_number, world_size
from preflight.estimate import Steps
from preflight.examples import Counted
from preflight.findings import Finding
from preflight.sizes import MISTRAL_7B, ModelShape, linear_parameters, widths_sum
from preflight.throughput import Pace, Span

# Mistral-7B in 4 bits with LoRA of rank 16, in GiB: what is there before a step, and what a sequence of 2,048 tokens adds, without
# and with gradient checkpointing (peaks allocated at 1, 2 and 4 sequences, H200, 2026-11-24)
LOADED_GIB, SEQUENCE_GIB, CHECKPOINTED_GIB = 4.3, 9.88, 0.92
CONTEXT_GIB = 0.6  # CUDA itself (H200, 2026-11-24)
NEARLY = 0.95  # of a card's memory
PREPARING = 3  # minutes at the start that the GPU may wait for the rows
TOKENISED = 250_000  # tokens a second of Axolotl's own preparation: 8,234 rows of 439 in 14 s, 2 cores, imports left out (2026-11-24)
LONG = 30  # minutes of work between two saves that a disconnect may cost
PLAN_EXAMPLES = 16  # in an optimizer step of the plan: 4 rows x 4


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What is left of a run takes: hours with start-up, compute units and money where the rate is known."""

    steps_left: int
    hours: Span
    compute_units: Span | None
    usd: Span | None
    runs_a_month: Span | None
    pace: Pace


def expect(values: Mapping[str, Any], steps: Steps, done: int, pace: Pace, settings: Mapping[str, Any], tier: str) -> Cost:
    """What the steps from `done` on cost, by the rates of colab_setup.yaml."""
    left = max(0, steps.steps - done)
    evaluate_every = evaluation_interval(values, steps.steps)
    rate, subscription = settings["compute"]["compute_units_per_hour"].get(tier), settings["subscription"]
    saves = sum(step > done for step in steps.saves)
    evaluations = left // evaluate_every + (not done) if evaluate_every else 0  # one before the first step, which a resumed run has had
    batches = evaluations * (steps.eval_batches or 0)

    def hours(end: str) -> float:
        parts = ((pace.step, left), (pace.evaluation_batch, batches), (pace.save, saves), (pace.start, 1), (pace.end, 1))
        return float(sum(getattr(span, end) * count for span, count in parts)) / 3600

    span = Span(low=hours("low"), high=hours("high"))
    units = span.times(rate) if rate else None
    month = subscription["compute_units_per_month"]
    return Cost(
        steps_left=left,
        hours=span,
        compute_units=units,
        usd=units.times(subscription["usd_per_month"] / month) if units else None,
        runs_a_month=Span(low=month / units.high, high=month / units.low) if units else None,
        pace=pace,
    )


def evaluation_interval(values: Mapping[str, Any], steps: int) -> int:
    """Steps from one evaluation to the next; 0 where nothing is evaluated between."""
    if values.get("eval_strategy") == "no":
        return 0
    if per_epoch := values.get("evals_per_epoch"):
        return max(1, round(steps / (float(per_epoch) * float(values.get("num_epochs") or 1))))
    every = float(values.get("eval_steps") or 0)
    return max(1, round(every * steps if 0 < every < 1 else every)) if every else 0


def memory_gib(values: Mapping[str, Any], shape: ModelShape | None) -> float | None:
    """GPU memory at the peak of a step; None for what was never measured: other than 4-bit LoRA."""
    if shape is None or not values.get("load_in_4bit"):
        return None
    tokens = whole_number(values.get("micro_batch_size"), 1) * sequence_len(values)
    a_sequence = CHECKPOINTED_GIB if values.get("gradient_checkpointing") else SEQUENCE_GIB
    loaded = LOADED_GIB * linear_parameters(shape) / linear_parameters(MISTRAL_7B)
    return round(CONTEXT_GIB + loaded + a_sequence * tokens / 2_048 * widths_sum(shape) / widths_sum(MISTRAL_7B), 1)


def check_memory(config: Config, shape: ModelShape | None, memory: float | None) -> list[Finding]:
    """`gpu.memory` where a step takes more than the card has, with the split that fits."""
    need = memory_gib(config.values, shape)
    if need is None or memory is None or need <= NEARLY * memory:
        return []
    product = sequences_on_each(config.values)
    splits = [
        values
        for checkpointing in dict.fromkeys([bool(config.values.get("gradient_checkpointing")), True])
        for micro in range(product, 0, -1)
        if product % micro == 0
        and (values := dict(config.values) | dict(zip(STEP_KEYS, (micro, product // micro), strict=True)) | {"gradient_checkpointing": checkpointing})
        and (memory_gib(values, shape) or 0) <= NEARLY * memory
    ]
    keys = (*STEP_KEYS, "gradient_checkpointing")
    changed = [f"--set {key}={str(splits[0][key]).lower()}" for key in keys if splits[0][key] != config.values.get(key)] if splits else []
    return [
        Finding(
            code="gpu.memory",
            level="error" if need > memory else "warning",
            where=config.where("micro_batch_size"),
            message=f"a step takes about {need} GiB of the GPU's {memory:g} (estimated from measured steps of Mistral-7B)",
            fix=" ".join(changed) or "a smaller model, a shorter sequence_len, or a larger GPU",
        )
    ]


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


def check_preparing(config: Config, counted: Counted, command: str) -> list[Finding]:
    """`data.preprocess` where tokenising the rows takes over some minutes, for which the GPU would wait."""
    tokens = sum(lengths.tokens for lengths in counted.train)
    minutes = tokens / TOKENISED / 60
    if minutes <= PREPARING or not config.needs_gpu:
        return []
    message = f"tokenising {tokens:,} tokens takes about {minutes:,.0f} minutes at the start (an estimate), while the GPU waits"
    fix = f"before it, on a machine without a GPU that sees the same folder: {command}"
    return [Finding(code="data.preprocess", level="info", where=config.where("datasets.0.path"), message=message, fix=fix)]


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
