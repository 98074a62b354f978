import json
import os
import subprocess
import sys

import pytest

from preflight.schema import SCHEMA
from tests.conftest import CHECKOUT, OFFLINE


def test_the_committed_schema_is_that_of_the_pinned_axolotl(tmp_path):
    subprocess.run(
        [sys.executable, CHECKOUT / "scripts/generate_schema.py", tmp_path / "s.json"], env=os.environ | OFFLINE, check=True, capture_output=True
    )
    assert json.loads((tmp_path / "s.json").read_text()) == json.loads(SCHEMA.read_text())


@pytest.mark.parametrize("key", ["overrides_of_model_config", "model_config", "model_type", "type_of_model", "liger_rms_norm", "curriculum_sampling"])
def test_keys_that_axolotl_takes(key):
    assert key in json.loads(SCHEMA.read_text())["properties"]
