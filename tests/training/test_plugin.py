"""What the plugin does inside training, on the real Axolotl."""

import json
import shutil
import socket
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml

from preflight.checkpoints import manifest, mirror
from preflight.checkpoints.history import read_history
from preflight.checkpoints.records import read_records
from preflight.checkpoints.verify import is_finished
from preflight.launch.command import preprocess_line
from preflight.machine.environment import inspect_environment
from preflight.training.plugin.divergence import Divergence
from preflight.training.plugin.packing import once_a_batch
from preflight.training.plugin.stopwatch import Stopwatch
from tests.conftest import CHECKOUT, few_rows, in_this_environment, run
from tests.support import two_ranks


def test_packing_changes_no_loss_and_no_gradient(axolotl):
    """What the packed config learns from a row is what the padded one does; rows that run into each other are another thing."""
    lines = (CHECKOUT / "sample_data/train_postgres.jsonl").read_text().splitlines()[:7]
    answer = axolotl.ask("packed_and_padded", texts=[json.loads(line)["text"] for line in lines])
    packed, padded, mixed = (answer[name] for name in ("packed", "padded", "mixed"))
    assert len(packed["losses"]) > 500
    assert packed["losses"] == pytest.approx(padded["losses"], abs=2e-4)
    assert packed["gradient"] == pytest.approx(padded["gradient"], abs=2e-3)
    assert max(abs(a - b) for a, b in zip(mixed["losses"], padded["losses"], strict=True)) > 0.1


def test_an_answer_is_remembered_for_one_unchanged_tensor_only():
    asked = []

    @once_a_batch
    def total(tensor):
        asked.append(tensor.clone())
        return int(tensor.sum())

    batch = torch.tensor([1, 2, 3])
    assert [total(batch), total(batch), total(batch)] == [6, 6, 6]
    assert len(asked) == 1
    assert total(torch.tensor([1, 2, 3])) == 6, "another batch that looks the same"
    batch[0] = 5
    assert total(batch) == 10, "changed in place"
    assert len(asked) == 3


def test_ligers_rotary_kernel_reaches_the_attention_that_the_lora_kernels_rewrote():
    env = in_this_environment() | {"TRITON_INTERPRET": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(CHECKOUT)}
    done = run(sys.executable, CHECKOUT / "tests/support/fused_rotary.py", cwd=CHECKOUT, env=env)
    assert done.code == 0, done.err[-3000:]
    answer = json.loads(done.out.splitlines()[-1])
    assert answer["fused"] == "liger_kernel.transformers.rope"
    assert answer["apart"] == pytest.approx([0, 0, 0, 0], abs=1e-6)
    assert min(answer["moved"]) > 0.1, "it turns something"


class State:
    is_world_process_zero = True


def test_a_stopwatch_leaves_out_what_is_no_plain_step(tmp_path, monkeypatch):
    """Steps of 2 s; the first three warm up; an evaluation of 3 batches of 1 s and a save of 5 s lie between two of them."""
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    watch = Stopwatch(tmp_path, {"machine": "x"})
    arguments = (None, State(), None)
    watch.on_train_begin(*arguments)
    for step in range(10):
        now += 2 if step else 30
        watch.on_step_end(*arguments)
        if step == 5:
            for _ in range(3):
                now += 1
                watch.on_prediction_step(*arguments)
            watch.on_evaluate(*arguments)
            now += 5
            watch.on_save(*arguments)
    watch.on_train_end(*arguments)
    now += 7
    watch.finish()
    (record,) = read_records([tmp_path])
    assert (record.step, record.evaluation_batch, record.save, record.end) == (2, 1, 5, 7)
    assert record.steps == 5, "nine, less three that warm up and the one that follows the save"


