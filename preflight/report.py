"""A Report as text or JSON. Returns strings; only __main__ prints."""

import io
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from preflight.config import shown
from preflight.findings import Finding, Report

COLOURS = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}


def render_json(report: Report) -> str:
    """One JSON document: the contract of `--json`."""
    return json.dumps(report.as_json(), indent=2, ensure_ascii=False)


def render_text(report: Report, title: str, width: int, *, colour: bool) -> str:
    """A report to read top to bottom. The last line is the launch command, unwrapped, where there is something to launch."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False, emoji=False)
    console.print(f"[bold]preflight[/] {escape(title)}\n")
    console.print(_grid([(name, text) for name, text in _facts(report) if text], "bold"))

    offers = report.plan.get("gpus")
    if isinstance(offers, list) and offers:
        console.print("\n[bold]The whole run on each GPU[/]")
        console.print(Padding(_offers(offers), (0, 0, 0, 2)))
        console.print(Padding(escape(_beside(report.setup)), (0, 0, 0, 2)))
    for finding in sorted(report.findings, key=lambda finding: list(COLOURS).index(finding.level), reverse=True):
        console.print()
        console.print(*_finding(finding), sep="\n", soft_wrap=False)
    if report.example:
        console.print(f"\n[bold]The row as the trainer sees it[/]  {escape(str(report.example['path']))}:{report.example['line']}")
        console.print(Padding(_grid(_runs(report.example), "dim"), (0, 0, 0, 2)))
    if report.changes:
        console.print("\n[bold]What changes in the YAML that is launched[/]")
        table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
        for change in report.changes:
            table.add_row(str(change["layer"]), str(change["key"]), escape(shown(change["value"])))
        console.print(Padding(table, (0, 0, 0, 2)))
    console.print()
    console.print(_verdict(report))
    text = "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())
    return text + ("\n" + _commands(report) if report.written else "")


def _commands(report: Report) -> str:
    """What to type, each command in one line; on which machine only where there is more than one."""
    if len(report.commands) <= 1 and all(where == "this machine" for where, _ in report.commands):
        return report.launch_line + "\n"
    return "\n".join(f"on {where}:\n{report.as_line(command)}\n" for where, command in report.commands)


def _facts(report: Report) -> list[tuple[str, str]]:
    """(name, text) of each line at the head of the report; empty texts are left out."""
    where = "Colab" if report.workspace.get("colab") else "not Colab"
    gpus = report.gpu.get("gpus")
    seen = ", ".join(f"{gpu['name']} ({gpu['memory_gib']} GiB)" for gpu in gpus) if isinstance(gpus, list) else ""
    tier = report.plan.get("tier")
    facts = [
        *_setup(report.setup),
        ("workspace", f"{report.workspace.get('root', '')} ({where}: {report.workspace.get('colab_reason')})"),
        ("GPU", f"{seen or 'none: ' + str(report.gpu.get('reason'))}{f'; settings of tier {tier}' if tier else ''}{_rate(report.setup)}"),
    ]
    folders = report.data.get("folders")
    for rows in folders if isinstance(folders, list) else ():
        counts = [
            f"{file['name']} {file['rows']:,} rows" + (f" of {file['tokens']:,} tokens" if file.get("tokens") else "") for file in rows["files"]
        ]
        facts.append(("data", f"{rows['folder']}: {', '.join(counts)} ({rows['how']})"))
        trained = [(file, file["lengths"]) for file in rows["files"] if file.get("lengths")]
        facts += [("tokens a row", "; ".join(f"{_named(file)} {', '.join(f'{key} {n:,}' for key, n in spread.items())}" for file, spread in trained))]
        facts += [
            ("rows by tokens", f"{file['name']}: " + ", ".join(f"up to {most:,}: {count:,}" for most, count in file["histogram"] if count))
            for file in rows["files"]
            if file.get("histogram")
        ]
        parsed = [f"{file['name']} {file['sql']:.1%}" for file in rows["files"] if file.get("sql") is not None]
        facts.append(("SQL answers", f"{', '.join(parsed)} are PostgreSQL, by its own grammar" if parsed else ""))
    facts += [("tokenizer", str(report.data.get("tokenizer") or "")), ("step", _step(report.plan)), ("run", _run(report.plan))]
    facts += [("memory", _memory(report)), ("time", _time(report.plan)), ("cost", _money(report.plan))]

    kept = report.checkpoints
    step, last = kept.get("step"), kept.get("max_steps")
    if kept.get("finished"):
        facts.append(("checkpoints", f"the run is finished: step {step} of {last}"))
    elif kept.get("resume_from"):
        facts.append(("checkpoints", f"goes on from step {step} of {last}: {kept['resume_from']}"))
    elif kept:
        facts.append(("checkpoints", "none: starts from the beginning"))
    facts.append(("results", f"each checkpoint is copied to {kept['mirrored_to']} when it is whole" if kept.get("mirrored_to") else ""))
    return [(name, escape(text)) for name, text in facts]


def _named(file: Mapping[str, Any]) -> str:
    return f"{file['name']} (a sample of {file['sampled']:,})" if file.get("sampled") else str(file["name"])


def _setup(setup: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What colab_setup.yaml says, in three lines."""
    if not setup:
        return []
    paid, compute, session, drive, data = (setup[name] for name in ("subscription", "compute", "session", "drive", "data"))
    low, high = compute["compute_units_per_run"]
    runs = setup["runs_per_month"]
    share = paid["usd_per_month"] / paid["compute_units_per_month"]
    return [
        ("project", f"{setup['project']}: {setup['run']}"),
        (
            "subscription",
            f"{paid['name']}, ${paid['usd_per_month']} a month for {paid['compute_units_per_month']} compute units; GPU priority {paid['gpu_priority']}; "
            + (f"background execution, at most {paid['max_hours']} h" if paid["background_execution"] else "no background execution")
            + f"; ends after about {session['idle_hours']} h idle",
        ),
        (
            "plan",
            f"{compute['expected_gpu']}, else {compute['fallback_gpu']}: {compute['hours_per_run'][0]} to {compute['hours_per_run'][1]} h and {low} to {high} units "
            f"(${low * share:.2f} to ${high * share:.2f}) a run"
            + (f", {runs[0]} to {runs[1]} runs a month" if runs else "")
            + ": the plan's own estimate, not measured",
        ),
        (
            "Drive",
            f"{'results belong in' if drive['backup'] else 'no results are kept in'} {drive['models']}, {drive['logs']}, {drive['tensorboard']}",
        ),
        ("disk", f"{setup['free_disk_gb']} GB free; the plan expects {data['disk_gb']} GB; rows come from {data['source']}"),
    ]


