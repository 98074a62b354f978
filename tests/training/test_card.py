"""The model card. That it takes the place of the trainer's own, of a real run, is tests/acceptance/test_smoke_run.py's."""

import json
from types import SimpleNamespace

import pytest
import yaml
from huggingface_hub import ModelCard

from preflight.checkpoints import manifest
from preflight.checkpoints.cards import is_replaceable
from preflight.data.staging import Staged, StagedFile
from preflight.data.trained_rows import FILE, RowFile, read_rows_of, write_rows
from preflight.training.card import code, find_base, plain, quoted, write_card
from preflight.training.evaluation.losses import TestLoss, write_test_loss
from preflight.training.evaluation.result import FILE as RESULT
from preflight.training.evaluation.result import adapter_sha256
from tests.support.hub import SMALL
from tests.support.run_folders import begun, evaluated, trained

EVIL = "`|<img src=x onerror=alert(1)>\n# [x](javascript:1) ```\n\x1b[31m\u202e"


@pytest.fixture
def run(tmp_path):
    """A finished run, its YAML as preflight writes it, and its rows."""
    run = trained(begun(tmp_path, "one"))
    rows = tmp_path / "rows"
    values = {
        "base_model": "someone/model",
        "adapter": "qlora",
        "lora_r": 12,
        "learning_rate": 0.001,
        "datasets": [{"path": str(rows / "train.jsonl"), "type": "completion"}],
        "test_datasets": [{"path": str(rows / "val.jsonl")}],
    }
    run.config.write_text(yaml.safe_dump(values))
    staged = [
        StagedFile(name=f"{name}.jsonl", bytes=9, rows=count, sha256=name * 16, source="/somebody/private", modified_ns=0)
        for name, count in (("train", 1234), ("val", 7), ("test", 40))
    ]
    write_rows(run.folder, [Staged(folder=rows, files=tuple(staged), how="copied")])
    return run


def written(run, **how):
    """(the front matter, the text) of the card, which is valid and known again."""
    assert write_card(run, **how)
    assert is_replaceable(run.outputs / "README.md")
    card = ModelCard.load(run.outputs / "README.md")
    return card.data.to_dict(), card.text


def test_before_the_evaluation(run):
    data, text = written(run)
    assert data == {
        "base_model": "someone/model",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["axolotl", "lora", "postgresql", "qlora", "sql"],
    }
    for part in (
        "# one\n",
        "- accuracy: not measured\n",
        "- loss on the validation rows: 1.200; the base's 3.000\n",
        "- checkpoint: step 40 of 40, the last\n",
        f"| `train.jsonl` | training | 1,234 | `{'train' * 16}` |\n",
        f"| `val.jsonl` | validation | 7 | `{'val' * 16}` |\n",
        f"| `test.jsonl` | test | 40 | `{'test' * 16}` |\n",
        "- type of the rows: `completion`\n",
        "- learning_rate: `0.001`\n",
        'from_pretrained("someone/model"',
        'vllm serve "someone/model" --enable-lora --max-lora-rank 16 ',
        "Licence: see the base model",
    ):
        assert part in text, part
    assert "license" not in data
    assert "private" not in text


def test_after_it(run, tmp_path):
    rows = tmp_path / "test.jsonl"
    rows.write_text("rows")
    evaluated(run, set(range(30)), rows)
    write_test_loss(run.folder, TestLoss(adapter_sha256=adapter_sha256(run.outputs), validation=1.2, test=1.234))
    _, text = written(run)
    assert "- adapter: 30 of 40 right when run on PostgreSQL (75%, 95% interval 60 to 86), " in text
    assert "- base: 0 of 40 right" in text
    assert "- loss on the test rows: 1.234\n" in text
    assert "boats" not in text, "no row, no question"
    (run.outputs / "adapter_model.safetensors").write_bytes(b"trained anew")
    manifest.write(run.outputs, manifest.describe(run.outputs, subfolders=False, step=40, max_steps=40, best_step=0, experiment={}))
    _, text = written(run)
    assert "- accuracy: not measured\n" in text, "those figures are of an earlier adapter"
    assert "1.234" not in text


def test_where_answers_could_not_be_run(run, tmp_path):
    rows = tmp_path / "test.jsonl"
    rows.write_text("rows")
    evaluated(run, {1}, rows)
    held = json.loads((run.folder / RESULT).read_text())
    (run.folder / RESULT).write_text(json.dumps(held | {"executed": None, "not_executed": "no <PostgreSQL>"}))
    _, text = written(run)
    assert "- accuracy: not measured on PostgreSQL (no _PostgreSQL_)\n" in text
    assert "- the expected text, character for character: 1 of 40 (base: 0)\n" in text
    assert "Right means" not in text


