"""What is not this run's stays as it is, and what this run has brought stays there."""

import contextlib
import errno
import shutil

import pytest

from preflight.checkpoints import copies, manifest, mirror
from preflight.checkpoints.mirror import MirrorSettings
from preflight.checkpoints.restore import check_foreign, inspect_results
from preflight.checkpoints.verify import inspect_mirrored
from preflight.machine.platforms.local import Local
from tests.checkpoints.test_mirror import EXPERIMENT, checkpoint, final, names
from tests.conftest import tree


@pytest.fixture
def run(tmp_path):
    """(outputs, the folder for results, the settings of a run that mirrors there)."""
    to = tmp_path / "to"
    to.mkdir()
    return tmp_path / "outputs", to, MirrorSettings(to=str(to), experiment=EXPERIMENT)


def of_another(folder, experiment):
    """The same checkpoint, as another run would have written it."""
    held = manifest.read(folder)
    manifest.write(folder, manifest.Manifest(**(vars(held) | {"experiment": experiment})))


def test_a_checkpoint_of_the_users_own_is_neither_deleted_nor_replaced(run):
    """One of another trainer has no manifest; ours of the same step can't go there, and all others do."""
    outputs, to, settings = run
    for step in (3, 12):
        (to / f"checkpoint-{step}").mkdir()
        (to / f"checkpoint-{step}/mine.bin").write_text("precious")
    for step in (6, 12):
        checkpoint(outputs, step)
    with pytest.raises(copies.ForeignError) as refused:
        mirror.mirror(outputs, settings)
    assert refused.value.filename == str(to / "checkpoint-12")
    for step in (18, 24, 30):
        checkpoint(outputs, step)
        with contextlib.suppress(copies.ForeignError):  # as long as 12 is one of the newest two
            mirror.mirror(outputs, settings)
    assert names(to) == ["checkpoint-12", "checkpoint-24", "checkpoint-3", "checkpoint-30"]
    assert tree(to / "checkpoint-3") == tree(to / "checkpoint-12") == {"mine.bin": b"precious"}


def test_a_link_is_never_followed(run, tmp_path):
    outputs, to, settings = run
    elsewhere = checkpoint(tmp_path / "elsewhere", 6)
    before = tree(elsewhere)
    (to / "checkpoint-6").symlink_to(elsewhere)
    checkpoint(outputs, 6, size=8)
    with pytest.raises(copies.ForeignError):
        mirror.mirror(outputs, settings)
    for step in (12, 18, 24):
        checkpoint(outputs, step)
        with contextlib.suppress(copies.ForeignError):
            mirror.mirror(outputs, settings)
    assert (to / "checkpoint-6").is_symlink()
    assert tree(elsewhere) == before


def test_the_users_files_are_not_replaced_by_the_final_adapters(run):
    """Said beforehand, and refused at the end all the same."""
    outputs, to, settings = run
    (to / "README.md").write_text("my notes")
    (to / "adapter_model.safetensors").write_text("my adapter")
    results, _ = inspect_results(settings, Local())
    (finding,) = check_foreign(results, settings.to)
    assert (finding.code, finding.level) == ("drive.occupied", "error")
    assert "holds adapter_model.safetensors, which" in finding.message, "a page is no obstacle: the card is not put in its place"
    outputs.mkdir()
    final(outputs)
    with pytest.raises(copies.ForeignError, match="not of this run") as refused:
        mirror.mirror(outputs, settings)
    assert refused.value.errno == errno.EEXIST
    assert tree(to) == {"README.md": b"my notes", "adapter_model.safetensors": b"my adapter"}


def test_a_runs_own_adapter_is_replaced_by_a_later_one(run):
    outputs, _, settings = run
    outputs.mkdir()
    for step in (200, 400):
        final(outputs, step)
        assert mirror.mirror(outputs, settings) == [copies.FINAL]
    results, _ = inspect_results(settings, Local())
    assert (results.final.step, results.foreign) == (400, ())


