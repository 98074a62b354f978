"""What the kit has to know of a way in which Axolotl turns rows into tokens: one file here for each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from preflight.config.values import sequence_len
from preflight.data.tokenizer import Encoded, Tokenizer
from preflight.findings import Level

SHORTEST = 2  # Axolotl's min_sample_len
NO_COLUMN = "no column"  # how the problem of a row begins that is of another shape


class Row(NamedTuple):  # a million are made, each in a third of the time that a frozen dataclass takes
    """One line of a JSONL file as its strategy reads it, or what is wrong with it."""

    line: int
    text: str = ""  # of a strategy that reads one text
    turns: tuple[tuple[str, str], ...] = ()  # of all others: (role, content) of each part, in order
    problem: str = ""
    huge: bool = False
    columns: Mapping[str, Any] = {}  # what a chat template needs of the row; never changed


class BadRowError(Exception):
    """What is wrong with a row, in words."""


class Mask(Protocol):
    """Which tokens of a text have loss."""

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end a turn."""

    def of(self, found: Encoded) -> list[bool]:
        """Whether each token has loss."""


class Piece(NamedTuple):
    """A part of a row that is tokenised by itself."""

    text: str
    trained: bool | Mask  # all of its tokens have loss, none has, or those that the mask says
    bos: bool = False  # a BOS is put before it
    eos: bool = False  # an EOS is put after it, unless it ends with one
    room: int | None = None  # tokens after which it is cut off
    answer: tuple[int, int] | None = None  # the characters of the row's last answer, where they are in this piece


class Remark(NamedTuple):
    """What may be said of the rows of a file. `{count}` and `{rows}` of its message are those that it is said of, and all."""

    code: str
    level: Level
    message: str
    fix: str
    mixed: bool = False  # only where it is true of some rows and not of all


class Typed(NamedTuple):
    """Special tokens that a row writes out, where training adds them or where they do harm."""

    bos: bool = False  # as well as the one that training adds
    eos: bool = False  # where no answer ends, or as well as the one that training adds
    between: bool = False  # an EOS between the turns of a text that holds several: the template of whoever wrote it


