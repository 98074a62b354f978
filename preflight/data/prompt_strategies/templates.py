"""Chat templates: which text a config names, and what it makes of a conversation.

Rendered as `apply_chat_template` of transformers 5.16 does (utils/chat_template_utils.py), without importing it. A template comes from a
config or a model and is not trusted: it runs in jinja2's sandbox, and what it writes is bounded.
"""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from preflight.data.tokenizer import Tokenizer
from preflight.files import CHECKOUT

SHIPPED = CHECKOUT / "axolotl_configs/schema/chat_templates.json"  # written by scripts/generate_schema.py from the pinned Axolotl
OWN, FALLBACK, WRITTEN = "tokenizer_default", "tokenizer_default_fallback_", "jinja"
MOST = 32 << 20  # characters that a template may write for one row; a row of a file has at most 8 MiB


class UnknownTemplateError(Exception):
    """Why it can't be told which template the trainer will use."""


class BadTemplateError(Exception):
    """Why the trainer stops at this template before it has read a row."""


def find_template(entry: Mapping[str, Any], values: Mapping[str, Any], tokenizer: Tokenizer | None) -> str:
    """The text of the template that an entry of `datasets`, or else the config, names, as Axolotl 0.19 finds it.

    Where the config names one, Axolotl gives it to the tokenizer, so that `tokenizer_default` is that one.
    Raises UnknownTemplateError and BadTemplateError.
    """
    choice, text = str(entry.get("chat_template") or OWN), entry.get("chat_template_jinja")
    if choice == OWN or choice.startswith(FALLBACK):
        of_config, written = values.get("chat_template"), values.get("chat_template_jinja")
        if of_config or written:
            choice, text = str(of_config or WRITTEN), written
    if choice == WRITTEN:
        if not text:
            raise BadTemplateError("chat_template: jinja without a chat_template_jinja beside it")
        return _read(str(text))
    if choice == OWN or choice.startswith(FALLBACK):
        return _of_tokenizer(tokenizer, choice.removeprefix(FALLBACK) if choice != OWN else "")
    return shipped(choice)


def _of_tokenizer(tokenizer: Tokenizer | None, fallback: str) -> str:
    if tokenizer is None:
        raise UnknownTemplateError("the chat template is the tokenizer's own, and the tokenizer is not on this machine")
    if tokenizer.untold:
        raise UnknownTemplateError(tokenizer.untold)
    if tokenizer.template:
        return tokenizer.template
    if fallback:
        return shipped(fallback)
    raise BadTemplateError(f"chat_template: {OWN}, and the tokenizer of {tokenizer.name} has no chat template")


@functools.cache
def _read(text: str) -> str:
    """A template written in the config, or the file that holds it."""
    try:
        return Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text
    except (OSError, ValueError):  # a template is longer than a path may be
        return text


@functools.cache
def _shipped() -> dict[str, str]:
    found: dict[str, str] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return found


def shipped(name: str) -> str:
    """A template that comes with Axolotl. Raises BadTemplateError."""
    if name not in _shipped():
        raise BadTemplateError(f"chat_template: {name} is none that Axolotl has")
    return _shipped()[name]


class _Generation(Extension):
    """`{% generation %}`, which marks answers and writes what is in it."""

    tags = {"generation"}  # noqa: RUF012  # jinja2 declares it for instances

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    def _written(self, caller: Any) -> str:
        return str(caller())


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox, which bounds loops, and in which no product is larger than a template may write."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and isinstance(left, int) and isinstance(right, int) and right > 64:
            raise jinja2.exceptions.SecurityError("a power that is too large")
        for many, times in ((left, right), (right, left)):
            if isinstance(many, str | list | tuple) and isinstance(times, int) and len(many) * times > MOST:
                raise jinja2.exceptions.SecurityError("a text that is too long")
        return super().call_binop(context, operator, left, right)


def _refuse(message: str) -> NoReturn:
    raise jinja2.exceptions.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@functools.cache
def _environment() -> _Sandbox:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


@functools.lru_cache(maxsize=32)
def compiled(text: str) -> jinja2.Template:
    """The template, ready to render. Raises BadTemplateError."""
    try:
        return _environment().from_string(text)
    except (jinja2.TemplateError, RecursionError) as error:
        raise BadTemplateError(f"the chat template is not one: {error}") from None


def render(
    text: str, turns: Sequence[Mapping[str, Any]], special: Mapping[str, str], tools: Any = None, more: Mapping[str, Any] | None = None
) -> str:
    """What the template writes for a conversation. `more` are the config's `chat_template_kwargs`. Raises BadTemplateError, and whatever a
    template may raise for rows that it does not take."""
    names: dict[str, Any] = {"documents": None, "add_generation_prompt": False, **special, **(more or {})}
    return _bounded(compiled(text).generate(names | {"messages": turns, "tools": tools or None}))


def _bounded(parts: Iterable[str]) -> str:
    written, size = list[str](), 0
    for part in parts:
        written.append(part)
        size += len(part)
        if size > MOST:
            raise jinja2.exceptions.SecurityError("it writes without end")
    return "".join(written)


@functools.lru_cache(maxsize=32)
def message_variables(text: str) -> frozenset[str]:
    """The keys of a message that a template reads, as Axolotl's JinjaTemplateAnalyzer finds them: those of a variable `message`. Axolotl hands
    only these on, beside those that the entry maps. Raises BadTemplateError."""
    try:
        tree = _environment().parse(text)
    except (jinja2.TemplateError, RecursionError) as error:
        raise BadTemplateError(f"the chat template is not one: {error}") from None
    found = {node.attr for node in tree.find_all(nodes.Getattr) if _base(node.node) == "message"}
    for item in tree.find_all(nodes.Getitem):
        if _base(item.node) == "message" and isinstance(item.arg, nodes.Const) and isinstance(item.arg.value, str):
            found.add(item.arg.value)
    return frozenset(found)


def _base(node: nodes.Node) -> str:
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return node.name if isinstance(node, nodes.Name) else ""
