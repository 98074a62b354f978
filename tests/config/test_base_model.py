"""What the hub says of a model, asked through its own client."""

import os
import subprocess
import sys

import pytest

from preflight.config.base_model import HubReading, check_hub
from preflight.machine.platforms.local import Local
from tests.conftest import CHECKOUT
from tests.support.hub import GATED, GOOD, THERE

ASK = """
import sys
from preflight.config.base_model import check_hub, inspect_hub
from preflight.machine.platforms.colab import Colab

reading = inspect_hub(sys.argv[1])
print(reading)
print(check_hub(reading, Colab(), "x"))
"""


def ask(model, tmp_path, **variables):
    """In a process of its own: the client reads its environment when it is imported."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_TOKEN")} | {"HF_HOME": str(tmp_path)} | variables
    done = subprocess.run([sys.executable, "-c", ASK, model], cwd=CHECKOUT, env=env, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("model", "token", "code", "says"),
    [
        (THERE[0], "", "[]", ""),
        (THERE[0], GOOD, "[]", ""),
        (GATED, "", "hub.no-token", "add a secret HF_TOKEN"),
        (GATED, GOOD, "hub.gated", "accept them at http"),
        (THERE[0], "hf_revoked", "hub.bad-token", "revoked"),
        ("nobody/nothing", GOOD, "hub.not-found", "has no model nobody/nothing"),
        ("nobody/nothing", "", "hub.not-found", "or it is private"),
        ("someone/broken", "", "hub.offline", "the hub answers 500"),
    ],
)
def test_what_the_hub_says_is_told_apart(tmp_path, model, token, code, says):
    said = ask(model, tmp_path, **({"HF_TOKEN": token} if token else {}))
    assert code in said
    assert says in said
    assert not token or token not in said


def test_without_a_network(tmp_path):
    assert "hub.offline" in ask(THERE[0], tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "HF_HUB_OFFLINE is set" in ask(THERE[0], tmp_path, HF_HUB_OFFLINE="1")


def test_a_model_that_is_here_asks_nobody(tmp_path, hub):
    before = set(hub.tokens)
    cached = tmp_path / "hub/models--mistralai--Mistral-7B-v0.1"
    (cached / "snapshots/abc").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("abc")
    (cached / "snapshots/abc/model.safetensors.index.json").write_text("{}")
    assert ask(THERE[0], tmp_path, HF_TOKEN="hf_goodButNeverSent").startswith("None")
    assert ask("sample_data/smoke_base", tmp_path).startswith("None")
    assert hub.tokens == before


def test_the_mend_of_a_gated_model_names_a_copy_that_is_not():
    (finding,) = check_hub(HubReading(model=GATED, said="gated", has_token=False), Local(), "x.yaml:1")
    assert (finding.level, finding.where) == ("error", "x.yaml:1")
    assert "--set base_model=unsloth/mistral-7b" in finding.fix