def _rate(setup: Mapping[str, Any]) -> str:
    rate = setup.get("units_per_hour")
    month = setup["subscription"]["compute_units_per_month"] if rate else 0
    return f"; {rate} compute units an hour, so a month's {month} last {month / rate:.0f} h" if rate else ""


def _step(plan: Mapping[str, Any]) -> str:
    tokens, examples = plan.get("tokens_per_step"), plan.get("examples_per_step")
    if isinstance(tokens, int):
        return f"{tokens:,} tokens, packed" + (f": {examples:,} examples on average" if examples else "")
    return f"{examples:,} example{'s' * (examples > 1)}" if isinstance(examples, int) else ""


def _run(plan: Mapping[str, Any]) -> str:
    """The steps that follow from the rows, and what happens when."""
    steps, saves = plan.get("steps"), plan.get("saves")
    if not isinstance(steps, int) or not isinstance(saves, list):
        return ""
    shown_saves = [f"{step:,}" for step in saves] if len(saves) <= 6 else [*(f"{step:,}" for step in saves[:3]), "...", f"{saves[-1]:,}"]
    many = f"{'' if plan.get('exact') else 'about '}{steps:,} steps, {plan['tokens']:,} tokens, {plan['trained_tokens']:,} of them trained on; warmup {plan['warmup_steps']:,} steps; "
    return many + (f"{len(saves)} checkpoint{'s' * (len(saves) > 1)}, after step {', '.join(shown_saves)}" if saves else "no checkpoint")


def _memory(report: Report) -> str:
    need, gpus = report.plan.get("memory_gib"), report.gpu.get("gpus")
    return f"about {need} GiB of the GPU's {gpus[0]['memory_gib']:g} at the peak of a step" if need and isinstance(gpus, list) and gpus else ""


