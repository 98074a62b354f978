"""The table of runs as text."""

import io
import shutil
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from preflight.cli.console import printable
from preflight.config.settings import Settings
from preflight.machine.workspace import Workspace
from preflight.outcomes.paired import Comparison
from preflight.outcomes.reading import Outcome
from preflight.outcomes.suggestions import suggest
from preflight.outcomes.table import Runs, brief, cells

LONGEST = 40  # characters of a value
NARROWEST = 100  # columns of the table where nothing says how wide it is shown
COLUMNS = ("run", "state", "steps", "eval loss", "right when run", "test loss", "hours", "units", "$", "differs in")


def lines(runs: Runs, settings: Settings, workspace: Workspace) -> Iterator[str]:
    """The table, the comparison, and what is to be said of single runs, line by line."""
    if not runs.outcomes:
        yield f"No run in {workspace.runs}, and none in {workspace.local(settings.drive.models)}. Begin one: make train"
    else:
        yield from _table(runs, settings)
    if runs.comparison:
        yield ""
        yield from comparison_lines(runs.comparison)
    for one in _last_and_best(runs):
        if said := list(suggestion_lines(one, runs, settings)):
            yield from ("", *said)
    for one in runs.outcomes:
        for note in one.notes:
            yield f"{one.name}: {note}"
    if runs.drive_problem:
        yield runs.drive_problem


def suggestion_lines(one: Outcome, runs: Runs, settings: Settings) -> Iterator[str]:
    """What to try after this run; nothing where nothing was seen that asks for it."""
    found = suggest(one, runs, settings)
    if found:
        yield f"to try next, by what {one.name} has shown:"
    for suggestion in found:
        yield f"  {suggestion.says}"


def _last_and_best(runs: Runs) -> list[Outcome]:
    """The run that was begun last, and the one with the most right answers."""
    last = max((one for one in runs.outcomes if one.sessions), key=lambda one: one.sessions[-1].begun if one.sessions else "", default=None)
    best = runs.comparison.leader if runs.comparison else ""
    return [one for one in runs.outcomes if one is last or one.name == best]


def _table(runs: Runs, settings: Settings) -> list[str]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    rows = [row(one, runs, settings) for one in runs.outcomes]
    shown_columns = [i for i, name in enumerate(COLUMNS) if name in ("run", "state") or any(line[i] for line in rows)]
    for i in shown_columns:
        table.add_column(COLUMNS[i], overflow="fold", justify="right" if COLUMNS[i] in ("test loss", "hours", "units", "$") else "left")
    for line in rows:
        table.add_row(*(Text(printable(line[i])) for i in shown_columns))
    out = io.StringIO()
    width = max(NARROWEST, shutil.get_terminal_size((130, 24)).columns)
    Console(file=out, width=width, color_system=None, highlight=False).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def row(one: Outcome, runs: Runs, settings: Settings) -> tuple[str, ...]:
    """The cells of a run, one for each of COLUMNS; empty where nothing is known."""
    best, losses, held = one.best_loss, one.eval_losses, cells(one, settings)
    values = ", ".join(f"{key} {brief(value, LONGEST)}" for key, value in runs.differs(one).items())
    name = one.name + (f" ({one.kept})" if one.kept else "")
    loss = f"{losses[0][1]:.3f}, best {best[1]:.3f} at {best[0]}, last {losses[-1][1]:.3f}" if best else ""
    return (name, one.state, held.steps, loss, held.right, held.test_loss, held.hours, held.units, held.usd, values)


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """The verdict, and the counts that it rests on."""
    yield comparison.says
    for one in comparison.against:
        yield (
            f"  {comparison.leader} alone right {one.leader_alone}, {one.name} alone right {one.other_alone}, of the same {one.questions} questions: "
            f"p = {one.p_adjusted:.2g}" + (f" ({one.p:.2g} before the number of comparisons)" if len(comparison.against) > 1 else "")
        )
