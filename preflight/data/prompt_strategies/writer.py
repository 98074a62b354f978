"""Rows written by one chat template: the text that is tokenised, and its loss mask."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.data.prompt_strategies.base import BadRowError, Piece, Row
from preflight.data.prompt_strategies.conversation import Fields, Turn, read_tools, read_turns
from preflight.data.prompt_strategies.masks import LossMask, LossRules, Part, Span, find_span
from preflight.data.prompt_strategies.templates import message_variables, render
from preflight.data.tokenizer import Tokenizer

# what a template is given where the tokenizer is not at hand: enough to see which rows it refuses
STAND_IN = {"bos_token": "", "eos_token": ""}


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A chat template with all that it needs of the config."""

    template: str
    variables: frozenset[str]  # keys of a message that it reads
    more: Mapping[str, Any]  # chat_template_kwargs
    fields: Fields
    rules: LossRules
    eot_tokens: tuple[str, ...]
    everything: bool  # train_on_inputs
    tokenizer: Tokenizer | None

    @functools.cached_property
    def _eot(self) -> tuple[frozenset[int], str]:
        """(the numbers of the end-of-turn tokens, why Axolotl refuses them or ''): ChatTemplateStrategy._validate_eot_and_eos_tokens."""
        if self.tokenizer is None:
            return frozenset(), ""
        encoded = {token: self.tokenizer.encode([token])[0].ids for token in self.eot_tokens}
        if list(self.eot_tokens) != [self.tokenizer.eos]:
            encoded = {token: ids for token, ids in encoded.items() if token in self.template}
            if split := next((token for token, ids in encoded.items() if len(ids) != 1), None):
                return frozenset(), f"eot_tokens: {split} is {len(encoded[split])} tokens to the tokenizer, not one"
            if self.tokenizer.eos in encoded and self.rules.on_eos != self.rules.on_eot:
                return frozenset(), f"eot_tokens holds the EOS, with train_on_eos {self.rules.on_eos} but train_on_eot {self.rules.on_eot}"
        return frozenset(ids[0] for ids in encoded.values() if len(ids) == 1), ""

    @property
    def refusal(self) -> str:
        """Why Axolotl refuses the template with these tokens, or ''."""
        return self._eot[1]

    def check(self, row: Row) -> None:
        """Raises BadRowError for a row that the template refuses. Of rows that hold text alone the template is asked once for each order of
        roles: what it refuses of them is the order. Asking for every row would take longer than all else (300,000 rows, 20 s on two cores)."""
        order = self._order(row)
        if order and order in self._taken:
            return
        self._text([turn.message for turn in self._turns(row)], read_tools(row.columns))
        self._taken.add(order)

    @functools.cached_property
    def _taken(self) -> set[tuple[str, ...]]:
        return set()

    def _order(self, row: Row) -> tuple[str, ...]:
        """The roles of a row of which each message is a role and a text, and nothing else; empty for any other."""
        messages = row.columns[self.fields.messages]
        plain = len(row.columns) == 1 and isinstance(messages, list)
        name = self.fields.name("content")
        if not plain or any(len(message) != 2 or not isinstance(message.get(name), str) for message in messages):
            return ()
        return tuple(role for role, _ in row.turns)

    def piece(self, row: Row, answer: int) -> Piece:
        """The conversation and its loss mask. `answer` is the place of the last answer in `row.turns`. Raises BadRowError."""
        assert self.tokenizer is not None
        turns, tools = self._turns(row), read_tools(row.columns)
        text = self._text([turn.message for turn in turns], tools)

        @functools.cache
        def span(place: int, only: str = "") -> Span | None:
            if not place and turns[0].message["role"] == "system" and self.tokenizer and "mistral" in self.tokenizer.name.lower():
                return None  # as Axolotl has it
            return find_span(text, turns, place, self.fields.thinking, lambda messages: self._text(messages, tools), only)

        parts = list[Part]()
        for place, turn in enumerate(turns):
            trained = self._is_trained(turn)
            if trained or "all" in (self.rules.on_eos, self.rules.on_eot):
                parts.append(self._part(turn, trained, functools.partial(span, place)))
        shift = len(turns) - len(row.turns)  # a system turn of its own column, or one that is dropped
        mask = LossMask(parts=parts, rules=self.rules, tokenizer=self.tokenizer, eot_ids=self._eot[0])
        return Piece(text, mask, answer=span(max(0, answer + shift)))

    def _turns(self, row: Row) -> list[Turn]:
        return read_turns(row.columns, self.fields, self.variables)

    def _text(self, messages: Sequence[Mapping[str, Any]], tools: list[Any] | None) -> str:
        special = self.tokenizer.special if self.tokenizer else STAND_IN
        try:
            return render(self.template, messages, special, tools, self.more)
        except Exception as error:  # a template may raise anything
            raise BadRowError(f"the chat template refuses it, and training would stop there: {error or type(error).__name__}") from None

    def _is_trained(self, turn: Turn) -> bool:
        if turn.training is not None:
            return bool(turn.training)
        if turn.detail is not None or turn.thinking_detail is not None:
            return bool(turn.detail) or bool(turn.thinking_detail)
        return self.everything or turn.message["role"] in self.rules.roles

    def _part(self, turn: Turn, trained: bool, span: Callable[[str], Span | None]) -> Part:
        content, thinking = turn.message.get("content"), turn.message.get(self.fields.thinking)
        partly = bool(turn.detail or turn.thinking_detail) and thinking is not None
        for text, detail in ((content, turn.detail), (thinking, turn.thinking_detail)):
            if detail and trained and not (isinstance(text, str) and text):
                raise BadRowError("it says which characters are trained of a content that is no text")
        return Part(
            trained=trained,
            span=span("content" if partly else ""),
            text=content if isinstance(content, str) else "",
            detail=turn.detail or (),
            thinking=thinking if isinstance(thinking, str) else "",
            thinking_detail=turn.thinking_detail or (),
            thinking_span=span("thinking") if trained and turn.thinking_detail and thinking is not None else None,
        )


def find_writer(template: str, fields: Fields, rules: LossRules, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> Writer:
    """The template with what the config's `values` say of it; made once. Raises BadTemplateError."""
    more, tokens = values.get("chat_template_kwargs"), values.get("eot_tokens")
    settings = json.dumps(more) if isinstance(more, Mapping) else "{}"
    eot_tokens = tuple(str(token) for token in tokens) if isinstance(tokens, list) else None
    return _writer(template, fields, rules, settings, eot_tokens, bool(values.get("train_on_inputs")), tokenizer)


@functools.lru_cache(maxsize=16)
def _writer(
    template: str,
    fields: Fields,
    rules: LossRules,
    more: str,
    eot_tokens: tuple[str, ...] | None,
    everything: bool,
    tokenizer: Tokenizer | None,
) -> Writer:
    eos = (tokenizer.eos,) if tokenizer and tokenizer.eos else ()
    return Writer(
        template=template,
        variables=message_variables(template),
        more=json.loads(more),
        fields=fields,
        rules=rules,
        eot_tokens=eos if eot_tokens is None else eot_tokens,
        everything=everything,
        tokenizer=tokenizer,
    )
