"""The ways in which Axolotl turns rows into tokens, as far as the kit judges them, one file each. A new one: its file, and its line in
STRATEGIES. Shapes of rows are told apart nowhere else."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from preflight.data.prompt_strategies.alpaca import Alpaca
from preflight.data.prompt_strategies.answer_only import AnswerOnly
from preflight.data.prompt_strategies.base import BadRowError, Piece, PromptStrategy, Remark, Row
from preflight.data.prompt_strategies.chat_template import ChatTemplate
from preflight.data.prompt_strategies.completion import Completion
from preflight.data.prompt_strategies.input_output import InputOutput
from preflight.data.prompt_strategies.preference import Preference
from preflight.data.prompt_strategies.user_defined import UserDefined

__all__ = ["STRATEGIES", "BadRowError", "Piece", "PromptStrategy", "Remark", "Row", "find_strategy", "guess_strategy"]

STRATEGIES: tuple[type[PromptStrategy], ...] = (Completion, AnswerOnly, ChatTemplate, Alpaca, InputOutput, UserDefined)


def find_strategy(entry: Mapping[str, Any], values: Mapping[str, Any] = MappingProxyType({})) -> PromptStrategy | None:
    """The strategy that reads this entry of `datasets` of a config of these `values`, or None for one that is not judged here."""
    if method := str(values.get("rl") or ""):
        return Preference.accept(entry, method)
    found = next((found for strategy in STRATEGIES if (found := strategy.accept(entry))), None)
    return replace(found, marker=str(values.get("answer_marker") or "")) if type(found) is Completion else found


def guess_strategy(columns: Mapping[str, Any]) -> PromptStrategy | None:
    """The strategy that reads a row with these columns, where no config says."""
    typical = (strategy.accept(strategy.typical) for strategy in STRATEGIES if strategy.typical)
    return next((found for found in typical if found and found.columns[0] in columns), None)
