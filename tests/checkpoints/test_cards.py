from huggingface_hub import ModelCard, ModelCardData

from preflight.checkpoints import manifest, mirror
from preflight.checkpoints.cards import is_replaceable, sealed
from preflight.checkpoints.mirror import MirrorSettings
from tests.checkpoints.test_mirror import EXPERIMENT, final
from tests.support.run_folders import begun, trained

MADE, PERSONS = sealed("# One\n"), "# Mine\nMore information needed\n"


def test_a_page_is_known_again_until_somebody_changes_it(tmp_path):
    path = tmp_path / "README.md"
    assert is_replaceable(path)
    path.write_text(MADE)
    assert is_replaceable(path)
    for text in (MADE.replace("One", "Two"), MADE + "and more", f"first\n{MADE}", PERSONS, "", "\n".join([MADE, MADE])):
        path.write_text(text)
        assert not is_replaceable(path), text
    path.write_bytes(b"\xff" * 99)
    assert not is_replaceable(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.md")
    assert not is_replaceable(path), "a link is somebody's"


def test_the_page_that_peft_writes_is_no_persons(tmp_path):
    """Its own: peft fills the hub's template. The trainer's own is replaced in the smoke run."""
    path = tmp_path / "README.md"
    page = ModelCard.from_template(ModelCardData(library_name="peft")).content
    path.write_text(page)
    assert is_replaceable(path)
    path.write_text(page.replace("# Model Card for Model ID", "# My model").replace("[More Information Needed]", "known"))
    assert not is_replaceable(path)


def test_a_card_goes_along_with_its_adapter(tmp_path):
    outputs, to = tmp_path / "outputs", tmp_path / "to"
    outputs.mkdir()
    settings = MirrorSettings(to=str(to), experiment=EXPERIMENT)
    (outputs / "README.md").write_text(MADE)
    assert mirror.mirror(outputs, settings) == [], "there is no adapter yet"
    final(outputs)
    assert mirror.mirror(outputs, settings) == [".", "README.md"]
    assert "README.md" not in manifest.read(to).files
    anew = sealed("# One, measured\n")
    (outputs / "README.md").write_text(anew)
    assert mirror.mirror(outputs, settings) == ["README.md"]
    assert (to / "README.md").read_text() == anew
    (to / "README.md").write_text(PERSONS)
    assert mirror.mirror(outputs, settings) == []
    mirror.keep_small(outputs / "README.md", settings)
    assert (to / "README.md").read_text() == PERSONS, "on Drive a page is a person's as well"


def test_beside_another_runs_adapter_it_does_not_go(tmp_path):
    outputs, to = tmp_path / "outputs", tmp_path / "to"
    for folder in (outputs, to):
        folder.mkdir()
        final(folder)
        (folder / "README.md").write_text(sealed(folder.name))
    held = manifest.read(to)
    manifest.write(to, manifest.Manifest(**(vars(held) | {"experiment": {"lora_r": 8}})))
    mirror.keep_small(outputs / "README.md", MirrorSettings(to=str(to), experiment=EXPERIMENT))
    assert (to / "README.md").read_text() == sealed("to")


def test_who_writes_the_page_of_a_finished_run_does_not_unfinish_it(tmp_path):
    """Earlier kits listed the trainer's page in the manifest: a run whose page a person had completed was none that is finished."""
    run = trained(begun(tmp_path, "one"))
    held = manifest.read(run.outputs)
    (run.outputs / "README.md").write_text(PERSONS)
    files = {**held.files, "README.md": (3, "0" * 64)}
    manifest.write(run.outputs, manifest.Manifest(**(vars(held) | {"files": files})))
    assert "README.md" not in manifest.read(run.outputs).files
    assert manifest.difference(run.outputs, manifest.read(run.outputs), hashes=True) == ""
