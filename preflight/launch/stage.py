"""The last stage: the resolved YAML is written, and the command that starts training from it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from preflight.checkpoints import mirror
from preflight.checkpoints.stage import RunState
from preflight.config.layers import render
from preflight.config.scale import Scale
from preflight.data.prepared import find_prepared, is_complete, remove_incomplete
from preflight.data.stage import Data
from preflight.data.trained_rows import write_rows
from preflight.files import write_atomic
from preflight.findings import Diagnostics, Finding, Level
from preflight.launch.command import Command, check_preparing, check_shared, launch_commands, launch_variables, preprocess_line, shell_line
from preflight.machine.caches import check_cache
from preflight.machine.stage import Machine


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What starts the run. No commands where nothing is to be launched: an error was found, or the run is finished."""

    config_path: Path
    environment: Mapping[str, str] = field(default_factory=dict)  # variables that the commands need
    commands: tuple[Command, ...] = ()  # in order; the last one trains
    written: bool = False  # whether config_path holds what is to be launched; a plan writes nothing

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that trains; empty where there is none."""
        return self.commands[-1].argv if self.commands else ()

    @property
    def line(self) -> str:
        """The command that trains as one line of shell; '' where there is none."""
        return self.as_line(self.commands[-1]) if self.commands else ""

    def as_line(self, command: Command) -> str:
        """A command, with the variables that it needs, as one line of shell."""
        return shell_line(self.environment, command.argv)

    def as_json(self) -> dict[str, object]:
        """The last keys of `--json`."""
        return {
            "config_path": str(self.config_path),
            "environment": dict(self.environment),
            "command": list(self.argv),
            "commands": [[command.where, list(command.argv)] for command in self.commands],
            "written": self.written,
        }


def write_launch(run: RunState, data: Data, scale: Scale | None, machine: Machine, diagnostics: Diagnostics) -> Launch:
    """The command for this run, and its YAML written, unless an error was found."""
    config, path = run.config, run.folder.config
    variables = launch_variables(config, local_rows=data.local)
    if machine.gpu:
        diagnostics.check(check_preparing, config, data.lengths, preprocess_line(machine.environment, path, variables))
    if scale:
        diagnostics.check(check_shared, scale, run.folder.folder)
    diagnostics.check(check_path, path)
    if machine.caches and not run.finished:  # tokenised rows that are there already may be all that training reads, which Axolotl's hash says
        level: Level = "warning" if any(map(is_complete, find_prepared(run.folder))) else "error"
        diagnostics.check(check_cache, machine.caches.rows, level)
    if run.finished or not diagnostics.ok:
        launch = Launch(config_path=path)
    else:
        commands = launch_commands(machine.environment, path, config.needs_gpu, scale)
        launch = Launch(config_path=path, environment=variables, commands=commands, written=diagnostics.may_write)
    if not diagnostics.may_write or (run.finished and path.exists()):
        return launch
    diagnostics.check(remove_incomplete, run.folder)
    if not diagnostics.ok:
        return Launch(config_path=path)
    try:
        mirror.write_settings(run.folder.folder, run.mirror)
        write_rows(run.folder.folder, data.staged)
        write_atomic(path, render(config, launch.line))
    except OSError as error:
        message = f"the resolved YAML can't be written: {error.strerror}"
        fix = "free some space, or give another folder: --workspace DIR"
        diagnostics.add(Finding(code="workspace.not-writable", level="error", where=str(path), message=message, fix=fix))
        return Launch(config_path=path)
    return launch


def check_path(path: Path) -> list[Finding]:
    """`workspace.not-writable` for a resolved YAML whose path neither YAML nor a line of shell can hold."""
    if str(path).encode(errors="ignore").decode() == str(path):
        return []
    message = "the path of the resolved YAML is not UTF-8: neither it nor a command could name its own folder"
    fix = "a workspace, and a config, whose names are UTF-8: --workspace DIR"
    return [Finding(code="workspace.not-writable", level="error", where=str(path), message=message, fix=fix)]
