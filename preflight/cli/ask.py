"""The command line of the model in use: `python -m preflight.ask CONFIG`, questions answered by a finished run's adapter."""

import argparse
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from preflight.cli.console import EXIT_ERROR, guarded, printable, refuse, show
from preflight.cli.options import add_run_options, parsed_overrides
from preflight.cli.trained import Trained, find_trained
from preflight.config.values import sequence_len
from preflight.data.prompt_strategies import BadRowError
from preflight.training.evaluation.answers import Question, asking_strategy, read_questions, trained_tokenizer
from preflight.training.evaluation.asking import NoPatternError, read_pattern
from preflight.training.evaluation.checking import Check, checking, shows_tables

EXPECTED = 200  # test rows whose answers say how long an answer may be
NOT_ASKED = "not asked"
SAYS = {"runs": "runs on these tables", "fails": "does not run", "not checked": "not checked"}

Put = Callable[[str], Question]


def main(argv: list[str] | None = None) -> int:
    """Answer questions until there are none; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.ask",
        description="Questions answered by the adapter of a finished run, put as the test rows put theirs. Each answer is analysed by PostgreSQL "
        "on the tables that it is about before it is shown, and none is run. Without --question: one question a line, from the keyboard or a pipe.",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the YAML that was given to preflight")
    tables = "a file of CREATE TABLE statements (default: the tables of the first test row)"
    parser.add_argument("--schema", type=Path, metavar="FILE", help=tables)
    parser.add_argument("--question", action="append", metavar="TEXT", help="one question; may be given again")
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a question: question, answer, state (runs, fails, not checked, not asked), cause, message",
    )
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="the workspace that was given to preflight")
    add_run_options(parser)
    args = parser.parse_args(argv)
    args.overrides = parsed_overrides(parser, args.overrides)
    logging.disable(logging.WARNING)
    return guarded("ask", partial(_ask_all, args), interrupted="")


def _ask_all(args: argparse.Namespace) -> int:
    trained = find_trained(args)
    if trained is None:
        return EXIT_ERROR
    try:
        tables = args.schema.read_text(encoding="utf-8").strip() if args.schema else ""
    except (OSError, UnicodeDecodeError) as error:
        return refuse(f"{args.schema}: {getattr(error, 'strerror', None) or 'not UTF-8'}")
    if args.schema and not shows_tables(tables):
        return refuse(f"{args.schema}: it holds no CREATE TABLE that can be read")
    try:
        model = _load(trained, tables)
    except NoPatternError as error:
        return refuse(f"{trained.test}: {error}")
    except OSError as error:
        return refuse(f"{error.filename or trained.test}: {error.strerror or error}")
    with checking() as check:
        for question in args.question or _typed():
            found = _answered(question, model, check)
            if args.json:
                show(json.dumps(found, ensure_ascii=False).encode("utf-8", "backslashreplace").decode())
            elif found["state"] == NOT_ASKED:
                show(printable(f"{NOT_ASKED}: {found['message']}"), error=True)
            else:
                because = ": ".join(found[part] for part in ("cause", "message") if found[part])
                show(printable(f"{found['answer']}\n  {SAYS[found['state']]}" + (f" ({because})" if because else "")))
    return 0


@dataclass(frozen=True, kw_only=True)
class _Model:
    """What puts a question as the rows do, and what answers it."""

    put: Put
    answer: Callable[[Question], str]
    longest: int  # tokens of a question


def _answered(question: str, model: _Model, check: Check) -> dict[str, Any]:
    """What `--json` shows of a question."""
    found = {"question": question, "answer": None, "state": NOT_ASKED, "cause": "", "message": ""}
    try:
        question.encode()
        put = model.put(question)
    except UnicodeEncodeError:
        return found | {"message": "it is not UTF-8"}
    except (BadRowError, NoPatternError) as error:
        return found | {"message": str(error)}
    if len(put.tokens) > model.longest:
        return found | {
            "message": f"with its tables it has {len(put.tokens):,} tokens, and no row that was trained on has more than {model.longest:,}"
        }
    answer = model.answer(put)
    verdict = check(put.question, answer)
    return found | {"answer": answer, "state": verdict.state, "cause": verdict.cause, "message": verdict.message}


def _load(trained: Trained, tables: str) -> _Model:
    """The adapter on its base. Raises NoPatternError, OSError."""
    values = trained.file.values
    strategy, tokenizer = (
        asking_strategy(values),
        trained_tokenizer(values, trained.run.outputs),
    )
    if strategy is None or tokenizer is None:
        raise NoPatternError("rows of this kind, or the tokenizer, can't be read here")
    pattern = read_pattern(trained.test, strategy)
    if tables and not pattern.tables:
        raise NoPatternError("its rows show no CREATE TABLE, so --schema has no place in a prompt")
    expected = read_questions(trained.test, strategy, values, tokenizer, EXPECTED)
    from preflight.training.evaluation.generation import load_model  # torch, which --help does without

    model = load_model(values, trained.run.outputs, expected)
    return _Model(
        put=lambda question: pattern.put(question, tables, strategy, values, tokenizer),
        answer=lambda question: model.answer([question])[0].text,
        longest=sequence_len(values),
    )


def _typed() -> Iterator[str]:
    """The lines of standard input; asked for where that is a terminal. What is not UTF-8 comes as surrogates: one line, not all, is refused."""
    asked = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    while True:
        if asked:
            sys.stderr.write("question> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
