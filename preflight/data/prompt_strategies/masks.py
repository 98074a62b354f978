"""Which tokens of a conversation have loss, token for token as ChatTemplateStrategy of axolotl 0.19 says."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from preflight.data.prompt_strategies.base import BadRowError
from preflight.data.prompt_strategies.conversation import Fields, Turn
from preflight.data.tokenizer import Encoded, Tokenizer

# two texts with no first or last character in common: what a template glues to one of them shows in the other
PLACEHOLDERS = ("[[dummy_message]]", "zzdummymessagezz")
NEAR = 3  # tokens after a turn among which its end token is looked for
NONE = (-1, -1)

Span = tuple[int, int]
Detail = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class LossRules:
    """Which turns of a conversation are trained, and which of the tokens that end them: all, those of trained turns, the last, or none."""

    roles: tuple[str, ...] = ("assistant",)
    on_eos: str = "turn"
    on_eot: str = "turn"


def read_rules(entry: Mapping[str, Any], fields: Fields) -> LossRules:
    """The rules of an entry of `datasets`, with Axolotl's defaults."""
    roles, eos = entry.get("roles_to_train"), str(entry.get("train_on_eos") or "turn")
    trained = [str(fields.role(str(role))) for role in roles] if isinstance(roles, list) else ["assistant"]
    return LossRules(roles=tuple(trained), on_eos=eos, on_eot=str(entry.get("train_on_eot") or eos))


class Part(NamedTuple):
    """What the mask does for one turn."""

    trained: bool
    span: Span | None  # characters of the turn; None where it can't be found
    text: str = ""  # its content, where only parts of it are trained
    detail: Detail = ()
    thinking: str = ""  # its reasoning, where only parts of that are trained
    thinking_detail: Detail = ()
    thinking_span: Span | None = None


@dataclass(frozen=True, kw_only=True)
class LossMask:
    """The loss mask of one conversation; `of` gives it for the tokens of its text."""

    parts: Sequence[Part]
    rules: LossRules
    tokenizer: Tokenizer
    eot_ids: frozenset[int]

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end a turn."""
        return self.eot_ids | self._eos_ids

    @property
    def _eos_ids(self) -> frozenset[int]:
        return frozenset() if self.tokenizer.eos_id is None else frozenset({self.tokenizer.eos_id})

    def of(self, found: Encoded) -> list[bool]:
        """Whether each token has loss."""
        mask, last = [False] * len(found.ids), dict[str, int]()
        for part in self.parts:
            start, end = _tokens(part.span, found)
            if part.trained and start != -1:
                self._train(mask, part, start, end)
            if part.trained and part.thinking_detail and (begin := _tokens(part.thinking_span, found)[0]) != -1:
                _mark(mask, begin, self._chosen(part.thinking, part.thinking_detail))
            for kind, ids, wanted in (("eot", self.eot_ids, self.rules.on_eot), ("eos", self._eos_ids, self.rules.on_eos)):
                place = _first(found.ids, end, ids)
                if place != -1 and abs(place - end) <= NEAR:
                    last[kind] = place
                    if wanted == "all" or (wanted == "turn" and part.trained):
                        mask[place] = True
        for kind, wanted in (("eot", self.rules.on_eot), ("eos", self.rules.on_eos)):
            if wanted == "last" and kind in last:
                mask[last[kind]] = True
        return mask

    def _train(self, mask: list[bool], part: Part, start: int, end: int) -> None:
        if part.detail:
            _mark(mask, start, self._chosen(part.text, part.detail))
        elif not part.thinking_detail:
            mask[start:end] = [True] * (end - start)

    def _chosen(self, text: str, detail: Detail) -> Iterator[int]:
        """The tokens of the text, numbered from its start, that are wholly in a part that is trained."""
        (found,) = self.tokenizer.encode([text])
        starts = [start for start, _ in found.offsets]
        offsets = [(start, after - 1) for start, after in zip(starts, [*starts[1:], len(text)], strict=True)]
        aligned = [one for part in detail if (one := _aligned(part, offsets))]
        for number, (start, end) in enumerate(offsets):
            if any(train and start >= begin and end <= stop for begin, stop, train in aligned):
                yield number


def _mark(mask: list[bool], start: int, numbers: Iterator[int]) -> None:
    for number in numbers:
        if start + number < len(mask):
            mask[start + number] = True


def _aligned(part: Mapping[str, Any], offsets: Sequence[Span]) -> tuple[int, int, bool] | None:
    """A part of a text widened to whole tokens (ChatTemplatePrompter.adjust_train_details)."""
    begin, stop = part["begin_offset"], part["end_offset"]
    first = next((number for number, (start, _) in enumerate(offsets) if start >= begin), len(offsets))
    if first > 0 and offsets[first - 1][1] > begin:
        first -= 1
    last = next((number for number in range(len(offsets) - 1, -1, -1) if offsets[number][1] <= stop), -1)
    if last < len(offsets) - 1 and offsets[last + 1][0] < stop:
        last += 1
    return (offsets[first][0], offsets[last][1], bool(part["train"])) if first <= last else None


def _first(ids: Sequence[int], start: int, wanted: frozenset[int]) -> int:
    """The first place of one of these tokens from `start` on; -1 for none. A start of -1 looks at the last token first, as Axolotl does."""
    return next((place for place in range(start, len(ids)) if ids[place] in wanted), -1)


def _tokens(span: Span | None, found: Encoded) -> Span:
    """The tokens [start, end) of a span of characters, or (-1, -1)."""
    if span is None:
        return NONE
    start = bisect_right(found.offsets, span[0], key=lambda place: place[1])
    end = bisect_left(found.offsets, span[1], key=lambda place: place[0])
    return (start, end) if start < len(found.ids) and start < end else NONE


def find_span(
    text: str, turns: Sequence[Turn], place: int, thinking: str, write: Callable[[list[dict[str, Any]]], str], only: str = ""
) -> Span | None:
    """The characters of a turn in the text of the conversation: where that differs from a text with a placeholder in its stead. `only`
    finds its `content` or its `thinking` alone. None where the turn leaves no trace."""
    spans = []
    messages = [turn.message for turn in turns]
    for placeholder in PLACEHOLDERS:
        other = write([*messages[:place], _placeholder(messages[place], placeholder, thinking, only), *messages[place + 1 :]])
        if not other:
            raise BadRowError("the chat template writes nothing for it")
        spans.append(_difference(text, other))
    start, end = min(start for start, _ in spans), max(end for _, end in spans)
    return (start, end) if start < end else None


def _placeholder(message: Mapping[str, Any], text: str, thinking: str, only: str) -> dict[str, Any]:
    """The turn as a placeholder: Axolotl keeps its role, and of the rest what is not looked for."""
    if only == "thinking":
        made = {"role": message.get("role"), "content": message.get("content", "")}
        return made | ({thinking: text} if thinking in message else {})
    made = {"role": message.get("role"), "content": text}
    return made | ({thinking: message[thinking]} if only == "content" and thinking in message else {})


def _difference(text: str, other: str) -> Span:
    """The span of `text` in which it differs from `other`."""
    limit = min(len(text), len(other))
    start = _common(limit, lambda size: text[:size] == other[:size])
    end = _common(limit - start, lambda size: text[len(text) - size :] == other[len(other) - size :])
    return start, len(text) - end


def _common(limit: int, same: Callable[[int], bool]) -> int:
    """The largest size up to the limit for which two texts are the same."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if same(middle) else (low, middle - 1)
    return low
