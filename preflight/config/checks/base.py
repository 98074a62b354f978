"""The config against the base model: names that it has not, and classes of another family."""

import difflib
import re
from collections.abc import Iterator
from typing import Any

from preflight.config.checks.situation import Situation, finding
from preflight.config.layers import Config
from preflight.config.model_files import family
from preflight.findings import Finding

REPOSITORY = re.compile(r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?(?:/[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?)?", re.ASCII)
PATTERN = re.compile(r"[\\^$*+?()\[\]{}|]")  # what makes a text a regular expression


def check_name(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.no-base-model` where base_model is no path and can be no name of the hub."""
    name = config.values.get("base_model")
    if not isinstance(name, str) or not name or situation.base_model_missing or situation.base_model_here:
        return
    if problem := wrong_name(name):
        fix = f"base_model: {name.strip()}" if not wrong_name(name.strip()) else "base_model: mistralai/Mistral-7B-v0.1, or the path of a folder"
        if ":" in name and not wrong_name(name.partition(":")[0].strip()):
            fix = f"base_model: {name.partition(':')[0].strip()} and revision_of_model: {name.partition(':')[2].strip()}"
        yield finding(config, "config.no-base-model", "error", "base_model", f"base_model {name!r} can be no model's name: {problem}", fix)


def wrong_name(name: str) -> str:
    """Why the hub can have no model of this name, or ''."""
    if "$" in name or "{" in name:
        return "nothing puts a variable's value in"
    if name != name.strip():
        return "there is a blank at its beginning or end"
    if REPOSITORY.fullmatch(name) and "--" not in name and ".." not in name and not name.endswith(".git"):
        return ""
    return "names of the hub are OWNER/MODEL, in letters, digits, -, _ and ."


def check_targets(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.no-such-module`: modules that get no adapter, or are not saved, since the model has none of that name."""
    modules = situation.model.modules
    if not modules or not config.values.get("adapter"):
        return
    for key in ("lora_target_modules", "lora_modules_to_save"):
        named = config.values.get(key)
        if isinstance(named, str) and (named == "all-linear" or PATTERN.search(named)):
            continue  # a regular expression over whole names
        if isinstance(named, str) and named and key == "lora_target_modules" and not config.values.get("lora_target_linear"):
            message = f"{key}: {named} as a text is matched with whole names of modules, and none is called so: training would stop"
            yield finding(config, "config.no-such-module", "error", key, message, f"{key}: [{named}]")
            continue
        yield from _absent(config, key, [str(one) for one in named] if isinstance(named, list) else [], modules)


def _absent(config: Config, key: str, named: list[str], modules: frozenset[str]) -> Iterator[Finding]:
    absent = [one for one in named if one.rpartition(".")[2] not in modules]
    near = {one: found[0] for one in absent if (found := difflib.get_close_matches(one.rpartition(".")[2], modules, n=1, cutoff=0.85))}
    have = ", ".join(sorted(modules & {*near.values()}) or sorted(modules)[:20])
    none = key == "lora_target_modules" and absent and len(absent) == len(named) and not config.values.get("lora_target_linear")
    if not absent:
        return
    said = "training would stop" if none else "they are passed over in silence"
    message = f"{key}: the base model has no module {', '.join(absent)}: {said}"
    fix = "; ".join(f"{one} -> {other}" for one, other in near.items()) or f"delete them, or take some of: {have}"
    yield finding(config, "config.no-such-module", "error" if none or near else "warning", key, message, fix)


def check_family(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.other-family`: a class of transformers whose weights have other names, or none for some of the model's."""
    cls, own = config.values.get("model_type"), situation.model.architectures
    if not isinstance(cls, str) or not own or cls.startswith("Auto") or family(cls) in {family(one) for one in own}:
        return
    message = f"model_type {cls}, and the base model is a {own[0]}: what {cls} has no place for, such as biases, would be dropped in silence"
    yield finding(config, "config.other-family", "error", "model_type", message, f"model_type: {own[0]}, or AutoModelForCausalLM")


def check_tokens(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.untrained-tokens`: tokens new to the tokenizer, whose embeddings an adapter leaves as they are: untrained."""
    values, knows = config.values, situation.model.knows
    saved = values.get("lora_modules_to_save")
    layers = sorted(situation.model.modules & {"embed_tokens", "lm_head", "embed_in", "embed_out", "wte", "word_embeddings"})
    layers = layers or ["embed_tokens", "lm_head"]
    trained = isinstance(saved, list) and set(layers) <= {str(one) for one in saved}
    if knows is None or not values.get("adapter") or trained or values.get("peft_trainable_token_indices"):
        return
    for key, tokens in _named_tokens(values):
        if new := [token for token in tokens if token and not knows(token)]:
            message = f"{key}: the tokenizer lacks {', '.join(new)}, and an adapter alone does not train the embeddings of new tokens"
            if key.startswith("special_tokens.") and not key.endswith("additional_special_tokens"):
                message += "; Axolotl may stop"
            fix = f"lora_modules_to_save: [{', '.join(layers)}], which takes more memory; or use tokens that it has"
            yield finding(config, "config.untrained-tokens", "error", key, message, fix)


def _named_tokens(values: Any) -> Iterator[tuple[str, list[str]]]:
    """(dotted key, the tokens there); a padding token is never trained on."""
    if isinstance(tokens := values.get("tokens"), list):
        yield "tokens", [str(token) for token in tokens]
    special = values.get("special_tokens")
    for key, token in special.items() if isinstance(special, dict) else ():
        if key == "additional_special_tokens" and isinstance(token, list):
            yield f"special_tokens.{key}", [str(one) for one in token]
        elif key != "pad_token" and isinstance(token, str):
            yield f"special_tokens.{key}", [token]
