"""Every run of the workspace and of Drive as one record: what differs between them, what each reached and what it cost."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from preflight.config.layers import shown
from preflight.config.settings import Settings
from preflight.findings import to_plain
from preflight.machine.answering import answering
from preflight.machine.run_folder import RunFolder
from preflight.machine.workspace import Workspace
from preflight.outcomes.paired import Comparison, adapter_figures, compare
from preflight.outcomes.reading import Outcome, find_homes, find_mirrored, read_local

SHARED = re.compile(r"(\d+) x (.+), \w+")  # several GPUs, as records name them


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a run took so far; units and money where the rate of each machine is known."""

    hours: float
    units: float | None
    usd: float | None


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The runs, and what sets them apart."""

    outcomes: tuple[Outcome, ...] = ()
    differing: tuple[str, ...] = ()  # keys of the experiment
    comparison: Comparison | None = None
    drive_problem: str = ""  # why Drive was not read

    def differs(self, outcome: Outcome) -> dict[str, Any]:
        """This run's values of the keys that differ."""
        return {key: outcome.experiment.get(key) for key in self.differing} if outcome.experiment else {}

    def as_json(self, settings: Settings) -> dict[str, Any]:
        """The document of `--json`."""
        compared = self.comparison
        return {
            "runs": [self._run_as_json(one, settings) for one in self.outcomes],
            "differing": list(self.differing),
            "comparison": to_plain(asdict(compared) | {"says": compared.says}) if compared else None,
            "drive_problem": self.drive_problem or None,
        }

    def _run_as_json(self, one: Outcome, settings: Settings) -> dict[str, Any]:
        losses, best, figures, cost = one.eval_losses, one.best_loss, adapter_figures(one), spent(one, settings)
        kept = ("questions", "right", "wrong", "undecided", "not_checked", "exact", "interval", "kinds", "causes")
        return {
            "name": one.name,
            "folder": str(one.folder),
            "on_drive": one.kept == "on Drive",
            "from_colab": one.kept == "from Colab",
            "state": one.state,
            "step": one.step,
            "max_steps": one.max_steps or None,
            "values": to_plain(self.differs(one)),
            "eval_loss": {"first": losses[0][1], "best": best[1], "best_step": best[0], "last": losses[-1][1]} if best else None,
            "executed": to_plain({key: value for key, value in asdict(figures).items() if key in kept}) if figures else None,
            "test_loss": one.test_loss.test if one.test_loss else None,
            "hours": round(cost.hours, 3) if cost else None,
            "compute_units": round(cost.units, 2) if cost and cost.units is not None else None,
            "usd": round(cost.usd, 2) if cost and cost.usd is not None else None,
            "sessions": [asdict(session) for session in one.sessions] if one.sessions is not None else None,
            "notes": list(one.notes),
        }


def gather(workspace: Workspace, settings: Settings) -> Runs:
    """The runs of this machine and of Drive, and those that came home from Colab; one that lies here and on Drive is shown once, by the place
    where it has come further."""
    folders = sorted(path for path in workspace.runs.iterdir() if path.is_dir()) if workspace.runs.is_dir() else []
    here = [one for folder in folders if not folder.name.startswith(".") and (one := read_local(RunFolder(folder=folder)))]
    models, problem = workspace.local(settings.drive.models), ""
    places = [models, *(Path(one.to) for one in here if one.to and not Path(one.to).is_relative_to(models))]
    there = list[Outcome]()
    for place in places:
        try:
            there += answering(_mirrored_below, place)(place, place == models)
        except (OSError, RuntimeError) as error:
            problem = f"{place} was not read: {getattr(error, 'strerror', None) or 'a fault while it was'}"
    outcomes = [*_once(here, there), *find_homes(workspace.remote)]
    return Runs(outcomes=tuple(outcomes), differing=differing_keys(outcomes), comparison=compare(outcomes), drive_problem=problem)


def _mirrored_below(place: Path, deep: bool) -> list[Outcome]:
    return find_mirrored(place, 2 if deep else 0)


def _once(here: Sequence[Outcome], there: Sequence[Outcome]) -> list[Outcome]:
    mirrored = {one.to: one for one in there}
    kept = []
    for one in here:
        other = mirrored.get(one.to)
        same = other is not None and (not other.experiment or not one.experiment or other.experiment == one.experiment)
        if other is None or not same:
            kept.append(one)
            continue
        del mirrored[one.to]
        further = one.state.startswith("running") or _progress(one) >= _progress(other)
        kept.append(one if further else other)
    return [*kept, *mirrored.values()]


def _progress(one: Outcome) -> tuple[int, int, bool]:
    return one.step, max((session.last_step for session in one.sessions or ()), default=0), one.result is not None


def differing_keys(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Keys of the experiments that are not the same in all runs of which something is known."""
    known = [one.experiment for one in outcomes if one.experiment]
    keys = sorted({key for experiment in known for key in experiment})
    return tuple(key for key in keys if len({_text(experiment.get(key)) for experiment in known}) > 1)


def _text(value: Any) -> str:
    return json.dumps(to_plain(value), sort_keys=True)


def spent(outcome: Outcome, settings: Settings) -> Spent | None:
    """The time of a run's sessions, and what it cost on their machines; None where an earlier kit kept none."""
    if outcome.sessions is None:
        return None
    rates, subscription = settings.compute.compute_units_per_hour, settings.subscription
    hours, units = 0.0, list[float | None]()
    for session in outcome.sessions:
        hours += session.seconds / 3600
        rate = _rate(session.machine, rates)
        units.append(None if rate is None else rate * session.seconds / 3600)
    known = [one for one in units if one is not None]
    total = sum(known) if known and len(known) == len(units) else None
    return Spent(hours=hours, units=total, usd=None if total is None else total * subscription.usd_per_month / subscription.compute_units_per_month)


def brief(value: Any, longest: int) -> str:
    """A value of the experiment in so many characters at most."""
    said = "not set" if value is None else shown(to_plain(value))
    return said if len(said) <= longest else f"{said[: longest - 3]}..."


class Cells(NamedTuple):
    """What a table of runs shows alike wherever it stands; empty where nothing is known."""

    steps: str
    right: str
    test_loss: str
    hours: str
    units: str
    usd: str


def cells(one: Outcome, settings: Settings) -> Cells:
    """The cells of a run."""
    figures, cost, right = adapter_figures(one), spent(one, settings), ""
    if figures:
        low, high = (f"{100 * bound:.0f}" for bound in figures.interval)
        right = f"{figures.right} of {figures.questions} ({low} to {high}%)"
    return Cells(
        steps=f"{one.step} of {one.max_steps}" if one.max_steps else "",
        right=right,
        test_loss=f"{one.test_loss.test:.3f}" if one.test_loss else "",
        hours=f"{cost.hours:.2f}" if cost else "",
        units=f"{cost.units:.1f}" if cost and cost.units is not None else "",
        usd=f"{cost.usd:.2f}" if cost and cost.usd is not None else "",
    )


def _rate(machine: str, rates: Mapping[str, float]) -> float | None:
    """Units an hour of a machine, as a session names it."""
    several = SHARED.fullmatch(machine)
    rate = rates.get(several[2] if several else machine)
    return None if rate is None else float(rate) * (int(several[1]) if several else 1)
