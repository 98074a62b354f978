"""The model card: `README.md` beside a run's adapter, in the place of the one that the trainer writes there, which says little and names local paths.
No text of any row is in it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from huggingface_hub import ModelCard, ModelCardData

from preflight.checkpoints import cards, manifest
from preflight.checkpoints.history import read_history
from preflight.checkpoints.manifest import Manifest
from preflight.config.base_model import cached
from preflight.config.layers import shown
from preflight.config.model_files import fetch_small
from preflight.config.values import dataset_entries
from preflight.config.yaml_file import read_yaml
from preflight.data.trained_rows import read_rows_of
from preflight.files import MALFORMED, write_atomic
from preflight.findings import to_plain
from preflight.machine.run_folder import CARD, WEIGHTS, RunFolder
from preflight.training.evaluation.losses import TestLoss, read_test_loss
from preflight.training.evaluation.result import Result, read_result

SHOWN = [
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "load_in_4bit",
    "sequence_len",
    "sample_packing",
    "num_epochs",
    "max_steps",
    "learning_rate",
    "lr_scheduler",
    "warmup_ratio",
    "weight_decay",
    "optimizer",
    "seed",
]
RANKS = (8, 16, 32, 64, 128, 256)  # that vLLM serves
LICENCE = re.compile(r"[\w.+-]+")
NO_CODE, NO_TEXT = r"[^\w .,:;()'\"/%+=?@~$*^#!{}\[\]-]", r"[^\w .,:;()'\"/%+=?-]"
NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a model on the hub


@dataclass(frozen=True, kw_only=True)
class Base:
    """The base model as it says of itself, as far as that is here."""

    name: str
    on_hub: bool
    revision: str = ""
    licence: Mapping[str, str] | None = None  # of the front matter of its card


class _Card(NamedTuple):
    """What the card is made from."""

    name: str
    values: Mapping[str, Any]
    held: Manifest
    base: Base
    result: Result | None
    test_loss: TestLoss | None
    eval_losses: Mapping[int, float]
    run: RunFolder


def write_card(run: RunFolder, *, fetch: bool = False) -> bool:
    """Put the card of a finished run beside its adapter; whether that was done: not over a page that a person wrote, and not without an adapter
    to speak of. With `fetch` the base's own card is asked of the hub, where it is not here. Raises OSError."""
    path, held, (file, _) = run.outputs / CARD, manifest.read(run.outputs), read_yaml(run.config)
    if file is None or held is None or not file.values.get("adapter") or not cards.is_replaceable(path):
        return False
    history, result, test_loss = read_history(run.outputs), read_result(run), read_test_loss(run.folder)
    losses = {entry["step"]: entry["eval_loss"] for entry in (history.log if history else ()) if isinstance(entry.get("eval_loss"), float)}
    if test_loss and test_loss.adapter_sha256 != held.files.get(WEIGHTS, (0, ""))[1]:
        test_loss = None
    base = find_base(str(file.values.get("base_model") or ""), str(file.values.get("revision_of_model") or ""), fetch=fetch)
    write_atomic(path, cards.sealed(_text(_Card(run.folder.name, file.values, held, base, result, test_loss, losses, run))))
    return True


def find_base(name: str, revision: str = "", *, fetch: bool = False) -> Base:
    """What is known of the base model: from its folder, the hub's cache, or, with `fetch`, the hub."""
    if Path(name).is_dir():
        return Base(name=name if not Path(name).is_absolute() else Path(name).name, on_hub=False, licence=_licence(Path(name, CARD)))
    on_hub = bool(NAME.fullmatch(name))
    seen = Path(cached(name, "config.json") or "")
    if not revision and seen.parent.parent.name == "snapshots":
        revision = seen.parent.name
    if fetch and on_hub and cached(name, CARD) is None:
        fetch_small(name, (CARD,))
    card = cached(name, CARD)
    return Base(name=name, on_hub=on_hub, revision=revision, licence=_licence(Path(card)) if card else None)


def _licence(path: Path) -> Mapping[str, str] | None:
    """The licence as a card's front matter states it, or None."""
    try:
        data = ModelCard.load(path, ignore_metadata_errors=True).data
    except (OSError, yaml.YAMLError, *MALFORMED):
        return None
    stated = {key: str(value) for key in ("license", "license_name", "license_link") if (value := data.get(key)) and isinstance(value, str)}
    return stated if LICENCE.fullmatch(stated.get("license", "")) else None


def _text(card: _Card) -> str:
    base, values = card.base, card.values
    stated = {"base_model": base.name, "base_model_relation": "adapter"} if base.on_hub else {}  # what the hub takes for one of its own
    tags = sorted({"axolotl", "lora", "postgresql", "sql", str(values["adapter"])})
    about: dict[str, Any] = {**stated, "library_name": "peft", "pipeline_tag": "text-generation", "tags": tags, **(base.licence or {})}
    data = ModelCardData(**about)
    parts = (_head(card), _figures(card), _rows(card), _training(card), _use(card))
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(line for part in parts for line in part) + "\n"


