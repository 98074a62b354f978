"""The lines at the head of a report: what each stage found, in words."""

from collections.abc import Iterator

from preflight.checkpoints.stage import RunState
from preflight.config.settings import Settings
from preflight.config.validators import Verdict
from preflight.data.lengths import Lengths
from preflight.data.stage import QUANTILES, Data
from preflight.machine.stage import Machine
from preflight.plan.stage import Plan
from preflight.plan.throughput import Span
from preflight.result import Report

Facts = Iterator[tuple[str, str]]  # (name, text) of each line; one with an empty text is left out


def facts(report: Report) -> Facts:
    """Every line."""
    machine, settings = report.machine, report.settings
    priced = settings if settings and report.recipe and report.recipe.config.needs_gpu else None
    if priced:
        yield from _settings(priced, machine)
    platform = machine.workspace.platform
    yield "workspace", f"{machine.workspace.root} ({platform.title}: {machine.workspace.reason})"
    yield "GPU", _gpu(machine, report.plan, priced)
    if report.recipe:
        yield "values", _judged(report.recipe.verdict)
        yield "base model", report.recipe.model_note
    if report.data:
        yield from _data(report.data)
    if report.plan:
        yield from _plan(report.plan, machine, finished=bool(report.run and report.run.finished))
    if report.run:
        yield from _run(report.run)


def _judged(verdict: Verdict) -> str:
    return "judged by Axolotl's own validators" if verdict.judged_by == "axolotl" else f"judged by Axolotl's schema; {verdict.note}"


def _settings(settings: Settings, machine: Machine) -> Facts:
    """What colab_setup.yaml says."""
    paid, compute, drive = settings.subscription, settings.compute, settings.drive
    low, high = compute.compute_units_per_run
    runs = settings.runs_per_month
    share = paid.usd_per_month / paid.compute_units_per_month
    yield "project", f"{settings.project}: {settings.run}"
    yield (
        "subscription",
        f"{paid.name}, ${paid.usd_per_month} a month for {paid.compute_units_per_month} compute units; GPU priority {paid.gpu_priority}; "
        + (f"background execution, at most {paid.max_hours} h" if paid.background_execution else "no background execution")
        + f"; ends after about {settings.session.idle_hours} h idle",
    )
    yield (
        "plan",
        f"{compute.expected_gpu}, else {compute.fallback_gpu}: {compute.hours_per_run[0]} to {compute.hours_per_run[1]} h and {low} to {high} units "
        f"(${low * share:.2f} to ${high * share:.2f}) a run"
        + (f", {runs[0]} to {runs[1]} runs a month" if runs else "")
        + ": the plan's own estimate, not measured",
    )
    yield "Drive", f"{'results belong in' if drive.backup else 'no results are kept in'} {drive.models}, {drive.logs}, {drive.tensorboard}"
    free = round(machine.host.free_bytes / 1e9)
    yield "disk", f"{free} GB free; the plan expects {settings.data.disk_gb} GB; rows come from {settings.data.source}"


def _gpu(machine: Machine, plan: Plan | None, settings: Settings | None) -> str:
    seen = ", ".join(f"{gpu.name} ({gpu.memory_gib} GiB)" for gpu in machine.gpus.gpus) or f"none: {machine.gpus.reason}"
    tier = plan.tier_name if plan else ""
    text = f"{seen}; settings of tier {tier}" if tier else seen
    if settings and (rate := settings.compute.compute_units_per_hour.get(tier)):
        month = settings.subscription.compute_units_per_month
        day = settings.compute.measured.get(tier)
        text += f"; {rate} compute units an hour{f' (of this account, read {day})' if day else ''}, so a month's {month} last {month / rate:.0f} h"
    return text


def _data(data: Data) -> Facts:
    counts = {lengths.path: lengths for lengths in (*data.lengths.train, *data.lengths.held_out)}
    for staged in data.staged:
        known = [(file, counts.get(staged.folder / file.name)) for file in staged.files]
        named = [f"{file.name} {file.rows:,} rows" + (f" of {lengths.tokens:,} tokens" if lengths else "") for file, lengths in known]
        yield "data", f"{staged.folder}: {', '.join(named)} ({staged.how})"
        measured = [lengths for _, lengths in known if lengths]
        yield (
            "tokens a row",
            "; ".join(f"{_named(one)} {', '.join(f'{name} {one.quantile(q):,}' for name, q in QUANTILES.items())}" for one in measured),
        )
        for one in measured:
            counted = ", ".join(f"up to {most:,}: {count:,}" for most, count in one.histogram if count)
            yield "rows by tokens", f"{one.path.name}: {counted}" if counted else ""
        parsed = [f"{file.name} {data.lengths.sql[path]:.1%}" for file in staged.files if (path := staged.folder / file.name) in data.lengths.sql]
        yield "SQL answers", f"{', '.join(parsed)} are PostgreSQL, by its own grammar" if parsed else ""
    yield "SQL answers", data.answers.text if data.answers else ""
    yield "tokenizer", data.lengths.tokenizer


