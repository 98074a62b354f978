"""What is wrong with a run once its steps are known."""

from dataclasses import replace
from pathlib import Path

import pytest

from preflight.config.layers import Config, with_changes
from preflight.config.tiers import TIERS, read_tier, tier_changes
from preflight.config.yaml_file import YamlFile, read_yaml
from preflight.files import CONFIGS
from preflight.plan.checks import CHECKS
from preflight.plan.steps import Steps
from tests.config.test_checks import BEST, ERROR, GOOD, PACKED

STEPS = Steps(
    steps=1000,
    examples_per_step=17.0,
    tokens_per_step=8192,
    tokens=8_000_000,
    trained_tokens=8_000_000,
    warmup=30,
    saves=(500, 1000),
    eval_batches=40,
    exact=True,
)
SHORT = Steps(
    steps=80, examples_per_step=17.0, tokens_per_step=8192, tokens=600_000, trained_tokens=600_000, warmup=2, saves=(80,), eval_batches=40, exact=True
)
WRONG = [
    ({}, SHORT, ("config.saves-never", ERROR)),
    ({"warmup_steps": 2000}, replace(STEPS, warmup=2000), ("config.warmup-too-long", ERROR)),
    ({"early_stopping_patience": 3, "eval_steps": 250}, STEPS, ("config.early-stopping", "warning")),
    (PACKED, replace(STEPS, eval_batches=0), ("config.eval-too-small", ERROR)),
]
RIGHT = [
    {},
    {"early_stopping_patience": 3, "eval_steps": 200},
    PACKED,
    BEST | {"eval_steps": 250, "val_set_size": 0},
    {"warmup_ratio": 0.03, "save_strategy": "steps"},
]


def found(config, steps):
    return [finding for check in CHECKS for finding in check(config, steps)]


def config(**changes):
    values = GOOD | changes
    return Config(file=YamlFile(path=Path("x.yaml"), values=values), values=values)


@pytest.mark.parametrize(("changes", "steps", "expected"), WRONG, ids=lambda value: value[0] if isinstance(value, tuple) else None)
def test_wrong(changes, steps, expected):
    assert expected in [(finding.code, finding.level) for finding in found(config(**changes), steps)]


@pytest.mark.parametrize("changes", RIGHT)
def test_right(changes):
    assert found(config(**changes), STEPS) == []


@pytest.mark.parametrize("tier", [tier.name for tier in TIERS])
@pytest.mark.parametrize("name", ["mistral_qlora", "mistral_qlora_chat", "mistral_qlora_instruct", "mistral_qlora_padded", "smoke"])
def test_the_shipped_configs_make_sense_on_every_gpu(name, tier):
    file, _ = read_yaml(CONFIGS / f"{name}.yaml")
    layer, _ = read_tier(tier)
    shipped = Config(file=file, values=file.values)
    shipped, _ = with_changes(shipped, tier_changes(shipped, layer, ()))
    assert found(shipped, STEPS) == []


def test_every_finding_says_how_to_fix_it():
    for changes, steps, _ in WRONG:
        for finding in found(config(**changes), steps):
            assert finding.fix
            assert finding.where.startswith("x.yaml $.")
