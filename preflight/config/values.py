"""What the numbers of a config come to, with Axolotl's defaults."""

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.config.keys import STEP_KEYS
from preflight.files import MALFORMED

# the old flags, the more special first, and what Axolotl makes of each (its schemas/enums.py)
OLD_ATTENTION = {
    "xformers_attention": "xformers",
    "sage_attention": "sage",
    "flex_attention": "flex_attention",
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "eager_attention": "eager",
}
MASKED = ("", "sdpa", "eager")  # attention that tells packed rows apart by a mask, unless by sdpa_varlen
ANSWER_ONLY = "preflight.answer_only"  # the `type` of text rows that are trained on their answers alone: a module that Axolotl imports


def attention(values: Mapping[str, Any]) -> str:
    """The attention, whichever way the config says it; '' where it says none."""
    return str(values.get("attn_implementation") or next((OLD_ATTENTION[flag] for flag in OLD_ATTENTION if values.get(flag)), ""))


def attention_key(values: Mapping[str, Any]) -> str:
    """The key that says it."""
    return next((flag for flag in ("attn_implementation", *OLD_ATTENTION) if values.get(flag)), "attn_implementation")


def varlen(values: Mapping[str, Any]) -> bool:
    """Whether packed rows are told apart by where they begin, without a mask, on a GPU that can: said, or left to Axolotl (its
    loaders/patch_manager.py turns it on for sdpa)."""
    said, chosen = values.get("sdpa_varlen"), attention(values)
    return bool(values.get("sample_packing")) and (chosen == "sdpa" if said is None else bool(said) and chosen in ("", "sdpa"))


def why_no_graph(values: Mapping[str, Any]) -> str:
    """Why no step of such a config can be one CUDA graph, or ''."""
    reasons = {
        "a step adds up the gradients of several batches (gradient_accumulation_steps)": sequences_on_each(values)
        > whole_number(values.get("micro_batch_size"), 1),
        "gradient_checkpointing computes layers again": values.get("gradient_checkpointing"),
        "rows are not packed, so batches differ in shape": not values.get("sample_packing"),
        "attention reads a mask (sdpa_varlen is off)": attention(values) in MASKED and not varlen(values),
        "only the layers of one GPU, or of each under ddp, are whole": any(values.get(key) for key in ("fsdp", "fsdp_config", "deepspeed")),
    }
    return first_that_holds(reasons)


def first_that_holds(reasons: Mapping[str, Any]) -> str:
    """The first reason whose condition is true, or ''."""
    return next((reason for reason, holds in reasons.items() if holds), "")


def interval(values: Mapping[str, Any], kind: str) -> float:
    """Steps between two of kind `save` or `eval`, or the share of the run below 1; 0 where they go by epochs or there are none."""
    try:
        if per_epoch := float(values.get(f"{kind}s_per_epoch") or 0):
            share = 1 / (per_epoch * float(values.get("num_epochs") or 1))
            return share if share < 1 else 0  # Axolotl's utils/config/__init__.py
        return float(values.get(f"{kind}_steps") or 0)
    except MALFORMED:
        return 0


def step_size(values: Mapping[str, Any]) -> int:
    """Sequences in one optimizer step: micro_batch_size x gradient_accumulation_steps x GPUs (Axolotl's default is 1 for each)."""
    micro, accumulation = (whole_number(values.get(key), 1) for key in STEP_KEYS)
    if values.get("batch_size") and not values.get("gradient_accumulation_steps"):  # utils/config/__init__.py
        accumulation = max(1, whole_number(values["batch_size"], micro) // micro)
    return micro * accumulation * world_size(values)


def sequences_on_each(values: Mapping[str, Any]) -> int:
    """Sequences of a step that one GPU computes."""
    return step_size(values) // world_size(values)


def world_size(values: Mapping[str, Any]) -> int:
    """GPUs that share a step, which `--scale` writes down. Axolotl itself counts the processes that were launched."""
    return whole_number(values.get("world_size"), 1)


def sequence_len(values: Mapping[str, Any]) -> int:
    """Tokens in a sequence (Axolotl's default is 512)."""
    return whole_number(values.get("sequence_len"), 512)


def whole_number(value: Any, default: int) -> int:
    """The value as Axolotl takes it ("4" is 4), or the default where it is none; schema.py says that it is wrong."""
    try:
        return max(1, int(value))
    except MALFORMED:
        return default


def entries_at_any_depth(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """(dotted key, key, value) of each entry of each mapping in a config, outer ones first."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            place = f"{path}.{key}".lstrip(".")
            yield place, str(key), item
            yield from entries_at_any_depth(item, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from entries_at_any_depth(item, f"{path}.{index}".lstrip("."))


def dataset_entries(values: Mapping[str, Any], *names: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(dotted key, entry) of each data set that the config lists, by default of `datasets` and then of `test_datasets`."""
    for name in names or ("datasets", "test_datasets"):
        held = values.get(name)
        for index, entry in enumerate(held if isinstance(held, list) else ()):
            if isinstance(entry, Mapping):
                yield f"{name}.{index}", entry
