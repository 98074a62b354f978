"""Options that command lines share: which run is meant. What is imported is imported late, where `guarded` says what is not installed."""

import argparse
import unicodedata
from typing import TYPE_CHECKING

from preflight.cli.console import printable

if TYPE_CHECKING:
    from preflight.config.layers import Change

SET = "change one value, as YAML; may be given again; datasets.0.path=rows.jsonl reaches inside"
NAME = "the name of the run, and of its folder here and on Drive (default: the config's, with what --set changes of the experiment behind it)"


def add_run_options(parser: argparse.ArgumentParser, change: str = "as it was given to preflight: it names the run") -> None:
    """`--set` and `--name`, which a run is known by."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=change)
    parser.add_argument("--name", type=run_name, metavar="NAME", help=NAME)


def run_name(text: str) -> str:
    """The name of a run, in one form of Unicode. Raises ArgumentTypeError."""
    from preflight.config.names import name_problem

    if problem := name_problem(text):
        raise argparse.ArgumentTypeError(printable(f"{text!r}: {problem}"))
    return unicodedata.normalize("NFC", text)


def parsed_overrides(parser: argparse.ArgumentParser, texts: list[str]) -> "tuple[Change, ...]":
    """What `--set` says; ends with one sentence and exit code 2 where one is not KEY=VALUE."""
    from preflight.config.layers import UsageError, parse_override

    try:
        return tuple(parse_override(text) for text in texts)
    except UsageError as error:
        parser.error(str(error))
