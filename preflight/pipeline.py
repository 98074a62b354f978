"""The whole preflight on one page: look, judge, plan, write, in that order."""

import hashlib
import itertools
import os
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from preflight import checkpoints, config, gpu, launch, packages, schema, staging
from preflight.config import Change, Config
from preflight.findings import Finding, Level, Report, to_plain
from preflight.workspace import Run, Workspace, check_workspace, find_workspace, probe_writing
from preflight.yaml_file import read_yaml

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for."""

    config: Path = config.CONFIGS / "mistral_qlora.yaml"
    overrides: tuple[Change, ...] = ()
    tier: gpu.Tier | None = None  # --gpu: plan for this one, whatever is here
    workspace: Path | None = None
    data: Path | None = None
    plan_only: bool = False


class Judged:
    """The findings so far; a step that crashes becomes one of them, so that the others still run."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, findings: Sequence[Finding]) -> None:
        self.findings += findings

    def attempt(self, default: T, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return step(*args, **kwargs)
        except Exception:  # a fault of the kit: everything expected is a finding already
            log = Path(tempfile.gettempdir()) / f"preflight-crash-{os.getpid()}.log"
            with log.open("a", encoding="utf-8") as file:
                file.write(traceback.format_exc())
            self.findings.append(
                Finding(
                    code="internal.crash",
                    level="error",
                    where=f"{step.__module__}.{step.__qualname__}",
                    message="a fault of the kit; this part was not looked at",
                    fix=f"report it with {log}",
                )
            )
            return default


def preflight(request: Request, progress: staging.Progress = lambda what, done, total: None) -> Report:
    """Look at the machine, the config and the data; unless `plan_only`, stage the rows and write the resolved YAML."""
    judged = Judged()

    # look
    workspace = find_workspace(request.workspace)
    if not request.plan_only:
        workspace = replace(workspace, error=judged.attempt("", probe_writing, workspace.root))
    reading = (
        gpu.GpuReading(gpus=(gpu.planned_gpu(request.tier),))
        if request.tier
        else judged.attempt(gpu.GpuReading(reason="not looked at"), gpu.inspect_gpus)
    )
    environment = judged.attempt(packages.Environment(accelerate=None), packages.inspect_environment)
    settings, found = read_yaml(config.CONFIGS / "colab_setup.yaml")
    judged.add(found)
    file, found = read_yaml(request.config)
    judged.add(found)

    # judge the machine
    judged.add(judged.attempt([], check_workspace, workspace))
    if not request.plan_only:
        judged.add(judged.attempt([], packages.check_environment, environment))
    report = Report(workspace=_workspace(workspace), gpu=_gpus(reading), plan=PLAN)
    if file is None or settings is None:
        judged.add(
            [Finding(code="internal.skipped", level="info", message="config, data and checkpoints were not judged: a file above can't be read")]
        )
        return replace(report, findings=tuple(judged.findings))

    # judge the config: YAML <- tier <- --set
    known = schema.read_schema()
    resolved, found = config.with_changes(Config(file=file, values=file.values), request.overrides)
    judged.add(found)
    judged.add(judged.attempt([], schema.check_config, resolved, known))
    tier = gpu.tier_of(reading.gpus[0]) or gpu.nearest_tier(reading.gpus[0]) if reading.gpus and resolved.needs_gpu else None
    judged.add(judged.attempt([], gpu.check_gpu, reading, tier, needs_gpu=resolved.needs_gpu))
    tier_name = tier.name if tier else "" if resolved.needs_gpu else gpu.CPU
    if tier_name:
        layer, found = config.read_tier(tier_name)
        judged.add(found)
        if layer:
            # the tier stands below --set: it is applied to what --set made, and --set is said again on top of it
            resolved, _ = config.with_changes(resolved, config.tier_changes(resolved, layer, request.overrides))
            resolved, _ = config.with_changes(resolved, request.overrides)
            judged.add(
                judged.attempt(
                    [],
                    schema.check_config,
                    replace(resolved, values={"plugins": resolved.values.get("plugins"), **layer.values}, file=layer, changes=()),
                    known,
                )
            )

    # judge and stage the rows
    files = judged.attempt((), staging.find_data, resolved.values, workspace, source=request.data, **settings.values["data"])
    staged: list[staging.Staged] = []
    missing: Level = "warning" if request.plan_only else "error"
    copy = not request.plan_only and not any(finding.level == "error" for finding in judged.findings)
    for folder, group in itertools.groupby(sorted(files, key=lambda file: str(file.staged)), key=lambda file: file.staged.parent):
        sources = [staging.inspect_source(file.source) for file in group]
        rows, found = judged.attempt((None, []), staging.bring, sources, folder, copy=copy, missing=missing, progress=progress)
        judged.add(found)
        staged += [rows] if rows else []

    # judge what an earlier session left
    run = workspace.run(resolved.name)
    resolved, _ = config.with_changes(resolved, _paths(files, staged, run))
    plugins = resolved.values.get("plugins")
    listed = [*(plugins if isinstance(plugins, list) else ()), launch.PLUGIN]
    resolved, _ = config.with_changes(resolved, [Change(key="plugins", value=listed, layer="preflight")])
    kept = judged.attempt((), checkpoints.inspect_checkpoints, run.outputs)
    whole = checkpoints.newest_whole(kept)
    judged.add(judged.attempt([], checkpoints.check_checkpoints, kept))
    if copy:
        before, _ = read_yaml(run.config)
        judged.add(
            judged.attempt(
                [],
                checkpoints.check_same_run,
                config.experiment(before.values) if before else None,
                config.experiment(resolved.values),
                run.folder,
                run.outputs,
            )
        )
    finished = checkpoints.is_finished(run.outputs, whole)
    if whole and not finished:
        resolved, _ = config.with_changes(resolved, [Change(key="resume_from_checkpoint", value=str(whole.path), layer="preflight")])

    # plan and write
    report = replace(
        report,
        findings=tuple(judged.findings),
        data={"folders": to_plain([asdict(rows) for rows in staged])},
        checkpoints=_checkpoints(kept, whole, finished),
        plan=PLAN | {"tier": tier_name or None} | _step(resolved),
        changes=tuple(asdict(change) for change in resolved.changes),
        config_path=str(run.config),
    )
    if finished or not report.ok:
        return report
    report = replace(
        report, environment=launch.launch_variables(resolved, files), command=launch.launch_command(environment, run.config, resolved.needs_gpu)
    )
    if not request.plan_only:
        try:
            launch.write_whole(run.config, config.render(resolved, report.launch_line))
        except OSError as error:
            failed = Finding(
                code="workspace.not-writable",
                level="error",
                where=str(run.config),
                message=f"the resolved YAML can't be written: {error.strerror}",
                fix="free some space, or give another folder: --workspace DIR",
            )
            return replace(report, findings=(*report.findings, failed), command=())
    return replace(report, written=not request.plan_only)


# the contract of --json: every key is there, and null where it is not known
PLAN: dict[str, Any] = {
    "tier": None,
    "tokens_per_step": None,
    "examples_per_step": None,
    "steps": None,
    "tokens": None,
    "trained_tokens": None,
    "checkpoints": None,
    "hours": {"low": None, "high": None},
    "compute_units": {"low": None, "high": None},
    "cost_usd": {"low": None, "high": None},
    "throughput_source": "none",
}


def _workspace(workspace: Workspace) -> dict[str, object]:
    return {"root": str(workspace.root), "colab": workspace.colab.found, "colab_reason": workspace.colab.reason}


def _gpus(reading: gpu.GpuReading) -> dict[str, object]:
    return {"name": reading.gpus[0].name if reading.gpus else None, "gpus": to_plain([asdict(one) for one in reading.gpus]), "reason": reading.reason}


def _step(resolved: Config) -> dict[str, object]:
    """What an optimizer step holds: tokens where sequences are packed, examples where they are not."""
    size = config.step_size(resolved.values)
    if resolved.values.get("sample_packing"):
        return {"tokens_per_step": size * config.whole_number(resolved.values.get("sequence_len"), 512)}  # 512 is Axolotl's default
    return {"examples_per_step": size}


def _checkpoints(kept: Sequence[checkpoints.Checkpoint], whole: checkpoints.Checkpoint | None, finished: bool) -> dict[str, object]:
    return {
        "whole": [str(one.path) for one in kept if not one.problem],
        "passed_over": [str(one.path) for one in kept if one.problem],
        "resume_from": str(whole.path) if whole and not finished else None,
        "step": whole.step if whole else 0,
        "max_steps": whole.max_steps if whole else None,
        "finished": finished,
    }


def _paths(files: Sequence[staging.DataFile], staged: Sequence[staging.Staged], run: Run) -> list[Change]:
    """The paths of this machine. The prepared rows lie in a folder named by their content: Axolotl's own cache key holds
    only the path, so new rows at an old path would train on the old."""
    hashes = {record.source: record.sha256 for rows in staged for record in rows.files}
    content = hashlib.sha256("".join(hashes.get(str(file.source), "") for file in files if file.key).encode()).hexdigest()[:16]
    paths = {file.key: str(file.staged) for file in files if file.key}
    paths |= {"dataset_prepared_path": str(run.prepared / content)} if hashes else {}
    paths["output_dir"] = str(run.outputs)
    return [Change(key=key, value=value, layer="preflight") for key, value in paths.items()]
