"""The whole preflight on one page: look, judge, plan, write, in that order."""

import itertools
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from preflight import (
    archives,
    checkpoints,
    comparison,
    config,
    cost,
    describe,
    download,
    drive,
    estimate,
    examples,
    gpu,
    hub,
    launch,
    mirror,
    packages,
    recovery,
    scale,
    schema,
    sense,
    setup,
    sizes,
    staging,
    throughput,
    tiers,
    tokens,
)
from preflight.config import Change, Config
from preflight.findings import Finding, Level, Report
from preflight.judged import Judged
from preflight.scale import Scale
from preflight.workspace import check_workspace, find_workspace, probe_writing
from preflight.yaml_file import read_yaml


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for."""

    config: Path = config.CONFIGS / "mistral_qlora.yaml"
    overrides: tuple[Change, ...] = ()
    tier: gpu.Tier | None = None  # --gpu: plan for this one, whatever is here
    compare: bool = False  # --gpu all: plan for the expected one, and say what each would take
    scale: Scale | None = None  # --scale: several GPUs
    workspace: Path | None = None
    data: Path | None = None
    address: str = ""  # of an archive, in the place of `data`
    sha256: str = ""  # its sum
    plan_only: bool = False
    show_example: int = 0  # the line of the row to show; 0 for none
    setup: Path = setup.SETUP


def data_source(text: str) -> tuple[Path | None, str]:
    """(path, address) of what `--data` names: a folder or an archive here, or the https address of one."""
    address = text if text.startswith(("http://", "https://")) else ""
    return (Path(text).absolute() if text and not address else None), address


def preflight(request: Request, progress: staging.Progress = lambda what, done, total: None) -> Report:
    """Look at the machine, the config and the data; unless `plan_only`, stage the rows and write the resolved YAML."""
    if not request.plan_only:
        return _preflight(request, progress, None)
    with tempfile.TemporaryDirectory(prefix="preflight-") as scratch:  # an archive has to be unpacked somewhere to be read
        return _preflight(request, progress, Path(scratch))


def _preflight(request: Request, progress: staging.Progress, scratch: Path | None) -> Report:
    judged = Judged()

    # look
    workspace = find_workspace(request.workspace)
    if not request.plan_only:
        workspace = replace(workspace, error=judged.attempt("", probe_writing, workspace.root))
    settings, found = setup.read_setup(request.setup)
    judged.add(found)
    planned = (
        next((tier for tier in gpu.TIERS if settings and tier.name == settings["compute"]["expected_gpu"]), None) if request.compare else request.tier
    )
    wanted = request.scale
    reading = (
        gpu.GpuReading(gpus=(gpu.planned_gpu(planned),) * (wanted.gpus_per_node or 1 if wanted else 1))
        if planned
        else judged.attempt(gpu.GpuReading(reason="not looked at"), gpu.inspect_gpus)
    )
    if wanted and not wanted.gpus_per_node:
        wanted = replace(wanted, gpus_per_node=max(1, len(reading.gpus)))
    environment = judged.attempt(packages.Environment(accelerate=None), packages.inspect_environment)
    file, found = read_yaml(request.config)
    judged.add(found)

    # judge the machine
    judged.check(check_workspace, workspace)
    if not request.plan_only:
        judged.check(packages.check_environment, environment)
    report = Report(workspace=describe.workspace(workspace), gpu=describe.gpus(reading), plan=describe.PLAN)
    if file is None or settings is None:
        message = "config, data and checkpoints were not judged: a file above can't be read"
        judged.add([Finding(code="internal.skipped", level="info", message=message)])
        return replace(report, findings=tuple(judged.findings))

    # judge the config: YAML <- tier <- --set
    known = schema.read_schema()
    resolved, found = config.with_changes(Config(file=file, values=file.values), request.overrides)
    judged.add(found)
    judged.check(schema.check_config, resolved, known)
    problems = judged.attempt([], schema.find_problems, resolved, known)
    judged.check(schema.check_deprecated, resolved, known)
    tier = gpu.tier_of(reading.gpus[0]) or gpu.nearest_tier(reading.gpus[0]) if reading.gpus and resolved.needs_gpu else None
    judged.check(gpu.check_gpu, reading, tier, needs_gpu=resolved.needs_gpu)
    if resolved.needs_gpu:
        judged.check(gpu.check_driver, reading, environment.installed)
    judged.check(gpu.check_expected, tier, settings["compute"]["expected_gpu"], settings["compute"]["compute_units_per_hour"])
    untiered = resolved
    tier_name = tier.name if tier else "" if resolved.needs_gpu else gpu.CPU
    if tier_name:
        layer, found = tiers.read_tier(tier_name)
        judged.add(found)
        if layer:
            # the tier stands below --set: it is applied to what --set made, and --set is said again on top of it
            resolved, _ = config.with_changes(resolved, tiers.tier_changes(resolved, layer, request.overrides))
            resolved, _ = config.with_changes(resolved, request.overrides)
            judged.check(tiers.check_tier, layer)
            plugins = {"plugins": resolved.values.get("plugins")} if resolved.values.get("plugins") else {}
            judged.check(schema.check_config, replace(resolved, values=plugins | dict(layer.values), file=layer, changes=()), known)
    if wanted:
        resolved = _spread(judged, resolved, wanted, config.step_size(untiered.values), reading, environment)
    judged.check(setup.check_setup, settings, resolved)

    # judge and stage the rows
    meant = schema.as_meant(resolved, problems)
    source, unpacked = request.data, scratch or workspace.root / "unpacked"
    if request.address:
        source, found = judged.attempt((None, []), download.fetch, request.address, request.sha256, unpacked, progress)
        judged.add(found)
    if archive := archives.find_archive(source, workspace.local(settings["data"]["drive_folder"])):
        source, found = judged.attempt((None, []), archives.bring_archive, archive, unpacked, progress)
        judged.add(found)
    files = judged.attempt((), staging.find_data, meant.values, workspace, source=source, **setup.data_places(settings))
    staged: list[staging.Staged] = []
    missing: Level = "warning" if request.plan_only else "error"
    copy = not request.plan_only and not any(finding.level == "error" for finding in judged.findings)
    for folder, group in itertools.groupby(sorted(files, key=lambda file: str(file.staged)), key=lambda file: file.staged.parent):
        sources = [staging.inspect_source(file.source) for file in group]
        rows, found = judged.attempt((None, []), staging.bring, sources, folder, copy=copy, missing=missing, progress=progress)
        judged.add(found)
        staged += [rows] if rows else []
    counted, found = judged.attempt((examples.Counted(), []), examples.inspect_examples, meant.values, files, staged, progress)
    judged.add(found)
    example = None
    if request.show_example:
        example, found = judged.attempt((None, []), examples.show_example, meant.values, files, staged, request.show_example)
        judged.add(found)
    steps = judged.attempt(None, estimate.plan_steps, meant.values, counted) if counted.train else None

    # judge the base model and what the values do together
    if not request.plan_only:
        model = judged.attempt(None, hub.inspect_hub, str(resolved.values.get("base_model") or ""))
        judged.check(hub.check_hub, model, resolved.where("base_model"))
    situation = sense.Situation(
        compute_capability=reading.gpus[0].compute_capability if reading.gpus and resolved.needs_gpu else None,
        steps=steps,
        base_model_missing=judged.attempt(False, tokens.is_missing, str(resolved.values.get("base_model") or "")),
        installed=environment.installed,
        reported=frozenset(problem.path for problem in problems),
    )
    judged.check(sense.check_sense, meant, situation)

    # bring back what earlier sessions left, here and on Drive, and judge it
    run = workspace.run(resolved.name)
    results = workspace.local(str(resolved.values["output_dir"])) if resolved.values.get("output_dir") else None
    resolved, _ = config.with_changes(resolved, launch.path_changes(resolved, files, staged, run))
    now = tiers.experiment(resolved.values)
    machine = throughput.name_machine(tier, reading.gpus[0].name if reading.gpus else "", resolved.needs_gpu, resolved.values)
    known_by = throughput.depends(resolved.values, machine)
    keeping = launch.mirror_settings(results, settings, workspace, now, known_by)
    shape = judged.attempt(None, sizes.find_shape, str(meant.values.get("base_model") or ""))
    if results and keeping.to and not request.plan_only and not workspace.error:
        probe = judged.attempt(None, drive.probe_drive, results, keeping.mount)
        if probe:
            judged.check(drive.check_drive, probe, sizes.checkpoint_bytes(meant.values, shape) if shape else None)
    copy = copy and not any(finding.level == "error" for finding in judged.findings)
    before, _ = read_yaml(run.config)
    if copy:
        judged.check(checkpoints.check_same_run, tiers.experiment(before.values) if before else None, now, run.folder, run.outputs)
        judged.check(recovery.mirror_leftovers, run, progress)
    mirrored, found = judged.attempt(((), []), recovery.inspect_drive_checkpoints, keeping)
    judged.add(found if request.plan_only else [])  # else the probe has said it
    judged.check(recovery.check_drive_run, mirrored, keeping.experiment, keeping.to)
    copy = copy and not any(finding.level == "error" for finding in judged.findings)
    if copy:
        judged.check(recovery.restore, run, keeping, mirrored, progress)
    kept = judged.attempt((), checkpoints.inspect_checkpoints, run.outputs)
    if request.plan_only:  # nothing is fetched: a plan counts what lies on Drive as if it were here
        kept = tuple(sorted((*kept, *mirrored), key=lambda one: one.step, reverse=True))
    whole = checkpoints.newest_whole(kept)
    judged.check(checkpoints.check_checkpoints, kept)
    finished = checkpoints.is_finished(run.outputs)
    if copy:
        judged.check(checkpoints.check_resume, whole, finished=finished, resume=settings["session"]["resume"])
    if whole and not finished:
        resolved, _ = config.with_changes(resolved, launch.resume_changes(resolved, whole.path))

    variables = launch.launch_variables(resolved, files)

    # plan: what it takes, from what was seen on such a machine
    records = throughput.read_records([run.outputs, *([results] if results else [])])
    pace = judged.attempt(None, throughput.find_pace, meant.values, records, known_by, tier, shape)
    taken = None
    if steps and pace and not finished:
        taken = judged.attempt(None, cost.expect, meant.values, steps, whole.step if whole else 0, pace, settings, tier_name)
    if resolved.needs_gpu and reading.gpus:
        judged.check(cost.check_memory, meant, shape, reading.gpus[0].memory_gib)
        judged.check(cost.check_interval, meant, steps, pace)
        judged.check(cost.check_preparing, meant, counted, launch.preprocess_line(environment, run.config, variables))
        judged.check(cost.check_examples, meant, steps)
    offers: tuple[comparison.Offer, ...] = ()
    if request.compare:
        offers = judged.attempt(
            (),
            comparison.compare,
            replace(untiered, values=schema.as_meant(untiered, problems).values),
            request.overrides,
            counted,
            settings,
            shape,
            records,
        )

    # write
    if wanted:
        judged.check(scale.check_shared, wanted, run.folder)
    report = replace(
        report,
        findings=tuple(judged.findings),
        setup=describe.setup(settings, workspace, tier_name) if resolved.needs_gpu else {},
        data=describe.data(staged, counted),
        example=asdict(example) if example else {},
        checkpoints=describe.checkpoints(kept, whole, finished, keeping.to),
        plan=describe.plan(tier_name, meant, steps)
        | describe.cost(taken, cost.memory_gib(meant.values, shape) if resolved.needs_gpu else None, offers),
        changes=tuple(asdict(change) for change in resolved.changes),
        config_path=str(run.config),
    )
    if not report.ok:
        return report
    if not finished:
        commands = launch.launch_commands(environment, run.config, resolved.needs_gpu, wanted)
        report = replace(report, environment=variables, commands=commands, command=commands[-1][1])
    if request.plan_only or (finished and run.config.exists()):
        return report
    try:
        mirror.write_settings(run.folder, keeping)
        launch.write_whole(run.config, config.render(resolved, report.launch_line))
    except OSError as error:
        message = f"the resolved YAML can't be written: {error.strerror}"
        fix = "free some space, or give another folder: --workspace DIR"
        failed = Finding(code="workspace.not-writable", level="error", where=str(run.config), message=message, fix=fix)
        return replace(report, findings=(*report.findings, failed), command=(), commands=())
    return replace(report, written=not finished)


def _spread(
    judged: Judged, resolved: config.Config, wanted: Scale, step: int, reading: gpu.GpuReading, environment: packages.Environment
) -> config.Config:
    """The config with the engine's overlay on top, and the user's step of so many sequences shared out."""
    overlay, found = scale.read_overlay(wanted.engine)
    judged.add(found)
    judged.check(scale.check_step, resolved, wanted, step)
    judged.check(scale.check_device, resolved, wanted)
    judged.check(scale.check_engine, wanted, environment.installed)
    judged.check(scale.check_gpus, wanted, reading.gpus)
    judged.check(scale.check_nccl, os.environ, scale.network_interfaces(), wanted)
    judged.check(scale.check_host_memory, wanted, scale.host_memory_gib())
    if overlay is None:
        return resolved
    judged.check(scale.check_overlay, overlay)
    return config.with_changes(resolved, scale.scale_changes(resolved, overlay, wanted, step))[0]