def _head(card: _Card) -> Iterator[str]:
    base = card.base
    revision = f", revision {code(base.revision)}" if base.revision else "" if base.on_hub else " (a folder, which has no revision)"
    yield from (f"# {plain(card.name)}", "")
    yield f"A LoRA adapter that answers questions about PostgreSQL tables in SQL. Base model: {code(base.name)}{revision}."
    if base.licence:
        yield f"The base model's licence, as its card states it: {code(base.licence['license'])}."
    else:
        yield "Licence: see the base model; its card was not at hand when this was written, or states none."


def _figures(card: _Card) -> Iterator[str]:
    result = card.result
    yield from ("", "## What it reaches", "")
    if result and result.executed:
        for name, figures in result.executed.items():
            yield f"- {name}: {figures.summary}"
        drawn = ", chosen by a seed" if result.questions < result.available else ""
        yield f"- asked: {result.questions} of {result.available} questions of the test rows{drawn}"
    elif result and result.questions:
        yield f"- accuracy: not measured on PostgreSQL ({plain(result.not_executed)})"
        yield f"- the expected text, character for character: {result.adapter_exact} of {result.questions} (base: {result.base_exact})"
    else:
        yield "- accuracy: not measured"
    yield from _checkpoint(card)
    if result and result.executed:
        yield from ("", "Right means: it gives what the expected answer gives on ten small databases made around that one. On other kinds of tables")
        yield "and questions it was not measured. Run what it answers as a role that may only read."


def _checkpoint(card: _Card) -> Iterator[str]:
    """Which step's weights these are, and the losses."""
    held, losses = card.held, card.eval_losses
    best = held.best_step if card.values.get("load_best_model_at_end") else 0
    step = held.chosen_step or best or held.step
    if step in losses:
        before = f"; the base's {losses[0]:.3f}" if 0 in losses else ""
        yield f"- loss on the validation rows: {losses[step]:.3f}{before}"
    if card.test_loss:
        yield f"- loss on the test rows: {card.test_loss.test:.3f}"
    if card.result and card.result.choice:
        yield f"- checkpoint: {plain(card.result.choice.get('says', ''))}"
    else:
        why = "chosen by its answers" if held.chosen_step else "the lowest loss on the validation rows" if best else "the last"
        yield f"- checkpoint: step {step} of {held.step}, {why}"


def _rows(card: _Card) -> Iterator[str]:
    uses = {"datasets": "training", "test_datasets": "validation"}
    named = {str(entry.get("path")): uses[key.partition(".")[0]] for key, entry in dataset_entries(card.values)}
    yield from ("", "## Rows", "")
    files = read_rows_of(card.run.folder)
    if not files:
        yield "Counts and hashes of the rows were not kept by the kit that trained it."
        return
    yield from ("| file | for | rows | sha256 |", "|---|---|---|---|")
    for file in files:
        yield f"| {code(Path(file.path).name)} | {named.get(file.path, 'test')} | {file.rows:,} | {code(file.sha256)} |"


def _training(card: _Card) -> Iterator[str]:
    yield from ("", "## Training", "", f"{card.held.step} steps by Axolotl, with:", "")
    kinds = {kind: None for key, entry in dataset_entries(card.values) if key.startswith("datasets") and isinstance(kind := entry.get("type"), str)}
    if kinds:
        yield f"- type of the rows: {code(', '.join(kinds))}"
    for key in SHOWN:
        if card.values.get(key) is not None:
            yield f"- {key}: {code(shown(to_plain(card.values[key])))}"


def _use(card: _Card) -> Iterator[str]:
    name, rank = card.base.name, card.values.get("lora_r")
    yield from ("", "## Use", "", "Put a question as the training rows put theirs: tables, question and markers in the same form.", "", "```python")
    yield from ("from peft import PeftModel", "from transformers import AutoModelForCausalLM, AutoTokenizer", "")
    yield 'adapter = "."  # the folder of this page, or its name on the hub'
    yield "tokenizer = AutoTokenizer.from_pretrained(adapter)"
    yield f'base = AutoModelForCausalLM.from_pretrained({quoted(name)}, dtype="auto", device_map="auto")'
    yield from ("model = PeftModel.from_pretrained(base, adapter)", "```")
    served = next((one for one in RANKS if isinstance(rank, int) and rank <= one), None)
    if served and not card.values.get("peft_use_dora"):
        yield from ("", "With vLLM (not tried by the kit):", "", "```sh")
        yield from (f"vllm serve {quoted(name)} --enable-lora --max-lora-rank {served} --lora-modules sql=.", "```")


def quoted(name: str) -> str:
    """A name in double quotes, for Python and a shell, in a block of code."""
    return json.dumps(re.sub(r"[^\w./ -]", "_", name))


def code(value: Any) -> str:
    """A value in a cell or a line of Markdown: nothing in it is markup, and nothing ends it."""
    return f"`{re.sub(NO_CODE, '_', str(value))}`"


def plain(value: Any) -> str:
    """Text of a line of Markdown, without what could be markup."""
    return re.sub(NO_TEXT, "_", str(value))
