"""The second stage: the user's YAML and the layers on top of it become one config, which is judged."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from preflight.config import base_model, places, scale, schema, tiers
from preflight.config.base_model import ModelShape
from preflight.config.checks import Situation, check_values
from preflight.config.checks.base import wrong_name
from preflight.config.layers import Change, Config, set_secrets_aside, with_changes
from preflight.config.model_files import ModelFiles, fetch_small, read_model, why_unjudged
from preflight.config.names import default_name
from preflight.config.scale import Scale
from preflight.config.settings import Settings, check_settings
from preflight.config.tiers import CPU, Tier
from preflight.config.validators import Ask, Verdict, judge
from preflight.config.values import step_size
from preflight.config.yaml_file import YamlFile
from preflight.files import Progress
from preflight.findings import Diagnostics
from preflight.machine.active import check_active
from preflight.machine.answering import answering
from preflight.machine.caches import check_cache
from preflight.machine.gpu import check_driver
from preflight.machine.stage import Machine


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained: one config, and what led to it. Misspelt keys are spelt right in it and wrong values left out, so that all
    else can be judged in the same run; nothing is launched then."""

    config: Config
    untiered: Config  # without the layers of a GPU and an engine
    overrides: tuple[Change, ...] = ()  # of `--set`, those that could be applied
    tier: Tier | None = None
    tier_name: str = ""  # of the settings that are used: a GPU's tier, `cpu`, or '' where no tier applies
    scale: Scale | None = None
    shape: ModelShape | None = None
    verdict: Verdict = field(default_factory=Verdict)
    model_note: str = ""  # what was not judged since nothing is known of the base model
    named: bool = False  # by --name: the run is looked for under no other name


def resolve_config(
    file: YamlFile,
    overrides: Sequence[Change],
    wanted: Scale | None,
    settings: Settings,
    machine: Machine,
    diagnostics: Diagnostics,
    ask: Ask,
    progress: Progress,
    name: str = "",
) -> Recipe:
    """The config after its layers: YAML <- tier <- engine <- --set, for a run of this name, or of that which `--set` gives it. What is wrong
    with it goes to `diagnostics`; `ask` says when Axolotl's own validators are asked too."""
    run_name = name or diagnostics.attempt(file.path.stem, default_name, file, overrides)
    file, overrides = diagnostics.take((file, ()), set_secrets_aside, file, overrides)
    written = Config(file=file, values=file.values, run_name=run_name)
    if diagnostics.writes:
        diagnostics.check(check_active, machine.workspace.run(written.name))
    config = diagnostics.take(written, with_changes, written, overrides)
    config, reported = _judge_keys(config, diagnostics)
    accepted = tuple(change for change in overrides if not _refused(change.key, reported))
    untiered = config
    tier = (tiers.tier_of(machine.gpu) or tiers.nearest_tier(machine.gpu)) if machine.gpu and config.needs_gpu else None
    shape, files = _judge_model(config, machine, diagnostics)
    _judge_gpu(config, tier, settings, machine, diagnostics)
    tier_name = tier.name if tier else "" if config.needs_gpu else CPU
    if tier_name:
        room = tiers.Room(shape=shape, memory_gib=machine.gpu.memory_gib) if machine.gpu and config.needs_gpu else None
        config = _with_tier(config, tier_name, accepted, room, diagnostics)
    if wanted:
        wanted = wanted if wanted.gpus_per_node else replace(wanted, gpus_per_node=max(1, len(machine.gpus.gpus)))
        config = _with_scale(config, wanted, step_size(untiered.values), machine, diagnostics)
    diagnostics.check(check_settings, settings, config)
    situation = Situation(
        compute_capability=machine.gpu.compute_capability if machine.gpu and config.needs_gpu else None,
        base_model_missing=diagnostics.attempt(False, answering(base_model.is_missing, _model(config)), _model(config)),
        base_model_here=diagnostics.attempt(False, answering(Path.is_dir, _model(config)), Path(_model(config) or "/nowhere")),
        model=files,
        installed=machine.environment.installed,
        reported=reported,
    )
    diagnostics.check(check_values, config, situation)
    named = places.named_places(config.values)
    found = diagnostics.attempt([], answering(places.inspect_places, *(path for _, path in named)), named)
    diagnostics.check(places.check_places, config, found, plan=not diagnostics.writes)
    verdict = diagnostics.take(Verdict(), judge, config, machine, ask, diagnostics, progress)
    return Recipe(
        config=config,
        untiered=untiered,
        overrides=accepted,
        tier=tier,
        tier_name=tier_name,
        scale=wanted,
        shape=shape,
        verdict=verdict,
        model_note=why_unjudged(files),
        named=bool(name),
    )


