import copy
import json

import pytest
import yaml

from preflight.cli.text import render_text
from preflight.config.layers import Config
from preflight.config.settings import SETTINGS_SCHEMA, Settings, build, check_settings, make_schema, read_settings
from preflight.config.tiers import TIERS
from preflight.config.yaml_file import YamlFile
from preflight.files import CONFIGS
from preflight.pipeline import preflight
from preflight.request import Request
from tests.conftest import CHECKOUT

SETUP = yaml.safe_load((CONFIGS / "colab_setup.yaml").read_text())
T4 = next(tier for tier in TIERS if tier.name == "t4")


def leaves(values, path=()):
    for key, value in values.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]


def changed(path):
    """The settings with one value made another of its kind."""
    values = copy.deepcopy(SETUP)
    held = values
    for key in path[:-1]:
        held = held[key]
    value = held[path[-1]]
    other = {
        "expected_gpu": "h100",
        "fallback_gpu": "l4",
        "source": "wget",
        "resume": False,
        "mount": "/elsewhere",
        "models": "/content/drive/MyDrive/other",
        "folder": "/content/rows",
        "test_file": "val_postgres.jsonl",
        "drive_folder": "/content/drive/MyDrive/none",
    }
    held[path[-1]] = (
        other.get(path[-1])
        if path[-1] in other
        else not value
        if isinstance(value, bool)
        else [n + 1 for n in value]
        if isinstance(value, list)
        else value - 1
        if path[-1] == "save_steps"
        else value + 1
        if isinstance(value, int | float)
        else f"{value} x"
    )
    return values


def reports(folder, values, tiers=TIERS):
    """What preflight says with these settings, tier by tier, in a Colab with rows on Drive."""
    path = folder / "setup.yaml"
    path.write_text(yaml.safe_dump(values))
    for tier in (*tiers, None):
        request = Request(settings=path, tier=tier, compare=tier is None, workspace=folder / "workspace", plan_only=True)
        yield render_text(preflight(request), "x", 200, colour=False)


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colab")
    drive = folder / "workspace/drive/MyDrive/sql-codegen-data"
    drive.mkdir(parents=True)
    for name in ("train", "val", "test"):
        lines = (CHECKOUT / f"sample_data/{name}_postgres.jsonl").read_text().splitlines(keepends=True)
        (drive / f"{name}_postgres.jsonl").write_text("".join(lines[:300]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLAB_RELEASE_TAG", "x")
        yield folder, list(reports(folder, SETUP))


UNSEEN = {
    ("session", "resume"),  # a run that stopped is needed to see it: test_checkpoints.py
    ("data", "sql_fails_warning"),  # answers that fail are: test_sql_runs.py
    ("data", "sql_fails_error"),
    ("remote", "gpus"),  # of `make colab` alone: test_story.py
}


@pytest.mark.parametrize("path", [path for path in leaves(SETUP) if path not in UNSEEN], ids=".".join)
def test_no_value_is_dead(colab, path):
    """Each value, changed, changes what preflight says on some GPU."""
    folder, before = colab
    assert any(now != then for now, then in zip(reports(folder, changed(path)), before, strict=True))


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("projet: x", "config.unknown-key", "did you mean project?"),
        ("data: {test_fil: x}", "config.unknown-key", "did you mean test_file?"),
        ("subscription: {max_hours: long}", "config.bad-value", "write a number"),
        ("compute: {expected_gpu: a100}", "config.bad-value", "one of t4, v100"),
        ("compute: {compute_units_per_run: [80]}", "config.bad-value", "length"),
        ("- a", "config.unreadable", "key: value"),
    ],
)
def test_settings_that_are_wrong(tmp_path, text, code, says):
    path = tmp_path / "setup.yaml"
    values = yaml.safe_load(text)
    if isinstance(values, dict):
        (name, value), *_ = values.items()
        merged = copy.deepcopy(SETUP)
        if isinstance(value, dict):
            merged[name] |= value
        else:
            merged[name] = value
        text = yaml.safe_dump(merged)
    path.write_text(text)
    settings, findings = read_settings(path)
    assert settings is None
    assert code in [finding.code for finding in findings]
    assert any(says in finding.fix + finding.message for finding in findings), findings


def test_the_schema_that_editors_use_is_the_models():
    """`make schema` writes it: after a new tier or setting it is out of date."""
    assert json.loads(SETTINGS_SCHEMA.read_text()) == make_schema()


def test_a_setting_that_is_missing(tmp_path):
    path = tmp_path / "setup.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in SETUP.items() if key != "session"}))
    settings, (finding,) = read_settings(path)
    assert (settings, finding.code) == (None, "config.bad-value")
    assert "session" in finding.message


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ({"output_dir": SETUP["drive"]["models"]}, []),
        ({"output_dir": "/content/out"}, ["drive.elsewhere"]),
        ({"output_dir": SETUP["drive"]["models"], "save_steps": 501}, ["config.saves-rarely"]),
        ({"device": "cpu"}, []),
    ],
)
def test_a_config_against_the_settings(values, codes):
    config = Config(file=YamlFile(path=CHECKOUT / "x.yaml", values=values), values=values)
    assert [finding.code for finding in check_settings(build(Settings, SETUP), config)] == codes