def test_rows_tokenised_beforehand_and_runs_that_came_to_nothing_or_to_their_end(preflight, tmp_path):
    """The printed command tokenises; then real runs with a rate that makes each weight NaN in its first step, in one of which the last step
    is the one where it is stopped; and one that was killed between its last step and its adapter. They find the tokenised rows, and so
    start in half the time."""
    settings = {"learning_rate": "1e12", "max_grad_norm": "null", "warmup_ratio": "0", "logging_steps": "2", "save_steps": "2", "eval_steps": "4"}
    rows = few_rows(tmp_path / "rows")
    workspace, runs = tmp_path / "workspace", {4: tmp_path / "4", 400: tmp_path / "400"}
    for last, folder in runs.items():
        values = settings | {"max_steps": last, "output_dir": folder / "results"}
        report = preflight(
            "axolotl_configs/smoke.yaml",
            "--data",
            rows,
            "--name",
            "smoke",
            *(part for key, value in values.items() for part in ("--set", f"{key}={value}")),
            "--json",
        ).json
        folder.mkdir(exist_ok=True)
        shutil.copy(report["config_path"], folder / "smoke.yaml")
    done = run("bash", "-c", preprocess_line(inspect_environment(), runs[4] / "smoke.yaml", report["environment"]), env=in_this_environment())
    assert done.code == 0
    assert "Plugin loaded successfully: preflight.axolotl_plugin.KitPlugin" in done.out + done.err
    tokenised = {path: path.stat().st_mtime_ns for path in (workspace / "runs/smoke/prepared").rglob("*.arrow")}
    assert tokenised

    env = in_this_environment() | report["environment"] | {"PYTHONPATH": str(CHECKOUT), "ACCELERATE_USE_CPU": "true"}
    whole = tmp_path / "whole"
    for name, more in (("begun", {}), ("resumed", {"resume_from_checkpoint": str(whole / "checkpoint-2")})):
        values = yaml.safe_load((runs[4] / "smoke.yaml").read_text()) | {"learning_rate": 0.005, "max_steps": 2, "output_dir": str(whole)} | more
        (tmp_path / name).mkdir()
        (tmp_path / name / "smoke.yaml").write_text(yaml.safe_dump(values))
    mirror.write_settings(tmp_path, mirror.MirrorSettings(to="", experiment={}))
    configs = [folder / "smoke.yaml" for folder in (*runs.values(), tmp_path / "begun", tmp_path / "resumed")]
    done = run(sys.executable, CHECKOUT / "tests/support/train_each.py", *configs, env=env)
    assert done.code == 0, "Axolotl's own end, its adapter saved"
    assert {path: path.stat().st_mtime_ns for path in (workspace / "runs/smoke/prepared").rglob("*.arrow")} == tokenised
    outputs = workspace / "runs/smoke/outputs"
    assert not list(outputs.glob("checkpoint-*"))
    assert not is_finished(outputs)
    for last, folder in runs.items():
        trained = (folder / "trained.log").read_text()
        assert f"ended at step 4 of {last}: the loss is nan" in trained
        assert "'loss': 'nan'" in trained
        assert {path.name for path in (folder / "results").iterdir()} <= {"runs", "history.json"}, "curves, and nothing to go on from"
    assert [session.last_step for session in read_history(whole).sessions] == [2, 2], "no step too many"
    assert read_history(whole).ended == "finished"
    assert not (whole / "checkpoint-3").exists()
    assert (whole / "adapter_model.safetensors").read_bytes() == (whole / "checkpoint-2/adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("losses", "saves", "stops"),
    [
        (["1.2", "nan"], [True, False], [False, False]),
        (["nan", "1.2", "inf", "1.1"], [False, True, False, True], [False] * 4),
        (["1.2", "nan", "inf"], [True, False, False], [False, False, True]),
    ],
)
def test_one_lost_loss_is_forgiven_and_two_are_not(losses, saves, stops):
    callback, seen = Divergence(), []
    state = SimpleNamespace(global_step=10, max_steps=20)
    for loss in losses:
        control = SimpleNamespace(should_save=True, should_training_stop=False)
        callback.on_log(None, state, control, logs={"loss": loss})
        callback.on_log(None, state, control, logs={"eval_loss": "1"})
        seen.append((control.should_save, control.should_training_stop))
    assert seen == list(zip(saves, stops, strict=True))
    assert bool(callback.last_word) != saves[-1]


def test_a_run_that_ends_anyway_ends_though_its_last_loss_is_lost():
    control = SimpleNamespace(should_save=True, should_training_stop=True)
    callback = Divergence()
    callback.on_log(None, SimpleNamespace(global_step=20, max_steps=20), control, logs={"loss": "nan"})
    assert (control.should_save, control.should_training_stop) == (False, True)


def test_a_checkpoint_is_described_when_every_process_has_written_its_part(tmp_path):
    """Two processes, the second late, each with a file in the subfolder that DeepSpeed makes."""
    mirror.write_settings(tmp_path, mirror.MirrorSettings(to=str(tmp_path / "to"), experiment={}))
    outputs = tmp_path / "outputs"
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    assert two_ranks.run(outputs, port) == [True, True]
    parts = ["global_step10/rank_0.pt", "global_step10/rank_1.pt"]
    assert sorted(manifest.read(outputs / "checkpoint-10").files) == parts
    copied = tmp_path / "to/checkpoint-10"
    assert sorted(manifest.read(copied).files) == parts
    assert (copied / parts[1]).read_text() == "optimizer"
