"""The whole preflight: six stages, in order."""

from preflight.checkpoints.stage import open_run
from preflight.config.settings import of_account, read_settings
from preflight.config.stage import resolve_config
from preflight.config.yaml_file import read_yaml
from preflight.data.stage import prepare_data
from preflight.files import Progress, silent
from preflight.findings import Diagnostics, Finding
from preflight.launch.stage import write_launch
from preflight.machine.answering import answering
from preflight.machine.stage import inspect_machine
from preflight.plan.stage import plan_run
from preflight.request import Request
from preflight.result import Report

SKIPPED = Finding(code="internal.skipped", level="info", message="config, data and checkpoints were not judged: a file above can't be read")


def preflight(request: Request, progress: Progress = silent) -> Report:
    """Look at the machine, the config and the data; unless `plan_only`, stage the rows and write the resolved YAML."""
    diagnostics = Diagnostics(writes=not request.plan_only)
    settings = diagnostics.take(None, answering(read_settings, request.settings), request.settings)
    file = diagnostics.take(None, answering(read_yaml, request.config), request.config)
    machine = inspect_machine(request.workspace, request.planned_gpus(settings), diagnostics)
    if file is None or settings is None:
        diagnostics.add(SKIPPED)
        return Report(findings=tuple(diagnostics.findings), machine=machine)
    settings = of_account(settings, machine.workspace.remote)
    recipe = resolve_config(file, request.overrides, request.scale, settings, machine, diagnostics, request.validators, progress, request.name)
    data = prepare_data(request.source, recipe.config, settings, machine.workspace, diagnostics, progress)
    run = open_run(data.config, recipe, settings, machine, diagnostics, progress)
    plan = plan_run(recipe, data.lengths, run, settings, machine, diagnostics, compared=request.compare)
    launch = write_launch(run, data, recipe.scale, machine, diagnostics)
    findings = tuple(diagnostics.findings)
    return Report(findings=findings, machine=machine, settings=settings, recipe=recipe, data=data, run=run, plan=plan, launch=launch)
