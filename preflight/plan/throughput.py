"""How long a step takes: seen on this machine before, measured on this kind of GPU, or scaled from one that was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.checkpoints.records import Record
from preflight.config.base_model import MISTRAL_7B, ModelShape
from preflight.config.scale import engine_of
from preflight.config.tiers import Tier
from preflight.config.values import sequence_len, sequences_on_each, world_size
from preflight.findings import to_plain

# One step of 4 x 2,048 packed tokens, Mistral-7B's shape, on an H100 (benchmarks/gpu_training.py, and its profile of 2026-11-25): seconds in
# matrix products, and in all else, most of which waits for memory; that without stack_lora_products and with them (14,508 and 15,871
# tokens/s in one run, 2026-11-27)
MATMUL_S, OTHER_S, STACKED_S = 0.38, 0.175, 0.13
# what of MATMUL_S is left with fp8_frozen_weights: kept 18,974 and 14,442 tokens/s in turn in one run; true 16,929 and kept 17,759 in another (H100,
# 2026-11-26). Python then holds the GPU up, and stacked products gain nothing; with cuda_graphs too, kept came to 23,114 and true to 22,118 beside it
# (2026-11-27)
FP8_KEPT, FP8_UNPACKED = 0.65, 0.73
FP8_KEPT_GRAPHS, FP8_UNPACKED_GRAPHS = 0.59, 0.63
CHECKPOINTING = 1.45  # a step with gradient checkpointing takes that much longer (H200, 2026-11-24)
REFERENCE_TFLOPS, REFERENCE_TB_S = 681.0, 3.35
REFERENCE_TOKENS = 4 * 2_048
MEASURED_ON = "an H100", "2026-11-27"  # the card that the table was measured on
# low and high of what was seen on a card, over the model of it here, and when: 0.510 s in one run, and 4% either way, since runs of one
# config on four machines differed by 2%
MEASURED_TIERS = {"h100": (0.96, 1.04, "2026-11-27")}
SMALLEST = 0.1  # of Mistral-7B's weights: below it a step waits for Python and not for the GPU, and the table says nothing
# a step on 2 H100s over half of one's, and when it was seen (docs/scaling.md): 0.429, 0.46 and 0.90 s where one takes 0.510; with cuda_graphs 0.276 s
# where one with them takes 0.497, and 0.194 of 0.346 with fp8_frozen_weights: kept
SHARED_OUT = {"ddp": (1.68, "2026-11-27"), "deepspeed_zero2": (1.8, "2026-11-25"), "fsdp2": (3.5, "2026-11-25")}
SHARED_GRAPHS = {"ddp": (1.12, "2026-11-27")}
SCALED = (0.85, 1.4)  # of a step's time on a card that was not measured: an estimate
SEEN = (0.95, 1.07)  # of the mean of a run on this very machine; p10 to p90 of a run's steps spans about 10%
EVALUATED = 0.45  # of a training step's time for as many tokens: no backward pass, no optimizer (an estimate)
START_S = (120.0, 600.0)  # install, download of 14.5 GB, load, tokenise: an estimate for Colab; 45 s with the model on disk (H200, 2026-11-24)
END_S = (5.0, 60.0)  # the final adapter and its copy to Drive: an estimate
SAVE_S = (2.0, 10.0)  # half a GB to a local disk: an estimate


@dataclass(frozen=True, kw_only=True)
class Span:
    """From the least to the most that is expected."""

    low: float
    high: float

    def times(self, factor: float) -> "Span":
        return Span(low=self.low * factor, high=self.high * factor)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of the parts of a run. `source` is `measured` on this machine, or the `table` of tiers."""

    step: Span
    evaluation_batch: Span
    save: Span
    start: Span
    source: str
    note: str
    end: Span = Span(low=0, high=0)  # from the last step to the prompt: the final adapter, the last copy to Drive


