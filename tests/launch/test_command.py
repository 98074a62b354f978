import os
from pathlib import Path

import pytest

from preflight.config.layers import Config
from preflight.config.yaml_file import YamlFile
from preflight.launch.command import accelerate_command, launch_variables
from preflight.machine.environment import inspect_environment
from tests.conftest import CHECKOUT

BASE = str(CHECKOUT / "sample_data/smoke_base")


@pytest.mark.parametrize(
    ("changes", "local_rows", "offline"),
    [
        ({}, True, True),
        ({"tokenizer_config": BASE}, True, True),
        ({}, False, False),
        ({"base_model": "mistralai/Mistral-7B-v0.1"}, True, False),
        ({"hub_model_id": "me/adapter"}, True, False),
        ({"tokenizer_config": "mistralai/Mistral-7B-v0.1"}, True, False),
        ({"lora_model_dir": "someone/adapter"}, True, False),
        ({"attn_implementation": "flash_attention_2"}, True, False),
        ({"flash_attention": True}, True, False),
    ],
)
def test_the_hub_is_off_only_where_nothing_comes_from_it_or_goes_there(changes, local_rows, offline):
    values = {"base_model": BASE, "device": "cpu"} | changes
    config = Config(file=YamlFile(path=CHECKOUT / "x.yaml", values=values), values=values)
    assert ("HF_HUB_OFFLINE" in launch_variables(config, local_rows=local_rows)) == offline


@pytest.mark.parametrize(("wanted", "threads"), [("1", "1"), ("3", "3"), ("0", None), ("4,2", None), (None, None)])
def test_threads_are_as_many_as_cores_where_nobody_says_how_many(wanted, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if wanted:
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    command = accelerate_command(inspect_environment(), Path("x.yaml"), needs_gpu=False)
    assert command[command.index("--num_cpu_threads_per_process") + 1] == (threads or str(os.cpu_count()))