def _time(plan: Mapping[str, Any]) -> str:
    """Hours, from what they follow."""
    if not plan.get("steps"):
        return ""
    if plan["hours"]["high"] is None:
        return "not known: no run of this config has been seen on this machine; its first checkpoint records the pace"
    a_step = plan["seconds_per_step"]
    return f"{_duration(plan['hours'])} for {plan['steps_left']:,} steps of {_range(a_step, 2)} s, start, evaluations and saves included; {plan['throughput_note']}"


def _money(plan: Mapping[str, Any]) -> str:
    if not plan.get("steps") or plan["compute_units"]["high"] is None:
        return ""
    month = plan["runs_per_month"]
    return (
        f"{_range(plan['compute_units'], 1)} compute units, ${_range(plan['cost_usd'], 2)}; a month's units are good for {_range(month, 0)} such runs"
    )


def _duration(hours: Mapping[str, float]) -> str:
    return f"{_range({key: value * 60 for key, value in hours.items()}, 0)} min" if hours["high"] < 1.5 else f"{_range(hours, 1)} h"


def _range(span: Mapping[str, float | None], digits: int) -> str:
    low, high = (f"{span[key]:,.{digits}f}" for key in ("low", "high"))
    return low if low == high else f"{low} to {high}"


def _offers(offers: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("GPU", "memory", "time", "units", "$", "runs a month", ""):
        table.add_column(name, justify="left" if name in ("GPU", "") else "right", no_wrap=True)
    for one in offers:
        known = one["hours"]["high"] is not None
        priced = known and one["cost_usd"]["high"] is not None
        fits = (one["needs_gib"] or 0) <= one["memory_gib"]
        unpriced = "rate not known" if known else ""
        table.add_row(
            str(one["name"]),
            f"{one['needs_gib'] or '?'} of {one['memory_gib']:g} GiB",
            _duration(one["hours"]) if known else "not known",
            _range(one["compute_units"], 1) if priced else unpriced,
            _range(one["cost_usd"], 2) if priced else "",
            _range(one["runs_per_month"], 0) if priced else "",
            ("" if fits else "does not fit; ") + str(one["best"]),
        )
    return table


def _beside(setup: Mapping[str, Any]) -> str:
    low, high = setup["compute"]["gcp_usd_per_run"] if setup else (0, 0)
    return (
        f"An A100 of Google Cloud: ${low} to {high} a run, by the user's plan. Times are measured on an H100 (2026-11-25), and scaled from it for the others."
        if setup
        else ""
    )


def _runs(example: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The row as runs of tokens that have loss and runs that have none."""
    runs = [(trained, list(run)) for trained, run in itertools.groupby(example["tokens"], key=lambda token: bool(token["trained"]))]
    return [
        (f"{'trained' if trained else 'read'}, {len(run):,} tokens", escape("".join(token["text"] for token in run).strip("\n")))
        for trained, run in runs
    ]


def _finding(finding: Finding) -> list[object]:
    lines: list[object] = [
        f"[bold {COLOURS[finding.level]}]{finding.level}[/] {escape(finding.code)}{f'  {escape(finding.where)}' if finding.where else ''}"
    ]
    lines.append(Padding(escape(finding.message), (0, 0, 0, 2)))
    if finding.fix:
        lines.append(Padding(f"[bold]mend:[/] {escape(finding.fix)}", (0, 0, 0, 2)))
    return lines


def _verdict(report: Report) -> str:
    errors = sum(finding.level == "error" for finding in report.findings)
    if errors:
        return f"[bold red]{errors} error{'s' * (errors > 1)}[/]: nothing to launch until {'they are' if errors > 1 else 'it is'} mended."
    if report.checkpoints.get("finished"):
        run = escape(report.config_path.removesuffix("/config.yaml"))
        return (
            f"Nothing left to train. The adapter is in {run}/outputs\n"
            f"More epochs, from this adapter on: mv {run} {run}.before, then preflight with --set lora_model_dir={run}.before/outputs "
            "--set num_epochs=1 --set output_dir=ANOTHER_FOLDER"
        )
    if not report.written:
        return "[bold green]No error.[/] A plan only: nothing was staged or written."
    return "[bold green]Ready.[/] Start training with:"


def _grid(rows: list[tuple[str, str]], style: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=style, no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid
