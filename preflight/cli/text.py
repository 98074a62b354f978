"""A Report as text or JSON. Returns strings; console.py and the command lines print them."""

import io
import itertools
import json
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from preflight.cli import facts
from preflight.cli.console import printable
from preflight.config.layers import shown
from preflight.config.settings import Settings
from preflight.data.preview import Preview
from preflight.files import quoted
from preflight.findings import Finding, grouped
from preflight.launch.command import HERE
from preflight.launch.stage import Launch
from preflight.plan.compare import GpuOption
from preflight.plan.throughput import MEASURED_ON
from preflight.result import Report

COLOURS = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}


def plain(text: str) -> str:
    """Text from outside, which is neither markup nor a command to the terminal."""
    return escape(printable(text))


def render_json(report: Report) -> str:
    """One JSON document: the contract of `--json`. Half a surrogate pair, such as a damaged manifest holds, stays escaped."""
    return json.dumps(report.as_json(), indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def render_text(report: Report, title: str, width: int, *, colour: bool) -> str:
    """A report to read top to bottom. The last line is the launch command, unwrapped, where there is something to launch."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False, emoji=False)
    console.print(f"[bold]preflight[/] {plain(title)}\n")
    console.print(_grid([(name, plain(text)) for name, text in facts.facts(report) if text], "bold"))
    if report.settings and report.plan and report.plan.options:
        console.print("\n[bold]The whole run on each GPU[/]")
        if report.recipe and not report.recipe.config.needs_gpu:
            console.print("  This config trains on the CPU, so no GPU is compared.")
        else:
            console.print(Padding(_options(report.plan.options), (0, 0, 0, 2)))
            console.print(Padding(plain(_elsewhere(report.settings)), (0, 0, 0, 2)))
            if report.settings.compute.measured:
                console.print(Padding(plain(_measured(report.settings)), (0, 0, 0, 2)))
    for finding in sorted(grouped(report.findings), key=lambda finding: list(COLOURS).index(finding.level), reverse=True):
        console.print()
        console.print(*_finding(finding), sep="\n", soft_wrap=False)
    if report.data and report.data.example:
        example = report.data.example
        console.print(f"\n[bold]The row as the trainer sees it[/]  {plain(str(example.path))}:{example.line}")
        console.print(Padding(_grid(_runs(example), "dim"), (0, 0, 0, 2)))
    if report.run and report.run.config.changes:
        console.print("\n[bold]What changes in the YAML that is launched[/]")
        table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
        for change in report.run.config.changes:
            table.add_row(plain(change.layer), plain(change.key), plain(shown(change.value)))
        console.print(Padding(table, (0, 0, 0, 2)))
    console.print()
    console.print(_verdict(report))
    text = "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())
    return text + ("\n" + render_commands(report.launch) if report.launch and report.launch.written else "")


def render_commands(launch: Launch) -> str:
    """What to type, each command in one line; on which machine only where there is more than one."""
    if all(command.where == HERE for command in launch.commands):
        return "".join(f"{launch.as_line(command)}\n" for command in launch.commands)
    return "\n".join(f"on {command.where}:\n{launch.as_line(command)}\n" for command in launch.commands)


def _options(options: Sequence[GpuOption]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("GPU", "memory", "time", "units", "$", "runs a month", ""):
        table.add_column(name, justify="left" if name in ("GPU", "") else "right", no_wrap=True)
    for option in options:
        cost = option.cost
        units, usd, month = (cost.compute_units, cost.usd, cost.runs_a_month) if cost else (None, None, None)
        fits = (option.memory_gib or 0) <= option.tier.memory_gib
        table.add_row(
            option.tier.name,
            f"{option.memory_gib or '?'} of {option.tier.memory_gib:g} GiB",
            facts.duration(cost.hours) if cost else "unknown",
            facts.span(units, 1) if units else "rate unknown" if cost else "",
            facts.span(usd, 2) if usd else "",
            facts.span(month, 0) if month else "",
            ("" if fits else "does not fit; ") + option.best,
        )
    return table


def _elsewhere(settings: Settings) -> str:
    low, high = settings.compute.gcp_usd_per_run
    card, date = MEASURED_ON
    return f"An A100 of Google Cloud: ${low} to {high} a run, by the user's plan. Times are measured on {card} ({date}), and scaled from it for the others."


def _measured(settings: Settings) -> str:
    rates, days = settings.compute.compute_units_per_hour, settings.compute.measured
    read = ", ".join(f"{tier} {rates[tier]:g} ({day})" for tier, day in sorted(days.items()))
    return f"Units an hour of this account, as `colab usage` showed them during a run: {read}. The others are those of colab_setup.yaml."


def _runs(example: Preview) -> list[tuple[str, str]]:
    """The row as runs of tokens that have loss and runs that have none."""
    runs = [(trained, list(run)) for trained, run in itertools.groupby(example.tokens, key=lambda token: token.trained)]
    return [
        (f"{'trained' if trained else 'read'}, {len(run):,} tokens", plain("".join(token.text for token in run).strip("\n"))) for trained, run in runs
    ]


def _finding(finding: Finding) -> list[object]:
    where = f"  {plain(finding.where)}" if finding.where else ""
    lines: list[object] = [f"[bold {COLOURS[finding.level]}]{finding.level}[/] {plain(finding.code)}{where}"]
    lines.append(Padding(plain(finding.message), (0, 0, 0, 2)))
    if finding.fix:
        lines.append(Padding(f"[bold]fix:[/] {plain(finding.fix)}", (0, 0, 0, 2)))
    return lines


def _verdict(report: Report) -> str:
    errors = sum(finding.level == "error" for finding in report.findings)
    if errors:
        return f"[bold red]{errors} error{'s' * (errors > 1)}[/]: nothing to launch until {'they are' if errors > 1 else 'it is'} fixed."
    if report.run and report.run.finished:
        run = report.run.folder.folder
        adapter = quoted(f"lora_model_dir={run}/outputs")
        return plain(
            f"Nothing left to train. The adapter is in {run}/outputs\n"
            f"To train more epochs from this adapter: preflight with --set {adapter} --set num_epochs=1 --name ANOTHER_NAME"
        )
    if not report.launch or not report.launch.written:
        return "[bold green]No error.[/] A plan only: nothing was staged or written."
    return "[bold green]Ready.[/] Start training with:"


def _grid(rows: list[tuple[str, str]], style: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=style, no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid
