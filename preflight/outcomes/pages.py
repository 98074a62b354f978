"""The pages of runs: `runs/index.html` of the workspace, and `page.html` in the folder of each run."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from preflight.config.layers import lookup
from preflight.config.settings import Settings
from preflight.config.yaml_file import read_yaml
from preflight.files import MALFORMED, write_atomic
from preflight.findings import to_plain
from preflight.machine.workspace import Workspace
from preflight.outcomes.markup import figure, label, page, table, text
from preflight.outcomes.paired import adapter_figures
from preflight.outcomes.reading import Outcome, curve
from preflight.outcomes.suggestions import suggest
from preflight.outcomes.table import Runs, brief, cells, spent
from preflight.plan.estimate import read_estimate
from preflight.training.evaluation.answers import last_line
from preflight.training.evaluation.execution import Figures

INDEX, PAGE = "index.html", "page.html"
MOST_PROVED = 50  # wrong answers on a page
LONGEST = 60  # characters of a value
MOST_CURVES = 30  # runs whose curves are drawn, the newest
HEAD = ("run", "state", "steps", "eval loss: first, best, last", "right when run", "test loss", "hours", "units", "$", "differs in")


def write_pages(runs: Runs, workspace: Workspace, settings: Settings, names: Sequence[str] = ()) -> Path:
    """The index, and the pages of the runs of these names, or of all that lie here; the index's path. Raises OSError, ImportError."""
    for one in runs.outcomes:
        if not one.kept and (not names or one.name in names):
            write_atomic(one.folder / PAGE, run_page(one, runs, settings))
    index = workspace.runs / INDEX
    write_atomic(index, index_page(runs, settings))
    return index


def index_page(runs: Runs, settings: Settings) -> str:
    """All runs: the verdict, the table, the losses and the answers."""
    rows = [_row(one, runs, settings) for one in runs.outcomes]
    verdict = f"<p><b>{text(runs.comparison.says)}</b></p>" if runs.comparison else "<p>No run is evaluated yet.</p>"
    drawn = [one for one in runs.outcomes if one.eval_losses][-MOST_CURVES:]
    lines = [_line(one.name, one.eval_losses, "lines+markers") for one in drawn]
    parts = [verdict, table(HEAD, rows)]
    if lines:
        parts.append(figure("Loss on validation rows", lines, xaxis={"title": {"text": "step"}}, yaxis={"title": {"text": "loss"}}))
    judged = [(one, figures) for one in runs.outcomes if (figures := adapter_figures(one))]
    if judged:
        parts.append(figure("Answers that are right when run, with their 95% interval", [_intervals(judged)], yaxis=_percent()))
    return page("Runs", *parts)


def run_page(one: Outcome, runs: Runs, settings: Settings) -> str:
    """One run: what it reached, where it was wrong, what it cost, and the YAML that it was launched with."""
    loss, evals = curve(one.log, "loss"), one.eval_losses
    figures = adapter_figures(one)
    file, _ = read_yaml(one.folder / "config.yaml")
    parts = [f'<p><a href="../{INDEX}">All runs</a></p>', table((), [[f"<b>{text(name)}</b>", said] for name, said in _facts(one, runs, settings)])]
    if tries := suggest(one, runs, settings):
        items = "".join(f"<li><code>{text(this.change)}</code>: {text(this.because)}. {text(this.cost)}</li>" for this in tries)
        parts.append(f"<h2>To try next</h2><ul>{items}</ul>")
    if loss or evals:
        lines = [_line("training", loss, "lines"), _line("validation", evals, "lines+markers")]
        parts.append(figure("Loss", lines, xaxis={"title": {"text": "step"}}, yaxis={"title": {"text": "loss"}}))
    if figures:
        parts += _answers(figures)
    parts += _lengths(one.folder)
    if file:
        parts.append(
            f"<h2>The YAML that was launched</h2><pre>{text((one.folder / 'config.yaml').read_text(encoding='utf-8', errors='replace'))}</pre>"
        )
    before = _before(one, runs)
    if before:
        parts.insert(2, _changes(one, before))
    return page(one.name, *parts)


def _row(one: Outcome, runs: Runs, settings: Settings) -> list[str]:
    name = text(one.name)
    if one.kept:
        name += f" ({one.kept})"
    elif (one.folder / PAGE).exists():
        name = f'<a href="{quote(one.folder.name)}/{PAGE}">{name}</a>'
    best, held = one.best_loss, cells(one, settings)
    values = ", ".join(f"{key} {brief(value, LONGEST)}" for key, value in runs.differs(one).items())
    losses = f"{one.eval_losses[0][1]:.3f}, {best[1]:.3f} (step {best[0]}), {one.eval_losses[-1][1]:.3f}" if best else ""
    return [name, text(one.state), held.steps, losses, held.right, held.test_loss, held.hours, held.units, held.usd, text(values)]


def _facts(one: Outcome, runs: Runs, settings: Settings) -> Iterator[tuple[str, str]]:
    """The lines at the head of a run's page, as markup."""
    yield "state", text(one.state)
    if figures := adapter_figures(one):
        yield "answers", text(figures.summary)
    if one.result and one.result.choice:
        yield "adapter", text(one.result.choice.get("says", ""))
    if one.test_loss:
        yield "test loss", f"{one.test_loss.test:.3f}; validation {one.test_loss.validation:.3f}"
    cost, estimate = spent(one, settings), read_estimate(one.folder)
    for name, value, expected in (
        ("hours", cost.hours if cost else None, estimate.get("hours")),
        ("compute units", cost.units if cost else None, estimate.get("compute_units")),
        ("$", cost.usd if cost else None, estimate.get("usd")),
    ):
        if value is not None:
            yield name, f"{value:.2f}{_expected(expected)}"
    for session in one.sessions or ():
        yield (
            "session",
            text(f"{session.begun} UTC, {session.machine or 'a machine that is not named'}: step {session.first_step} to {session.last_step}"),
        )
    for note in one.notes:
        yield "note", text(note)


