"""The finished run that a command line means, for what is done with one: measured, asked."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from preflight.checkpoints.verify import Checkpoint, inspect_checkpoints, is_finished, latest_complete
from preflight.cli.console import show
from preflight.config.layers import lookup, shown
from preflight.config.names import find_run
from preflight.config.settings import Settings, of_account, read_settings
from preflight.config.yaml_file import YamlFile, read_yaml
from preflight.files import quoted
from preflight.machine.run_folder import RunFolder
from preflight.machine.workspace import Workspace, find_workspace


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run that has ended: its folder, its resolved YAML, its last checkpoint, and the command that trained it."""

    workspace: Workspace
    run: RunFolder
    file: YamlFile
    settings: Settings
    latest: Checkpoint
    command: str

    @property
    def test(self) -> Path:
        """The test rows, which lie beside the training rows."""
        return Path(str(lookup(self.file.values, "datasets.0.path"))).with_name(self.settings.data.test_file)


def find_trained(args: argparse.Namespace) -> Trained | None:
    """The run of a command line's config, `--set`, `--name` and workspace; None where it is not there or not done, which is said."""
    workspace = find_workspace(args.workspace)
    run = find_run(workspace, args.config, args.overrides, args.name or "")
    file, findings = read_yaml(run.config)
    settings, more = read_settings()
    latest = latest_complete(inspect_checkpoints(run.outputs))
    command = train_command(args)
    if file is None or settings is None or latest is None:
        for finding in (*findings, *more):
            show(f"{finding.where}: {finding.message}; {finding.fix}", error=True)
        show(f"{run.folder} holds no trained run. Train it: {command}", error=True)
        return None
    if not is_finished(run.outputs):
        show(f"The run stopped at step {latest.step} of {latest.max_steps}. To resume it: {command}", error=True)
        return None
    return Trained(workspace=workspace, run=run, file=file, settings=of_account(settings, workspace.remote), latest=latest, command=command)


def train_command(args: argparse.Namespace) -> str:
    """The command that begins this run, or resumes it."""
    changed = [f"--set {quoted(f'{change.key}={shown(change.value)}')}" for change in args.overrides]
    options = " ".join([*changed, *([f"--name {args.name}"] if args.name else [])])
    return f"make train CONFIG={os.path.relpath(args.config)}" + (f" ARGS={quoted(options)}" if options else "")