class PromptStrategy(Protocol):
    """One entry of `datasets` read in one way. A frozen dataclass: it is sent to the processes that share a file."""

    typical: ClassVar[Mapping[str, Any] | None]  # an entry for rows that no config describes; None where one can't be guessed

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        """The strategy as the entry sets it up, or None where the entry is not of this kind."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a row must have; the first tells the shape where no config does."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The JSON schema of a row. `parse` says the same in code, 11 times as fast (2-core Xeon, 2026-11-24)."""

    def typed(self, row: Row, tokenizer: Tokenizer) -> Typed:
        """The special tokens that the row writes out."""

    def remarks(self, row: Row) -> Iterable[Remark]:
        """What else there is to say of the row."""

    def unjudged(self, values: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> str:
        """Why the tokens that the pinned Axolotl makes of a row are not known exactly, or ''. `values` are the whole config's."""

    def refusal(self, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> str:
        """Why the pinned Axolotl stops before it reads a row, or ''."""

    def check(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> None:
        """Raises BadRowError for a row at which the pinned Axolotl stops, as far as that can be told without tokens."""

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        """The row of a line's columns. Raises BadRowError."""

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        """All up to the last answer, and that answer, without markup that the strategy adds. A text that asks nothing is all answer."""

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        """The row as the pinned Axolotl tokenises it: its lengths, what is shown of it and what the evaluation asks all come from this.
        Raises BadRowError."""

    def fit(self, length: int, values: Mapping[str, Any]) -> tuple[int, ...]:
        """The lengths of the sequences that training makes of so many tokens; none if the row is dropped."""

    def fate(self, values: Mapping[str, Any]) -> str:
        """What becomes of a row that is longer than a sequence, in words."""


def first_part(entry: Mapping[str, Any]) -> str:
    """The strategy that an entry's `type` names, without the variant behind it: `alpaca` of `alpaca.load_no_prompt`."""
    kind = entry.get("type")
    return kind.partition(".")[0].partition(":")[0] if isinstance(kind, str) else ""


def excess_strategy(values: Mapping[str, Any]) -> str:
    return str(values.get("excess_length_strategy") or "drop").lower()


class Reproduced:
    """What the strategies share whose tokens are known without a template, and which take every row that `parse` takes."""

    def unjudged(self, values: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> str:
        return ""

    def refusal(self, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> str:
        return ""

    def check(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer | None) -> None:
        """Nothing more is known of a row than `parse` says."""

    def typed(self, row: Row, tokenizer: Tokenizer) -> Typed:
        """Of a prompt and its answer, which training ends with an EOS unless it ends with one."""
        *asked, (_, answer) = row.turns
        texts = [*(content for _, content in asked), answer.removesuffix(tokenizer.eos) if tokenizer.eos else answer]
        return typed_in(texts, tokenizer)

    def remarks(self, row: Row) -> Iterable[Remark]:
        return ()


class WholeRows(Reproduced):
    """What the strategies share whose rows are never split: too long a row is dropped, or truncated where the config says so."""

    def fit(self, length: int, values: Mapping[str, Any]) -> tuple[int, ...]:
        limit = sequence_len(values)
        if length > limit:
            return (limit,) if excess_strategy(values) == "truncate" else ()
        return (length,) if length >= SHORTEST else ()

    def fate(self, values: Mapping[str, Any]) -> str:
        fates = {"drop": "dropped", "truncate": "cut off at the end, where the answer is", "raise": "refused when training starts"}
        return fates.get(excess_strategy(values), excess_strategy(values))


def typed_in(texts: Sequence[str], tokenizer: Tokenizer) -> Typed:
    """The special tokens in texts that should hold none."""
    bos, eos = (bool(token) and any(token in text for text in texts) for token in (tokenizer.bos, tokenizer.eos))
    return Typed(bos=bos, eos=eos)


def question_and_last(turns: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The contents up to the last one, a line each, and the last one."""
    return "\n".join(content for _, content in turns[:-1]), turns[-1][1]


def prompt_pieces(prompt: str, answer: str, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
    """A prompt and its answer tokenised apart, each cut at `sequence_len` with its BOS (prompt_tokenizers.py of axolotl 0.19); the
    answer's BOS is then taken off."""
    limit = sequence_len(values)
    return [
        Piece(prompt, bool(values.get("train_on_inputs")), bos=tokenizer.adds_bos, room=limit),
        Piece(answer, True, eos=True, room=limit - tokenizer.adds_bos, answer=(0, len(answer))),
    ]


def column(values: Mapping[str, Any], name: str) -> Any:
    """What the row holds under this name. Raises BadRowError."""
    if name not in values:
        near = next((key for key in values if key.lower() == name.lower()), "")
        raise BadRowError(f"{NO_COLUMN} {name}" + (f", but {near}" if near else f"; the columns are {', '.join(list(values)[:8]) or 'none'}"))
    return values[name]


def text(values: Mapping[str, Any], name: str) -> str:
    """The text that the row holds under this name. Raises BadRowError."""
    found = column(values, name)
    if not isinstance(found, str):
        raise BadRowError(f"{name} is {kind_of(found)}, not text")
    if not found or found.isspace():
        raise BadRowError(f"{name} is empty")
    check_characters(name, found)
    return found


def check_characters(name: str, found: str) -> None:
    """Raises BadRowError for a text that can't be UTF-8."""
    if found.isascii():
        return
    try:
        found.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRowError(f"{name} holds half a surrogate pair (\\ud800 to \\udfff), which is no character") from None


def optional_text(values: Mapping[str, Any], name: str) -> str:
    """The text under this name, '' where there is none or it is null. Raises BadRowError."""
    found = values.get(name)
    if found is not None and not isinstance(found, str):
        raise BadRowError(f"{name} is {kind_of(found)}, not text")
    return found or ""


def kind_of(value: Any) -> str:
    """What a value of JSON, or of a table, is, in words."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def object_schema(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON schema of a row with these columns; others are allowed and not read."""
    return {"type": "object", "required": list(required), "properties": dict(required) | dict(optional or {})}


TEXT_SCHEMA: Mapping[str, Any] = {"type": "string", "pattern": r"\S"}
OPTIONAL_TEXT_SCHEMA: Mapping[str, Any] = {"type": ["string", "null"]}
