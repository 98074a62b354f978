"""`type: preflight.answer_only` of an entry of `datasets`: what Axolotl imports by that name. The work is in training.answer_only."""

from preflight.training.answer_only import load

__all__ = ["load"]
