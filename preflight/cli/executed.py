"""How executed answers are shown: their figures, what is wrong with them, and one proof."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from preflight.training.evaluation.answers import last_line
from preflight.training.evaluation.execution import Figures, ordered_causes

MOST_SHOWN = 12  # rows of a result
MOST_REASONS = 3
WIDTH = 10  # of the names before a text, at least
LONGEST = 28  # characters of a value


def show_figures(console: Console, executed: Mapping[str, Figures]) -> None:
    """One line for each, a table of causes, and the wrong answer of the last whose proof is the shortest."""
    width = max(WIDTH, *(len(name) + 2 for name in executed))
    for name, figures in executed.items():
        console.print(f"{name:<{width}}{figures.summary}")
    causes = ordered_causes(executed.values())
    if causes:
        table = Table("wrong because", *executed, box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for cause in causes:
            table.add_row(cause, *(str(figures.causes.get(cause, 0)) for figures in executed.values()))
        console.print()
        console.print(table)
    for name, figures in executed.items():
        for reason, count in list(figures.reasons.items())[:MOST_REASONS]:
            console.print(f"{name:<{width}}{count} undecided or not checked: {reason}")
    for line in next((lines for figures in reversed(list(executed.values())) if (lines := list(example(figures)))), []):
        console.print(line)


def example(figures: Figures) -> Iterator[str]:
    """The wrong answer whose proof is the shortest but not empty, if there is such, as lines; none where no answer has a proof."""
    proved = [answer for answer in figures.wrong_answers if answer["proof"] and answer["proof"]["given"]]
    if not proved:
        return
    rows = {answer["line"]: sum(len(table["rows"]) for table in answer["proof"]["tables"]) for answer in proved}
    answer = min(proved, key=lambda one: (rows[one["line"]] == 0, rows[one["line"]], one["line"]))
    yield ""
    yield f"{'wrong':<{WIDTH}}{answer['cause']}, line {answer['line']} of the test rows"
    yield f"{'question':<{WIDTH}}{' '.join(last_line(answer['question']).split())}"
    yield f"{'expected':<{WIDTH}}{' '.join(answer['expected'].split())}"
    yield f"{'given':<{WIDTH}}{' '.join(answer['given'].split())}"
    yield from proof_lines(answer["proof"])


def proof_lines(proof: Mapping[str, Any]) -> Iterator[str]:
    """A proof as text: the tables, and what both answers give on them."""
    for table in proof["tables"]:
        yield f"  {table['name']}"
        yield from _grid(table)
    yield "  expected gives"
    yield from _grid(proof["expected"])
    yield "  given gives" if proof["given"] else f"  given fails: {proof['error']}"
    if proof["given"]:
        yield from _grid(proof["given"])


def _grid(table: Mapping[str, Any]) -> Iterator[str]:
    rows = [[_shown(value) for value in row] for row in table["rows"][:MOST_SHOWN]]
    widths = [max(len(row[i]) for row in [list(map(_shown, table["columns"])), *rows]) for i in range(len(table["columns"]))]
    for row in [list(map(_shown, table["columns"])), *rows]:
        yield f"    {' | '.join(value.ljust(width) for value, width in zip(row, widths, strict=True))}".rstrip()
    if not rows:
        yield "    (no rows)"
    if len(table["rows"]) > MOST_SHOWN:
        yield f"    ({len(table['rows']) - MOST_SHOWN} more)"


def _shown(value: Any) -> str:
    text = "NULL" if value is None else str(value).encode("unicode_escape").decode() if not str(value).isprintable() else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
