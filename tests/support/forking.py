"""How the tests' processes that have imported Axolotl write tokenised rows."""

from datasets import arrow_dataset


def fork_what_writes_rows():
    """Have `datasets` fork the two processes of each write, as it does for its maps, where it would start them anew: each would import datasets
    again, and a question to Axolotl took 5 s in the place of 2 (2026-11-27). What is written is the same."""
    context = arrow_dataset.mp.get_context
    arrow_dataset.mp.get_context = lambda method=None: context("fork" if method == "spawn" else method)