def find_pace(
    values: Mapping[str, Any], records: Sequence[Record], key: Mapping[str, Any], tier: Tier | None, shape: ModelShape | None
) -> Pace | None:
    """The pace of this config, from its own record if there is one, else from the table; None where neither says anything."""
    plain = to_plain(dict(key))
    matching = [record for record in records if record.depends == plain]
    if matching:
        return _seen(max(matching, key=lambda record: record.steps), values)
    if tier is None or shape is None or not values.get("load_in_4bit"):
        return None
    return _from_table(values, tier, shape)


def _seen(record: Record, values: Mapping[str, Any]) -> Pace:
    def span(seconds: float) -> Span:
        return Span(low=seconds * SEEN[0], high=seconds * SEEN[1])

    a_batch = record.evaluation_batch
    if a_batch is None:
        a_batch = record.step * EVALUATED * float(values.get("eval_batch_size") or 1) / sequences_on_each(values)
    return Pace(
        step=span(record.step),
        evaluation_batch=span(a_batch),
        save=span(record.save) if record.save is not None else Span(low=SAVE_S[0], high=SAVE_S[1]),
        start=span(record.start) if record.start is not None else Span(low=START_S[0], high=START_S[1]),
        end=span(record.end) if record.end is not None else Span(low=END_S[0], high=END_S[1]),
        source="measured",
        note=f"measured on {record.machine} over {record.steps:,} steps, {record.date}",
    )


def _from_table(values: Mapping[str, Any], tier: Tier, shape: ModelShape) -> Pace | None:
    tokens = sequences_on_each(values) * sequence_len(values)
    matmul, other = _parts(values)
    parts = matmul * REFERENCE_TFLOPS / tier.sustained_tflops + other * REFERENCE_TB_S / tier.bandwidth_tb_s
    size = shape.linear_parameters / MISTRAL_7B.linear_parameters
    if size < SMALLEST:
        return None
    step = parts * tokens / REFERENCE_TOKENS * size * (CHECKPOINTING if values.get("gradient_checkpointing") else 1)
    low, high, date = MEASURED_TIERS.get(tier.name, (*SCALED, ""))
    if not values.get("sample_packing"):
        low /= 2  # rows fill only a part of the tokens that this counts: padded to the longest of their batch
    a_batch = step * EVALUATED * float(values.get("eval_batch_size") or 1) / sequences_on_each(values)
    note = (
        f"measured on an {tier.title.removeprefix('NVIDIA ')}, {date}"
        if date
        else f"scaled from {MEASURED_ON[0]} measured {MEASURED_ON[1]}, by matrix rate and memory bandwidth"
    )
    if (gpus := world_size(values)) > 1:
        engine = engine_of(values)
        longer, seen = (SHARED_GRAPHS if values.get("cuda_graphs") else SHARED_OUT).get(engine) or SHARED_OUT.get(engine, (0, ""))
        low, high = low * (longer or 1) if gpus == 2 else low, high * (longer or max(SHARED_OUT.values())[0])
        note += (
            f"; shared out by {engine} as 2 H100s were seen to, {seen}"
            if longer and gpus == 2
            else "; the lower bound is perfect scaling, which was not measured"
        )
    return Pace(
        step=Span(low=step * low, high=step * high),
        evaluation_batch=Span(low=a_batch * low, high=a_batch * high),
        save=Span(low=SAVE_S[0], high=SAVE_S[1]),
        start=Span(low=START_S[0], high=START_S[1]),
        end=Span(low=END_S[0], high=END_S[1]),
        source="table",
        note=note,
    )


def _parts(values: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds in matrix products, and in all else, of the step that was measured."""
    fp8, graphs = values.get("fp8_frozen_weights"), bool(values.get("cuda_graphs"))
    other = STACKED_S if values.get("stack_lora_products") and (graphs or not fp8) else OTHER_S
    if fp8 == "kept":
        return MATMUL_S * (FP8_KEPT_GRAPHS if graphs else FP8_KEPT), other
    unpacked = FP8_UNPACKED_GRAPHS if graphs else FP8_UNPACKED
    return MATMUL_S * (unpacked if fp8 else 1), other
