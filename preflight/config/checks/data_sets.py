"""The data sets, and how rows become sequences."""

import difflib
import re
from collections.abc import Iterator
from typing import Any

from preflight.config.checks.outside_code import imports_outside
from preflight.config.checks.situation import Situation, finding
from preflight.config.layers import Config
from preflight.config.values import attention, dataset_entries
from preflight.findings import Finding

# prompt_strategies/ of axolotl 0.19, and the handlers of utils/data/wrappers.py
ROW_TYPES = frozenset(
    [
        "_synthetic",
        "alpaca",
        "alpaca_chat",
        "alpaca_instruct",
        "alpaca_w_system",
        "bradley_terry",
        "chat_template",
        "completion",
        "concisechoice",
        "context_qa",
        "creative_acr",
        "dpo",
        "ebft",
        "explainchoice",
        "gpteacher",
        "input_output",
        "jeopardy",
        "kto",
        "llama2_chat",
        "messages",
        "metharme",
        "oasst",
        "orcamini",
        "orpo",
        "pretrain",
        "pygmalion",
        "reflection",
        "stepwise_supervised",
        "summarizetldr",
        "user_defined",
    ]
)
# the keys that only some types of row read
FIELDS = {
    "field": ("completion", "input_output"),
    "field_messages": ("chat_template", "messages", "bradley_terry", "orpo", "dpo"),
    "roles_to_train": ("chat_template", "messages"),
    "train_on_eos": ("chat_template", "messages"),
    "message_property_mappings": ("chat_template", "messages", "bradley_terry", "orpo", "dpo"),
}
# schemas/enums.py: what keeps packed rows apart; sdpa and eager do it with a mask, or sdpa_varlen
SEPARATES = ("flash", "flex_attention", "xformers", "sage", "kernels-community/", "sdpa", "eager")


def check_types(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.unsafe-code` for a row type that imports a module which did not come with Axolotl."""
    for key, entry in dataset_entries(config.values, "datasets", "test_datasets", "pretraining_dataset"):
        if imports_outside(kind := entry.get("type"), ROW_TYPES, preference=bool(config.values.get("rl"))):
            message = f"{key}.type {kind} would import a Python module that is not Axolotl's"
            fix = "use one of Axolotl's types: completion, chat_template, alpaca"
            yield finding(config, "config.unsafe-code", "error", f"{key}.type", message, fix)


def check_rows(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.row-type` for a type that Axolotl does not have, and for a key that this type does not read."""
    if config.values.get("rl") or config.values.get("skip_prepare_dataset"):
        return
    for key, entry in dataset_entries(config.values):
        kind = entry.get("type")
        first = _base_type(kind)
        if kind is None and f"{key}.type" not in situation.reported:
            message = f"{key} has no type: Axolotl would not know how to read its rows"
            fix = "type: completion for rows with a text column, chat_template for rows with messages"
            yield finding(config, "config.row-type", "error", key, message, fix)
        elif isinstance(kind, str) and "." not in kind and first not in ROW_TYPES and not first.startswith("load_"):
            near = difflib.get_close_matches(first, ROW_TYPES, n=1)
            message = f"{key}.type {kind} is none that Axolotl has"
            yield finding(
                config, "config.row-type", "error", f"{key}.type", message, f"did you mean {near[0]}?" if near else "completion, chat_template"
            )
        for name, types in FIELDS.items():
            if entry.get(name) is not None and first in ROW_TYPES and first not in types:
                message = f"{key}.{name} is not read for rows of type {first}, only for {', '.join(types[:2])}"
                fix = f"delete it, or write type: {types[0]}"
                yield finding(config, "config.row-type", "error", f"{key}.{name}", message, fix)


def check_eos(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.eos-untrained`: a model that never sees loss on EOS never stops."""
    for key, entry in dataset_entries(config.values):
        if key.startswith("datasets") and entry.get("train_on_eos") == "none":
            message = f"{key}.train_on_eos none: nothing teaches the model where an answer ends, so it runs on"
            yield finding(config, "config.eos-untrained", "error", f"{key}.train_on_eos", message, "train_on_eos: turn")


def _base_type(kind: Any) -> str:
    return re.split(r"[.:]", kind)[0] if isinstance(kind, str) else ""


def check_packing(config: Config, situation: Situation) -> Iterator[Finding]:
    """Packing that mixes rows up, or whose steps can't be counted."""
    values = config.values
    chosen = attention(values)
    if not values.get("sample_packing"):
        return
    if not chosen.startswith(SEPARATES):
        message = f"sample_packing with attn_implementation {chosen or 'not set'}: rows that share a sequence would see each other"
        yield finding(config, "config.packing-leaks", "error", "sample_packing", message, "attn_implementation: sdpa")
    if not values.get("curriculum_sampling"):
        message = (
            "each epoch packs the rows anew, so the run may end short of the steps that were counted, without a last checkpoint, "
            "and a resumed run trains some rows twice"
        )
        fix = "curriculum_sampling: true, and shards: 1 in each entry of datasets, which shuffles its rows once by the seed"
        yield finding(config, "config.steps-vary", "warning", "sample_packing", message, fix)


def check_order(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.unshuffled`: curriculum_sampling keeps the order of the file, which is rarely intended."""
    trained = [entry for key, entry in dataset_entries(config.values) if key.startswith("datasets")]
    kept = len(trained) == 1 and not trained[0].get("shards") and not trained[0].get("preprocess_shards")
    if config.values.get("curriculum_sampling") and kept:
        message = "curriculum_sampling trains the rows in the order of the file, in every epoch"
        fix = "shards: 1 in the entry of datasets shuffles them once, by the seed; no action needed if the order is intended"
        yield finding(config, "config.unshuffled", "warning", "curriculum_sampling", message, fix)