def _judge_keys(config: Config, diagnostics: Diagnostics) -> tuple[Config, frozenset[str]]:
    """The config with what the schema refuses repaired or left out, and the dotted keys of that."""
    known = schema.read_schema()
    problems = diagnostics.attempt([], schema.find_problems, config, known)
    diagnostics.add(*(problem.finding for problem in problems))
    diagnostics.check(schema.check_plugin_keys, config, known)
    diagnostics.check(schema.check_deprecated, config, known)
    return schema.repaired(config, problems), frozenset(problem.path for problem in problems)


def _refused(key: str, reported: frozenset[str]) -> bool:
    """Whether an override set something, or set something inside something, that the schema refused."""
    return any(path == key or path.startswith(f"{key}.") or key.startswith(f"{path}.") for path in reported)


def _judge_gpu(config: Config, tier: Tier | None, settings: Settings, machine: Machine, diagnostics: Diagnostics) -> None:
    diagnostics.check(tiers.check_gpu, machine.gpus, tier, needs_gpu=config.needs_gpu)
    if config.needs_gpu:
        diagnostics.check(check_driver, machine.gpus, machine.environment)
    diagnostics.check(tiers.check_expected, tier, settings.compute.expected_gpu, settings.compute.compute_units_per_hour)


def _with_tier(config: Config, name: str, overrides: Sequence[Change], room: tiers.Room | None, diagnostics: Diagnostics) -> Config:
    """The config with the tier's settings. The tier ranks below --set: it is applied to what --set made, and --set again on top of it."""
    layer = diagnostics.take(None, tiers.read_tier, name)
    if layer is None:
        return config
    if room:
        diagnostics.check(tiers.check_left, config, layer, overrides, room)
    config, _ = with_changes(config, tiers.tier_changes(config, layer, overrides, room))
    config, _ = with_changes(config, overrides)
    diagnostics.check(tiers.check_tier, layer)
    plugins = {"plugins": config.values.get("plugins")} if config.values.get("plugins") else {}
    _judge_keys(Config(file=layer, values=plugins | dict(layer.values)), diagnostics)
    return config


def _with_scale(config: Config, wanted: Scale, step: int, machine: Machine, diagnostics: Diagnostics) -> Config:
    """The config with the engine's overlay on top, and the user's step of so many sequences shared out."""
    overlay = diagnostics.take(None, scale.read_overlay, wanted.engine)
    diagnostics.check(scale.check_step, config, wanted, step)
    diagnostics.check(scale.check_device, config, wanted)
    diagnostics.check(scale.check_engine, wanted, machine.environment.installed)
    diagnostics.check(scale.check_gpus, wanted, machine.gpus.gpus)
    diagnostics.check(scale.check_nccl, os.environ, machine.host.interfaces, wanted)
    diagnostics.check(scale.check_host_memory, wanted, machine.host.memory_gib)
    if overlay is None:
        return config
    diagnostics.check(scale.check_overlay, overlay)
    return with_changes(config, scale.scale_changes(config, overlay, wanted, step))[0]


def _judge_model(config: Config, machine: Machine, diagnostics: Diagnostics) -> tuple[ModelShape | None, ModelFiles]:
    """The shape of the base model and what its small files say, where they are here; the hub is asked for them unless this is a plan."""
    name = _model(config)
    if diagnostics.writes and not wrong_name(name):
        reading = diagnostics.attempt(None, base_model.inspect_hub, name)
        diagnostics.check(base_model.check_hub, reading, machine.workspace.platform, config.where("base_model"))
        if reading and machine.caches:  # it is fetched into the cache
            diagnostics.check(check_cache, machine.caches.models, "error")
        if reading and reading.said == "there":
            diagnostics.attempt(None, fetch_small, name)
    shape = diagnostics.attempt(None, answering(base_model.find_shape, name), name)
    # it holds a tokenizer, which no other process can hand over: a disk that hangs is asked for less before
    if diagnostics.attempt(None, answering(os.path.lexists, name), name) is None:
        return shape, ModelFiles()
    return shape, diagnostics.attempt(ModelFiles(), read_model, name, str(config.values.get("tokenizer_config") or ""))


def _model(config: Config) -> str:
    return str(config.values.get("base_model") or "")
