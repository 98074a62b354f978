"""The rows of `type: preflight.answer_only` as Axolotl takes them: tokenised as `completion` does, with loss on what follows the marker alone.
data/prompt_strategies/answer_only.py says the same without Axolotl; a test holds the two together."""

from collections.abc import Mapping
from typing import Any

from axolotl.prompt_tokenizers import PromptTokenizingStrategy

from preflight.config.values import ANSWER_ONLY
from preflight.data.prompt_strategies.answer_only import AnswerOnly
from preflight.data.prompt_strategies.base import BadRowError, Row

IGNORED = -100  # a label without loss


class AnswerOnlyStrategy(PromptTokenizingStrategy):  # type: ignore[misc]  # axolotl is not typed
    """Tokens and labels of one row."""

    rows: AnswerOnly

    def tokenize_prompt(self, prompt: Mapping[str, Any]) -> dict[str, list[int]]:
        """Raises ValueError for a row of which nothing tells what the answer is, and without a tokenizer that knows places in the text."""
        text = str(prompt[self.rows.field])
        row = Row(line=0, text=text)
        try:
            self.rows.check(row, {}, None)
        except BadRowError as error:
            raise ValueError(f"{error}: {text[:80]!r}") from None
        if not self.tokenizer.is_fast:
            raise ValueError(f"type {ANSWER_ONLY} needs a fast tokenizer, which knows where in the text a token stands: tokenizer_use_fast: true")
        start = len(self.rows.question_and_answer(row)[0])
        found = self.tokenizer(text, return_offsets_mapping=True)
        ids, trained = list(found["input_ids"]), [bool(self.train_on_inputs) or end > start for _, end in found["offset_mapping"]]
        if ids[-1] != self.tokenizer.eos_token_id:
            ids, trained = [*ids, self.tokenizer.eos_token_id], [*trained, True]
        labels = [id if has_loss else IGNORED for id, has_loss in zip(ids, trained, strict=True)]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def load(tokenizer: Any, cfg: Any, ds_cfg: Mapping[str, Any] | None = None) -> AnswerOnlyStrategy:
    """How Axolotl asks for it."""
    strategy = AnswerOnlyStrategy(None, tokenizer, cfg.train_on_inputs, cfg.sequence_len)
    strategy.rows = AnswerOnly(field=str((ds_cfg or {}).get("field") or "text"))
    return strategy