def test_two_experiments_in_one_folder_leave_each_other_alone(run, tmp_path):
    outputs, to, settings = run
    other, theirs = tmp_path / "other", MirrorSettings(to=str(to), experiment={"lora_r": 8})
    for step in (6, 12):
        checkpoint(outputs, step)
        of_another(checkpoint(other, step, size=8), theirs.experiment)
    mirror.mirror(outputs, settings)
    before = tree(to)
    with pytest.raises(copies.ForeignError):
        mirror.mirror(other, theirs)
    assert tree(to) == before
    shutil.rmtree(other)
    for step in (15, 21, 27):
        of_another(checkpoint(other, step, size=8), theirs.experiment)
        mirror.mirror(other, theirs)
    assert names(to) == ["checkpoint-12", "checkpoint-21", "checkpoint-27", "checkpoint-6"], "each prunes its own"


def test_new_checkpoints_are_not_pruned_for_damaged_ones_of_higher_steps(run):
    """Both on Drive are damaged without their sizes telling; the run began again at 0 on a new machine."""
    outputs, to, settings = run
    for step in (54, 60):
        checkpoint(outputs, step)
    mirror.mirror(outputs, settings)
    for step in (54, 60):
        path = to / f"checkpoint-{step}/optimizer.pt"
        path.write_bytes(b"x" * path.stat().st_size)
    shutil.rmtree(outputs)
    verified = set()
    for step in (6, 12, 18):
        checkpoint(outputs, step)
        mirror.mirror(outputs, settings, verified=verified, on_verified=verified.add)
    assert {"checkpoint-12", "checkpoint-18"} <= set(names(to))
    assert [one.step for one in inspect_mirrored(to) if not manifest.difference(one.path, manifest.read(one.path), hashes=True)] == [18, 12]


def test_a_damaged_copy_does_not_count_as_one_of_the_two_that_are_kept(run):
    outputs, to, settings = run
    for step in (6, 12):
        checkpoint(outputs, step)
    mirror.mirror(outputs, settings)
    (to / "checkpoint-12/optimizer.pt").write_bytes(b"")
    shutil.rmtree(outputs)
    checkpoint(outputs, 18)
    mirror.mirror(outputs, settings)
    assert {"checkpoint-6", "checkpoint-18"} <= set(names(to)), "6 is the only other complete one"


def test_what_drive_lost_after_it_was_verified_is_copied_again(run):
    outputs, to, settings = run
    checkpoint(outputs, 6)
    mirror.mirror(outputs, settings)
    (to / "checkpoint-6/optimizer.pt").write_bytes(b"")
    assert mirror.mirror(outputs, settings) == ["checkpoint-6"]
    (to / "checkpoint-6/scheduler.pt").unlink()
    assert mirror.mirror(outputs, settings) == ["checkpoint-6"]
    assert tree(to / "checkpoint-6") == tree(outputs / "checkpoint-6")
    assert mirror.mirror(outputs, settings) == []


def test_the_best_one_is_brought_though_it_was_saved_while_drive_was_away(run):
    outputs, to, settings = run
    for step in (6, 12, 18, 24):
        checkpoint(outputs, step, best=6)
    assert mirror.mirror(outputs, settings) == ["checkpoint-24", "checkpoint-18", "checkpoint-6"]
    assert names(to) == ["checkpoint-18", "checkpoint-24", "checkpoint-6"]


def test_what_is_left_behind_is_named_before_a_machine_is_given_back(run, tmp_path):
    outputs, to, settings = run
    mirror.write_settings(tmp_path, settings)
    assert mirror.left_behind(outputs) == ""
    checkpoint(outputs, 6)
    final(outputs)
    assert mirror.left_behind(outputs) == f"checkpoint-6, the final adapter are not in {to}"
    mirror.mirror(outputs, settings)
    assert mirror.left_behind(outputs) == ""
    (to / "adapter_model.safetensors").unlink()
    assert mirror.left_behind(outputs) == f"the final adapter is not in {to}"
    mirror.write_settings(tmp_path, MirrorSettings(to=str(to), mount=str(tmp_path / "drive"), experiment=EXPERIMENT))
    assert "can't be read: No such file or directory" in mirror.left_behind(outputs)
    mirror.write_settings(tmp_path, MirrorSettings(experiment=EXPERIMENT))
    assert mirror.left_behind(outputs) == "", "nothing is to be kept elsewhere"
