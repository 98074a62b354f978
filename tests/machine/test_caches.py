"""The caches that training writes to. That Axolotl 0.19.0 dies where it can't write its cache of rows, and not where rows are tokenised
already or only the cache of models can't be written, was seen by running it (2026-11-26)."""

import json
import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest

from preflight.machine.caches import inspect_caches
from tests.conftest import CHECKOUT, in_small_disk
from tests.support.hub import THERE

SMOKE = CHECKOUT / "axolotl_configs/smoke.yaml"
VARIABLES = ("HF_HOME", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")


@pytest.fixture
def caches(monkeypatch):
    """Sets the variables of the caches, and no others."""

    def put(**variables):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return put


def found(ran):
    return [(finding["level"], finding["fix"].rpartition("export ")[2]) for finding in ran.json["findings"] if finding["code"] == "workspace.cache"]


def test_a_home_on_a_read_only_disk(preflight, caches, tmp_path):
    caches(HF_HOME=tmp_path / "home")
    ran = preflight(SMOKE, "--json", under=in_small_disk(tmp_path / "home", "ro"))
    assert (ran.code, found(ran)) == (1, [("error", "HF_HOME=DIR")])
    assert ran.json["command"] == []


def test_a_file_in_the_place_of_the_rows_cache(preflight, caches, tmp_path):
    (tmp_path / "file").touch()
    caches(HF_DATASETS_CACHE=tmp_path / "file/rows")
    ran = preflight(SMOKE, "--json")
    assert (ran.code, found(ran)) == (1, [("error", "HF_DATASETS_CACHE=DIR")])
    assert found(preflight(SMOKE, "--json", "--plan-only")) == [], "a plan tries nothing"
    rows = tmp_path / "workspace/runs/smoke/prepared/rows/hash"
    rows.mkdir(parents=True)
    for name, held in {"state.json": {"_data_files": []}, "dataset_info.json": {}}.items():
        (rows / name).write_text(json.dumps(held))
    ran = preflight(SMOKE, "--json")
    assert (ran.code, found(ran)) == (0, [("warning", "HF_DATASETS_CACHE=DIR")])


@pytest.mark.parametrize(("base", "says"), [(CHECKOUT / "sample_data/smoke_base", []), (THERE[0], [("error", "HF_HUB_CACHE=DIR")])])
def test_the_models_cache_matters_where_a_model_is_fetched(preflight, caches, tmp_path, base, says):
    (tmp_path / "file").touch()
    caches(HF_HUB_CACHE=tmp_path / "file", HF_DATASETS_CACHE=tmp_path / "rows")
    assert found(preflight(SMOKE, "--json", "--set", f"base_model={base}")) == says


def test_trying_them_leaves_nothing(caches, tmp_path):
    caches(HF_HOME=tmp_path / "home")
    assert [inspect_caches().rows.problem, inspect_caches().models.problem] == ["", ""]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HOME": "~/h"},
        {"XDG_CACHE_HOME": "/x"},
        {"HF_HOME": "/h", "HF_HUB_CACHE": "~/m"},
        {"HUGGINGFACE_HUB_CACHE": "/m", "HF_DATASETS_CACHE": "/r"},
    ],
    ids=lambda variables: " ".join(variables) or "none",
)
def test_they_are_where_the_libraries_look_for_them(caches, variables):
    """Asked of the libraries' own files, run alone: they read the variables when they are imported."""
    caches(**variables)
    hub = runpy.run_path(Path(find_spec("huggingface_hub").origin).with_name("constants.py"))["HF_HUB_CACHE"]
    rows = runpy.run_path(Path(find_spec("datasets").origin).with_name("config.py"))["HF_DATASETS_CACHE"]
    assert (inspect_caches().rows.folder, inspect_caches().models.folder) == (Path(rows).absolute(), Path(hub))
