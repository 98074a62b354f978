"""What lies inside a checkpoint's files, whatever its manifest says. torch itself is asked whether it would load them."""

import os
import pickle
import zipfile
from collections import OrderedDict

import numpy
import pytest
import torch
from safetensors.numpy import save_file
from torch._weights_only_unpickler import _get_allowed_globals
from transformers.trainer_pt_utils import safe_globals

from preflight.checkpoints import manifest
from preflight.checkpoints.mirror import MirrorSettings
from preflight.checkpoints.pickles import GLOBALS, read_pickle_problem
from preflight.checkpoints.restore import restore
from preflight.checkpoints.verify import check_checkpoints, inspect_checkpoints, inspect_mirrored, is_finished, latest_complete
from preflight.checkpoints.weights import read_weights_problem
from preflight.files import silent
from preflight.machine.platforms.local import Local
from preflight.machine.run_folder import RunFolder
from tests.checkpoints.test_verify import checkpoint


class Evil:
    """What runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def loads(path):
    """Whether torch loads the file as the trainer asks it to."""
    try:
        with safe_globals():
            torch.load(path, weights_only=True)
    except Exception:
        return False
    return True


def described_anew(folder, step):
    manifest.write(folder, manifest.describe(folder, subfolders=True, step=step, max_steps=100, best_step=0, experiment={"lora_r": 16}))


def trained():
    """An optimizer and a scheduler after a step, as a run has them."""
    model = torch.nn.Linear(4, 4).to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    model(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    scheduler.step()
    return optimizer.state_dict(), scheduler.state_dict()


RNG = {"python": __import__("random").getstate(), "numpy": numpy.random.get_state(), "cpu": torch.random.get_rng_state()}
GOOD = {
    "optimizer.pt": trained()[0],
    "scheduler.pt": trained()[1],
    "rng_state.pth": RNG,
    "rng_state_1.pth": RNG,
    "scaler.pt": OrderedDict(scale=1.0, growth=torch.tensor(2)),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", GOOD)
def test_what_the_trainer_writes_is_taken(tmp_path, name, legacy):
    torch.save(GOOD[name], tmp_path / name, _use_new_zipfile_serialization=not legacy)
    assert loads(tmp_path / name)
    assert read_pickle_problem(tmp_path / name) == ""


def plain_pickle(path, held):
    path.write_bytes(pickle.dumps(held, protocol=2))


def newer_protocol(path, held):
    torch.save(held, path, pickle_protocol=4)


def script(path, held):
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)


def second_pickle(path, held):
    torch.save({"state": 1}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickle.dumps(held, protocol=2))


WRITERS = {
    "zip": torch.save,
    "legacy": lambda held, path: torch.save(held, path, _use_new_zipfile_serialization=False),
    "newer protocol": lambda held, path: newer_protocol(path, held),
    "plain pickle": lambda held, path: plain_pickle(path, held),
    "torch script": lambda held, path: script(path, held),
    "second pickle": lambda held, path: second_pickle(path, held),
    "text": lambda held, path: path.write_text("no pickle"),
    "cut": lambda held, path: path.write_bytes(b"\x80\x02}q"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_pickle_that_torch_refuses_is_damage_whatever_the_manifest_says(tmp_path, name, writer):
    before, newest = checkpoint(tmp_path, 50), checkpoint(tmp_path, 100)
    WRITERS[writer]({"state": Evil(tmp_path / "mark")}, newest / name)
    described_anew(newest, 100)
    assert writer == "second pickle" or not loads(newest / name)
    found = inspect_checkpoints(tmp_path)
    assert latest_complete(found).path == before
    (finding,) = check_checkpoints(found)
    assert (finding.code, finding.where) == ("checkpoint.corrupt", str(newest))
    assert name in finding.message
    if writer in ("zip", "legacy"):
        assert "system, which torch refuses to load" in finding.message
    assert not (tmp_path / "mark").exists(), "it was run"


def test_numpy_is_for_the_random_state_alone(tmp_path):
    """As the trainer has it: for the others it does not allow numpy."""
    torch.save({"numpy": numpy.random.get_state()}, tmp_path / "optimizer.pt")
    assert "numpy" in read_pickle_problem(tmp_path / "optimizer.pt")


def test_what_is_allowed_is_what_torch_allows():
    assert _get_allowed_globals().keys() == GLOBALS


def test_a_bad_pickle_that_lies_on_drive_is_not_resumed_from(tmp_path):
    run, to = RunFolder(folder=tmp_path / "run"), tmp_path / "to"
    checkpoint(to, 50)
    torch.save(Evil(tmp_path / "mark"), checkpoint(to, 100) / "optimizer.pt")
    described_anew(to / "checkpoint-100", 100)
    settings = MirrorSettings(to=str(to), experiment={"lora_r": 16})
    kept, _ = restore(run, settings, (), inspect_mirrored(to), Local(), silent)
    assert latest_complete(kept).path == run.outputs / "checkpoint-50"
    assert [finding.where for finding in check_checkpoints(kept)] == [str(run.outputs / "checkpoint-100")]


def adapter(**changes):
    generator = numpy.random.default_rng(1)
    weights = {f"layers.{i}.{name}.weight": generator.normal(size=(16, 4096)).astype("float32") for i in range(2) for name in ("lora_A", "lora_B")}
    return weights | {key.replace("_0", "layers.0.lora_") + ".weight": value for key, value in changes.items()}


def with_hole(array):
    array = array.copy()
    array[3:5] = 0
    return array


ZERO = numpy.zeros((16, 4096), "float32")
WEIGHTS = {
    "trained": (adapter(), ""),
    "one lora_B not trained yet": (adapter(_0B=ZERO), ""),
    "at the first step every lora_B": (adapter(_0B=ZERO) | {"layers.1.lora_B.weight": ZERO}, ""),
    "all zero": (dict.fromkeys(adapter(), ZERO), "only zeros"),
    "one lora_A zero": (adapter(_0A=ZERO), "layers.0.lora_A.weight holds only zeros"),
    "a hole": (adapter(_0A=with_hole(adapter()["layers.0.lora_A.weight"])), "layers.0.lora_A.weight has a hole"),
    "nothing": ({}, "only zeros"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_are_none_are_damage(tmp_path, case):
    weights, says = WEIGHTS[case]
    before, newest = checkpoint(tmp_path, 50), checkpoint(tmp_path, 100)
    save_file(weights, newest / "adapter_model.safetensors")
    described_anew(newest, 100)
    found = inspect_checkpoints(tmp_path)
    assert latest_complete(found).path == (before if says else newest)
    assert says in found[0].problem
    save_file(weights, tmp_path / "adapter_model.safetensors")
    manifest.write(tmp_path, manifest.describe(tmp_path, subfolders=False, step=100, max_steps=100, best_step=0, experiment={}))
    assert is_finished(tmp_path) == (not says)


@pytest.mark.parametrize("by", [-4096, -1, 1, 4096])
def test_the_header_and_the_length_agree(tmp_path, by):
    path = tmp_path / "adapter_model.safetensors"
    save_file(adapter(), path)
    content = path.read_bytes()
    path.write_bytes(content[:by] if by < 0 else content + bytes(by))
    assert "damaged" in read_weights_problem(path)