def _named(lengths: Lengths) -> str:
    return f"{lengths.path.name} (a sample of {len(lengths.measured):,})" if lengths.sampled else lengths.path.name


def _plan(plan: Plan, machine: Machine, *, finished: bool) -> Facts:
    yield "step", _step(plan)
    yield "run", _steps(plan)
    need, gpu = plan.memory_gib, machine.gpu
    yield "memory", f"not judged: {plan.memory_note}" if plan.memory_note else ""
    yield "memory", f"about {need} GiB of the GPU's {gpu.memory_gib:g} at the peak of a step" if need and gpu else ""
    if not plan.steps or finished:
        return
    cost = plan.cost
    if cost is None:
        yield "time", "unknown: this config has not run on this machine yet; throughput is recorded at the first checkpoint"
        return
    pace = f"{cost.steps_left:,} steps of {span(cost.pace.step, 2)} s, start, evaluations and saves included; {cost.pace.note}"
    yield "time", f"{duration(cost.hours)} for {pace}"
    if plan.stops_from:
        yield "early stop", _early_stop(plan)
    if cost.compute_units and cost.usd and cost.runs_a_month:
        runs = f"a month's units are good for {span(cost.runs_a_month, 0)} such runs"
        yield "cost", f"{span(cost.compute_units, 1)} compute units, ${span(cost.usd, 2)}; {runs}"


def _early_stop(plan: Plan) -> str:
    """When the run can end before its last step, and what that saves, as a range from nothing on."""
    text = f"from step {plan.stops_from:,} on, once the eval loss has not fallen for as many evaluations as early_stopping_patience says"
    if plan.saved is None:
        return text
    units = plan.saved.compute_units
    saved = duration(Span(low=0, high=plan.saved.hours.high)) + (f", {span(Span(low=0, high=units.high), 1)} compute units" if units else "")
    return f"{text}; saves {saved}"


def _step(plan: Plan) -> str:
    tokens, examples = plan.tokens_per_step, plan.examples_per_step
    if tokens is not None:
        return f"{tokens:,} tokens, packed" + (f": {examples:,} examples on average" if examples else "")
    return f"{examples:,} example{'s' * (examples > 1)}" if examples is not None else ""


def _steps(plan: Plan) -> str:
    """The steps that follow from the rows, and what happens when."""
    steps = plan.steps
    if steps is None:
        return ""
    saves = [f"{step:,}" for step in steps.saves]
    saves = saves if len(saves) <= 6 else [*saves[:3], "...", saves[-1]]
    many = f"{'' if steps.exact else 'about '}{steps.steps:,} steps, {steps.tokens:,} tokens, {steps.trained_tokens:,} of them trained on"
    written = f"{len(steps.saves)} checkpoint{'s' * (len(steps.saves) > 1)}, after step {', '.join(saves)}" if saves else "no checkpoint"
    return f"{many}; warmup {steps.warmup:,} steps; {written}"


def _run(run: RunState) -> Facts:
    latest = run.latest
    if run.config.name != run.config.own_name:
        yield "name", f"{run.config.name}: a run of its own, in {run.folder.folder}"
    if run.finished:
        yield "checkpoints", f"the run is finished: step {run.done} of {latest.max_steps if latest else run.done}"
    elif latest:
        yield "checkpoints", f"resuming from step {run.done} of {latest.max_steps}: {latest.path}"
    else:
        yield "checkpoints", "none: starts from the beginning"
    yield "results", f"each checkpoint is copied to {run.mirror.to} once it is complete" if run.mirror.to else ""


def duration(hours: Span) -> str:
    """Minutes below an hour and a half, else hours."""
    return f"{span(hours.times(60), 0)} min" if hours.high < 1.5 else f"{span(hours, 1)} h"


def span(values: Span, digits: int) -> str:
    """`low to high`, or the one number that both are."""
    low, high = f"{values.low:,.{digits}f}", f"{values.high:,.{digits}f}"
    return low if low == high else f"{low} to {high}"