def _expected(span: Any) -> str:
    try:
        low, high = (float(bound) for bound in span)
        return f"; the estimate was {low:.2f} to {high:.2f}"
    except MALFORMED:
        return ""


def _before(one: Outcome, runs: Runs) -> Outcome | None:
    """The run that was begun before this one."""

    def begun(other: Outcome) -> tuple[str, str]:
        return (other.sessions[0].begun if other.sessions else "", other.name)

    if not one.sessions or not one.experiment:
        return None
    return max((other for other in runs.outcomes if other.sessions and other.experiment and begun(other) < begun(one)), key=begun, default=None)


def _changes(one: Outcome, before: Outcome) -> str:
    keys = sorted(
        key for key in one.experiment.keys() | before.experiment.keys() if to_plain(one.experiment.get(key)) != to_plain(before.experiment.get(key))
    )
    rows = [[text(key), text(brief(before.experiment.get(key), LONGEST)), text(brief(one.experiment.get(key), LONGEST))] for key in keys]
    shown_rows = table(("key", before.name, one.name), rows) if rows else "<p>Nothing of the experiment.</p>"
    return f"<h2>What differs from the run before, {text(before.name)}</h2>{shown_rows}"


def _answers(figures: Figures) -> Iterator[str]:
    """By kind and by cause, then the wrong answers with their proof."""
    if figures.kinds:
        names = [f"{label(kind)} ({asked})" for kind, (_, asked) in figures.kinds.items()]
        bars = {"type": "bar", "x": names, "y": [100 * right / asked for right, asked in figures.kinds.values()]}
        yield figure("Right answers by kind of question (how many were asked)", [bars], yaxis=_percent())
    if figures.causes:
        counts = {"type": "bar", "orientation": "h", "y": [label(cause) for cause in figures.causes], "x": list(figures.causes.values())}
        yield figure("Wrong answers by cause", [counts], yaxis={"automargin": True, "autorange": "reversed"})
    wrong = figures.wrong_answers[:MOST_PROVED]
    if wrong:
        yield f"<h2>Wrong answers: {len(wrong)} of {figures.wrong}</h2>" + "".join(map(_wrong, wrong))


def _wrong(answer: Mapping[str, Any]) -> str:
    question = str(answer.get("question", "")).replace("[/INST]", "").strip()
    parts = [
        f"<pre>{text(question)}</pre>",
        *(f"<p>{name}</p><pre>{text(answer.get(key, ''))}</pre>" for name, key in (("expected", "expected"), ("given", "given"))),
    ]
    proof = answer.get("proof")
    if isinstance(proof, Mapping):
        for held in proof.get("tables") or ():
            parts.append(f"<p>{text(held.get('name', ''))}</p>{_grid(held)}")
        parts.append(f"<p>expected gives</p>{_grid(proof.get('expected'))}")
        parts.append(
            f"<p>given gives</p>{_grid(proof.get('given'))}" if proof.get("given") else f"<p>given fails: {text(proof.get('error', ''))}</p>"
        )
    return f"<details><summary>{text(answer.get('cause', ''))}: {text(last_line(question))}</summary>{''.join(parts)}</details>"


def _grid(held: Any) -> str:
    if not isinstance(held, Mapping):
        return ""
    rows = [[text("NULL" if value is None else value) for value in row] for row in held.get("rows") or ()]
    return table([str(name) for name in held.get("columns") or ()], rows or [["(no rows)"]])


def _lengths(folder: Path) -> Iterator[str]:
    """How long the rows are, in tokens, as preflight counted them."""
    rows = lookup(read_estimate(folder), "rows")
    for name, histogram in rows.items() if isinstance(rows, Mapping) else ():
        try:
            bars = {"type": "bar", "x": [f"up to {int(most):,}" for most, _ in histogram], "y": [int(count) for _, count in histogram]}
        except MALFORMED:
            continue
        yield figure(f"Rows of {name} by tokens", [bars], yaxis={"title": {"text": "rows"}})


def _line(name: str, points: Sequence[tuple[int, float]], mode: str) -> dict[str, Any]:
    return {"type": "scatter", "mode": mode, "name": label(name), "x": [step for step, _ in points], "y": [value for _, value in points]}


def _intervals(judged: Sequence[tuple[Outcome, Figures]]) -> dict[str, Any]:
    shares = [100 * figures.right / max(1, figures.questions) for _, figures in judged]
    bounds = [[100 * bound for bound in figures.interval] for _, figures in judged]
    above = [high - share for share, (_, high) in zip(shares, bounds, strict=True)]
    below = [share - low for share, (low, _) in zip(shares, bounds, strict=True)]
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    return {"type": "scatter", "mode": "markers", "x": [label(one.name) for one, _ in judged], "y": shares, "error_y": bars, "marker": {"size": 10}}


def _percent() -> dict[str, Any]:
    return {"range": [0, 100], "ticksuffix": "%"}