@pytest.mark.parametrize(
    ("best", "chosen", "load_best", "says"),
    [
        (20, 0, False, "step 40 of 40, the last"),
        (20, 0, True, "step 20 of 40, the lowest loss on the validation rows"),
        (20, 30, True, "step 30 of 40, chosen by its answers"),
    ],
)
def test_which_checkpoint_it_is(run, best, chosen, load_best, says):
    held = manifest.read(run.outputs)
    manifest.write(run.outputs, manifest.Manifest(**(vars(held) | {"best_step": best, "chosen_step": chosen})))
    with run.config.open("a") as file:
        file.write(f"load_best_model_at_end: {str(load_best).lower()}\n")
    _, text = written(run)
    assert f"- checkpoint: {says}\n" in text
    assert ("- loss on the validation rows: 1.000;" in text) == (says.startswith("step 20")), "the loss of that step, if it has one"


def test_a_page_that_a_person_wrote_stays(run):
    written(run)
    page = run.outputs / "README.md"
    made = page.read_text()
    for text in (f"{made}more", "# Mine\n", ""):
        page.write_text(text)
        assert not write_card(run)
        assert page.read_text() == text


def test_without_an_adapter_or_an_end_there_is_nothing_to_say(run):
    for file in (run.config, run.outputs / "manifest.json"):
        kept = file.read_text()
        file.write_text("{}")
        assert not write_card(run)
        file.write_text(kept)
    assert not (run.outputs / "README.md").exists()


def test_names_from_outside_are_no_markup(run):
    values = yaml.safe_load(run.config.read_text())
    run.config.write_text(yaml.safe_dump(values | {"base_model": EVIL, "optimizer": EVIL}))
    write_rows(run.folder, [SimpleNamespace(folder=run.folder, files=[SimpleNamespace(name=EVIL, rows=1, sha256=EVIL)])])
    data, text = written(run)
    assert "base_model" not in data, "the hub refuses a card whose base is no name of a model"
    for part in ("<img", "\x1b", "\u202e", "\n# [x]"):
        assert part not in text
    assert text.count("```") == 4, "two blocks of code, and none is ended by a name"
    assert (code("a`b|c"), plain("größer <b>*x*"), quoted('a"b$(c)')) == ("`a_b_c`", "größer _b__x_", '"a_b__c_"')


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"path": 1, "rows": "x", "sha256": 2}]', '{"a": 1}'])
def test_a_record_of_rows_that_is_damaged_is_none(run, text):
    (run.folder / FILE).write_text(text)
    assert read_rows_of(run.folder) == ()
    assert "were not kept" in written(run)[1]


def test_the_record_of_rows(run):
    assert [(file.rows, file.sha256[:4]) for file in read_rows_of(run.folder)] == [(1234, "trai"), (7, "valv"), (40, "test")]
    assert isinstance(read_rows_of(run.folder)[0], RowFile)


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: mit", {"license": "mit"}),
        ("license: other\nlicense_name: own\nlicense_link: LICENSE", {"license": "other", "license_name": "own", "license_link": "LICENSE"}),
        ("license: [mit, x]", None),
        ("license: 'a <b>'", None),
        ("tags: [x]", None),
        ("license: [", None),
        ("- 1", None),
    ],
)
def test_the_licence_is_what_the_bases_own_card_states(tmp_path, front, licence):
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n# Base\nlicense: gpl\n")
    base = find_base(str(tmp_path))
    assert (base.licence, base.on_hub, base.name) == (licence, False, tmp_path.name)
    (tmp_path / "README.md").write_bytes(b"\xff\xfe")
    assert find_base(str(tmp_path)).licence is None


def test_the_hub_is_asked_for_the_card_only_where_that_is_wanted(run, hub, tmp_path, monkeypatch):
    hub.server.fetched.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    values = yaml.safe_load(run.config.read_text())
    run.config.write_text(yaml.safe_dump(values | {"base_model": SMALL}))
    data, _ = written(run)
    assert "license" not in data
    assert "README.md" not in hub.server.fetched
    data, text = written(run, fetch=True)
    assert data["license"] == "apache-2.0"
    assert "as its card states it: `apache-2.0`" in text
    assert find_base("someone/nowhere", fetch=True).licence is None
