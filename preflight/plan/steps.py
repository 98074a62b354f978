"""Rows and tokens -> steps: how many, what each holds, and when it saves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.config.values import dataset_entries, sequence_len, step_size, whole_number, world_size
from preflight.data.audit import DatasetLengths
from preflight.data.lengths import Lengths

GROUP_SIZE, BIN_SIZE = 100_000, 200  # Axolotl's sample_packing_group_size and sample_packing_bin_size
PACKS_ACROSS = ("flash", "flex_attention", "xformers", "sage", "kernels-community/")  # attentions that pack a whole micro batch as one


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps of a run. `exact` is False where the order of the rows, or some of them, can't be known beforehand."""

    steps: int
    examples_per_step: float
    tokens_per_step: int | None  # None where rows are padded
    tokens: int  # in all steps, padding left out
    trained_tokens: int  # those of them that have loss
    warmup: int
    saves: tuple[int, ...]  # the steps after which a checkpoint is written
    eval_batches: int | None
    exact: bool


def plan_steps(values: Mapping[str, Any], counted: DatasetLengths) -> Steps | None:
    """The steps that Axolotl 0.19 makes of these rows (utils/trainer.py calculate_total_num_steps), or None if there are none."""
    train = counted.train
    order = trained_order(values, train)
    if not order:
        return None
    scale = max(lengths.scale for lengths in train)
    epochs = float(values.get("num_epochs") or 1)
    size = step_size(values)
    packed = bool(values.get("sample_packing"))
    rows = sum(lengths.rows for lengths in train)
    if packed:
        batches_a_step = whole_number(values.get("gradient_accumulation_steps"), 1) * world_size(values)
        an_epoch = max(1, int(count_batches(values, order) * scale) // batches_a_step)
        steps = math.floor(an_epoch * epochs) - (math.ceil(epochs) if values.get("dataloader_drop_last") else 0)
    else:
        steps = math.ceil(len(order) * scale * epochs / size)
    share = 1.0  # of all epochs that is trained
    if limit := whole_number(values.get("max_steps"), 1) if values.get("max_steps") else 0:
        share, steps = limit / max(1, steps), limit
    steps = max(1, steps)
    return Steps(
        steps=steps,
        examples_per_step=round(min(rows * epochs * share / steps, rows), 1) if packed else size,
        tokens_per_step=size * sequence_len(values) if packed else None,
        tokens=round(sum(order) * scale * epochs * share),
        trained_tokens=round(trained_tokens(values, train) * epochs * share),
        warmup=warmup_steps(values, steps),
        saves=save_steps(values, steps),
        eval_batches=evaluation_batches(values, counted.held_out),
        exact=not any(lengths.sampled for lengths in train) and (not packed or bool(values.get("curriculum_sampling"))),
    )


def evaluation_batches(values: Mapping[str, Any], held_out: Sequence[Lengths]) -> int | None:
    """Batches of an evaluation on each GPU, or None where there are no validation rows."""
    if not held_out:
        return None
    evaluated = [length for lengths in held_out for row in lengths.measured for length in row.sequences]
    packed = values.get("sample_packing") and values.get("eval_sample_packing") is not False
    return math.ceil((count_batches(values, evaluated) if packed else len(evaluated)) / world_size(values))


def warmup_steps(values: Mapping[str, Any], steps: int) -> int:
    """As core/builders/base.py works it out."""
    if values.get("warmup_steps") is not None:
        warmup = int(float(values["warmup_steps"]))
    elif values.get("warmup_ratio") is not None:
        warmup = int(float(values["warmup_ratio"]) * steps)
    else:
        warmup = min(int(0.03 * steps), 100)
    return 2 if warmup == 1 else warmup


def save_steps(values: Mapping[str, Any], steps: int) -> tuple[int, ...]:
    """The steps after which a checkpoint is written, the last one of the run among them unless nothing is saved at all."""
    strategy, every = values.get("save_strategy"), float(values.get("save_steps") or 0)
    epochs = float(values.get("num_epochs") or 1)
    if strategy == "no" and not every:
        return ()
    if per_epoch := values.get("saves_per_epoch"):
        every = 1 / (float(per_epoch) * epochs)
    if not every:  # by epochs, which is the default as well
        every = steps / epochs
    elif every < 1:
        every = math.ceil(every * steps)
    return tuple(sorted({*(round(n * every) for n in range(1, int(steps / every) + 1)), steps}))


def trained_order(values: Mapping[str, Any], train: Sequence[Lengths]) -> list[int]:
    """The lengths of the sequences in the order that Axolotl packs them: utils/data/sft.py and shared.py, merge_datasets."""
    from numpy.random import default_rng

    entries = [entry for _, entry in dataset_entries(values, "datasets")]
    parts = [
        [length for i in chosen_rows(values, entry, lengths) for length in lengths.measured[i].sequences]
        for entry, lengths in zip(entries, train, strict=False)
    ]
    merged = [length for part in parts for length in part]
    several = len(parts) > 1 or any(entry.get("preprocess_shards") for entry in entries)
    if values.get("shuffle_merged_datasets") is False or (values.get("curriculum_sampling") and not several):
        return merged
    return [merged[i] for i in default_rng(whole_number(values.get("seed"), 42)).permutation(len(merged))]


def trained_tokens(values: Mapping[str, Any], train: Sequence[Lengths]) -> float:
    """Tokens with loss in an epoch."""
    files = zip(dataset_entries(values, "datasets"), train, strict=False)
    return sum(lengths.scale * sum(lengths.measured[i].trained for i in chosen_rows(values, entry, lengths)) for (_, entry), lengths in files)


def chosen_rows(values: Mapping[str, Any], entry: Mapping[str, Any], lengths: Lengths) -> Sequence[int]:
    """The rows of a file that its entry takes, in the order it takes them: all of them, or a shard of them shuffled."""
    from numpy.random import default_rng

    rows: Sequence[int] = range(len(lengths.measured))
    shards = entry.get("shards") or entry.get("preprocess_shards")
    if shards:
        rows = default_rng(whole_number(values.get("seed"), 42)).permutation(len(rows)).tolist()
    if entry.get("shards"):
        index, (size, rest) = int(entry.get("shards_idx") or 0), divmod(len(rows), whole_number(shards, 1))
        start = size * index + min(index, rest)
        rows = rows[start : start + size + (index < rest)]
    return rows


def count_batches(values: Mapping[str, Any], order: Sequence[int]) -> int:
    """Micro batches in an epoch of packed sequences; the last, incomplete one is dropped (MultipackBatchSampler)."""
    micro, limit = whole_number(values.get("micro_batch_size"), 1), sequence_len(values)
    if str(values.get("attn_implementation")).startswith(PACKS_ACROSS) and not values.get("multipack_real_batches"):
        micro, limit = 1, micro * limit
    group = whole_number(values.get("sample_packing_group_size"), GROUP_SIZE)
    most = whole_number(values.get("sample_packing_bin_size"), BIN_SIZE)
    return sum(first_fit(order[i : i + group], limit, most) for i in range(0, len(order), group)) // micro


def first_fit(lengths: Sequence[int], capacity: int, most: int) -> int:
    """How many bins of `capacity` tokens and at most `most` sequences hold these, each put in the first bin with room."""
    leaves = 1 << max(0, len(lengths) - 1).bit_length()
    room = [capacity] * (2 * leaves)  # a tree: each node holds the most room of the bins below it
    held = [0] * leaves
    used = 0
    for length in lengths:
        if length > capacity:
            continue
        node = 1
        while node < leaves:
            node *= 2
            if room[node] < length:
                node += 1
        bin_number = node - leaves
        held[bin_number] += 1
        room[node] = -1 if held[bin_number] == most else room[node] - length
        used = max(used, bin_number + 1)
        while node := node // 2:
            room[node] = max(room[2 * node], room[2 * node + 1])
    return used
