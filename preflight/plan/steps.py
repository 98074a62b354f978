"""Rows and tokens -> steps: how many, what each holds, and when it saves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.config.values import attention, dataset_entries, sequence_len, step_size, whole_number, world_size
from preflight.data.audit import DatasetLengths
from preflight.data.lengths import Lengths

GROUP_SIZE, BIN_SIZE = 100_000, 200  # Axolotl's sample_packing_group_size and sample_packing_bin_size
# with any of these set, Axolotl counts otherwise than here
UNCOUNTED = [
    "dataset_exact_deduplication",
    "dataset_shard_num",
    "sample_packing_sequentially",
    "sample_packing_eff_est",
    "skip_prepare_dataset",
    "min_sample_len",
    "use_pose",
    "streaming",
    "reward_model",
]
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
    every = trained_order(values, train)
    if not every:
        return None
    scale = max(lengths.scale for lengths in train)
    order, validation = split_off(values, every, scale)
    epochs = float(values.get("num_epochs") or 1)
    size, batches_a_step = step_size(values), whole_number(values.get("gradient_accumulation_steps"), 1) * world_size(values)
    packed = bool(values.get("sample_packing"))
    kept = len(order) / len(every)  # by the split for validation
    rows = sum(lengths.rows for lengths in train) * kept
    batches = int(count_batches(values, order) * scale) if packed else math.ceil(len(order) * scale * batches_a_step / size)
    if not batches:
        return None
    if packed:
        an_epoch = max(1, batches // batches_a_step)
        steps = math.floor(an_epoch * epochs) - (math.ceil(epochs) if values.get("dataloader_drop_last") else 0)
    else:
        steps = math.ceil(len(order) * scale * epochs / size)
    counted_for_warmup, share = steps, 1.0  # the share of all epochs that is trained
    limit = int(values.get("max_steps") or 0)
    if limit > 0:
        share, steps, counted_for_warmup = limit / max(1, steps), limit, min(steps, limit)
    elif limit < 0:  # then transformers counts, in whole steps of an epoch (set_initial_training_values), and Axolotl works the warmup out of it
        steps, counted_for_warmup = math.ceil(epochs * math.ceil(batches / batches_a_step)), limit
    steps = max(1, steps)
    return Steps(
        steps=steps,
        examples_per_step=round(min(rows * epochs * share / steps, rows), 1) if packed else size,
        tokens_per_step=size * sequence_len(values) if packed else None,
        tokens=round(sum(order) * scale * epochs * share),
        trained_tokens=round(trained_tokens(values, train) * kept * epochs * share),
        warmup=warmup_steps(values, max(1, counted_for_warmup) if limit >= 0 else limit),
        saves=save_steps(values, steps),
        eval_batches=evaluation_batches(values, counted.held_out, validation),
        exact=not any(lengths.sampled for lengths in train)
        and (not packed or bool(values.get("curriculum_sampling")))
        and not any(values.get(key) for key in UNCOUNTED),
    )


def split_off(values: Mapping[str, Any], order: Sequence[int], scale: float = 1.0) -> tuple[list[int], list[int]]:
    """The sequences that are trained on, and the last of them that `val_set_size` holds back (create_train_validation_split): a number, or
    up to 1 a share of them. Nothing is left to train on where Axolotl stops."""
    size = float(values.get("val_set_size") or 0)
    count = int(size) if size > 1 else math.ceil(size * len(order))
    place = len(order) - (round(count / scale) if size > 1 else count)
    return (list(order[:place]), list(order[place:])) if place > 0 else ([], list(order))


def evaluation_batches(values: Mapping[str, Any], held_out: Sequence[Lengths], validation: Sequence[int] = ()) -> int | None:
    """Batches of an evaluation on each GPU, or None where there are no validation rows."""
    if not held_out and not validation:
        return None
    evaluated = [length for lengths in held_out for row in lengths.measured for length in row.sequences] or validation
    if values.get("sample_packing") and values.get("eval_sample_packing") is not False:
        return math.ceil(count_batches(values, evaluated) / world_size(values))
    # Axolotl drops an incomplete last batch of padded rows beside packed ones (core/builders/causal.py)
    drops = values.get("dataloader_drop_last") or (values.get("sample_packing") and values.get("dataloader_drop_last") is None)
    if drops and len(evaluated) < eval_batch_size(values):
        return 0
    return math.ceil(len(evaluated) / world_size(values))


def eval_batch_size(values: Mapping[str, Any]) -> int:
    """Rows of a batch of an evaluation that is not packed."""
    return whole_number(values.get("eval_batch_size") or values.get("micro_batch_size"), 1)


def warmup_steps(values: Mapping[str, Any], steps: int) -> int:
    """As core/builders/base.py works it out; `steps` are below 0 where it does not know them."""
    if values.get("warmup_steps") is not None:
        warmup = int(float(values["warmup_steps"]))
    elif values.get("warmup_ratio") is not None:
        warmup = max(int(float(values["warmup_ratio"]) * steps), 0)
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
    if attention(values).startswith(PACKS_ACROSS) and not values.get("multipack_real_batches"):
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
