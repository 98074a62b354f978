"""Files of the kit's own that hold something else than it wrote."""

import json

import pytest

from preflight.checkpoints import mirror
from preflight.checkpoints.records import read_records
from preflight.config.adapter_size import checkpoint_bytes
from preflight.config.base_model import MISTRAL_7B
from preflight.data.prepared import is_complete
from preflight.data.staging import MANIFEST, read_manifest
from preflight.machine.run_folder import RECORDS

ODD = [
    "[" * 100_000,
    "null",
    "5",
    '"x"',
    "[5]",
    '[{"step": Infinity, "steps": Infinity}]',
    '{"to": 5, "experiment": []}',
    '{"files": [5]}',
    '{"_data_files": 5}',
    "\ud800",
]


@pytest.mark.parametrize("held", ODD, ids=lambda held: held[:20].encode(errors="replace").decode())
def test_what_holds_something_else_holds_nothing(tmp_path, held):
    for name in (RECORDS, mirror.SETTINGS, MANIFEST, "state.json", "dataset_info.json"):
        (tmp_path / name).write_bytes(held.encode(errors="surrogatepass"))
    assert read_records([tmp_path]) == []
    assert mirror.read_settings(tmp_path) is None
    assert read_manifest(tmp_path) is None
    assert not is_complete(tmp_path)


@pytest.mark.parametrize("settings", [{"to": 5}, {"mount": []}, {"experiment": []}, {"depends": "x"}])
def test_a_mirrors_settings_of_another_kind_are_none(tmp_path, settings):
    (tmp_path / mirror.SETTINGS).write_text(json.dumps({"to": "", "experiment": {}} | settings))
    assert mirror.read_settings(tmp_path) is None


def test_modules_that_are_no_names_are_not_counted():
    assert checkpoint_bytes({"lora_r": 8, "lora_target_modules": [{"a": 1}, ["q_proj"], None, "q_proj"]}, MISTRAL_7B) == checkpoint_bytes(
        {"lora_r": 8, "lora_target_modules": ["q_proj"]}, MISTRAL_7B
    )
