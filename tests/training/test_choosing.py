from types import SimpleNamespace

import pytest

from preflight.checkpoints import manifest
from preflight.checkpoints.verify import is_finished
from preflight.training.evaluation.choosing import choose, find_candidates, install
from tests.support.run_folders import begun, described, trained


@pytest.fixture
def run(tmp_path):
    """A finished run with a checkpoint before the last, whose weights the final adapter has."""
    run = trained(begun(tmp_path, "one"), adapter=b"last")
    described(run.outputs / "checkpoint-20", {}, 20, 40, b"earlier", [])
    return run


def figures(**right):
    """Of ten questions, those up to a number answered right, by candidate."""
    return {
        name.replace("_", "-"): SimpleNamespace(right=count, questions=10, verdicts={str(i): "right" if i < count else "wrong" for i in range(10)})
        for name, count in right.items()
    }


def test_the_final_adapter_comes_first_and_no_weights_twice(run):
    assert [(one.name, one.step, one.folder.name) for one in find_candidates(run.outputs)] == [
        ("checkpoint-40", 40, "outputs"),
        ("checkpoint-20", 20, "checkpoint-20"),
    ]


def test_a_damaged_checkpoint_is_no_candidate(run):
    (run.outputs / "checkpoint-20/adapter_model.safetensors").write_bytes(b"EARLIER")
    assert [one.step for one in find_candidates(run.outputs)] == [40]
    (run.outputs / "manifest.json").unlink()
    assert find_candidates(run.outputs) == []


def test_the_one_with_the_most_right_answers_becomes_the_runs_adapter(run):
    candidates = find_candidates(run.outputs)
    chosen, choice = choose(candidates, figures(checkpoint_40=2, checkpoint_20=9), 40)
    assert (chosen.step, choice.step, choice.trained) == (20, 20, 40)
    assert choice.says == (
        "step 20, by answers right when run to 10 validation questions (checkpoint-40 2, checkpoint-20 9), in the place of step 40: more than chance, p = 0.016"
    )
    install(run.outputs, chosen)
    assert (run.outputs / "adapter_model.safetensors").read_bytes() == b"earlier"
    held = manifest.read(run.outputs)
    assert (held.chosen_step, held.step, held.max_steps) == (20, 40, 40)
    assert manifest.difference(run.outputs, held, hashes=True) == "", "a finished run still"
    assert [(one.name, one.step) for one in find_candidates(run.outputs)] == [("checkpoint-20", 20), ("checkpoint-40", 40)]
    back, _ = choose(find_candidates(run.outputs), figures(checkpoint_40=9, checkpoint_20=2), 40)
    install(run.outputs, back)
    assert (run.outputs / "adapter_model.safetensors").read_bytes() == b"last", "no weights are lost"


def test_of_as_many_what_training_left_stays(run):
    chosen, choice = choose(find_candidates(run.outputs), figures(checkpoint_40=5, checkpoint_20=5), 40)
    assert chosen.step == 40
    assert "in the place of" not in choice.says
    before = (run.outputs / "adapter_model.safetensors").stat().st_mtime_ns
    install(run.outputs, chosen)
    assert manifest.read(run.outputs).chosen_step == 40
    assert (run.outputs / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_a_small_difference_is_said_to_be_one(run):
    _, choice = choose(find_candidates(run.outputs), figures(checkpoint_40=5, checkpoint_20=6), 40)
    assert "which can be chance, p = 1" in choice.says


def test_a_manifest_of_an_earlier_kit_names_no_choice(run):
    path = run.outputs / "manifest.json"
    path.write_text(path.read_text().replace(' "chosen_step": 0,\n', ""))
    assert "chosen_step" not in path.read_text()
    assert manifest.read(run.outputs).chosen_step == 0
    assert not is_finished(run.outputs), "these weights are none, which is looked at as well"
