"""README and docs: every command runs or is marked, every link leads somewhere, every name exists, every table is what the files hold."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml

from preflight.config.layers import lookup
from preflight.config.schema import SCHEMA
from preflight.config.tiers import TIERS
from preflight.files import CONFIGS
from tests.conftest import CHECKOUT, environment, run

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
TEXTS = {str(page.relative_to(CHECKOUT)): page.read_text() for page in PAGES}
NEEDS = re.compile(r"needs (a |CUDA|Colab|Ollama|uv|the|that|an )")
# commands that other tests run as they are written, and where
ELSEWHERE = {
    "make train": "tests/acceptance/test_smoke_run.py",
    "make test": "tests/acceptance/test_smoke_run.py",
    "make colab": "tests/remote/test_story.py",
    "make soak": "tests/acceptance/test_notebook.py",
    "make fuzz": "tests/acceptance/test_fuzz.py",
    ".venv/bin/python -m tests.acceptance.fuzz": "tests/acceptance/test_fuzz.py",
    "scripts/setup.sh": "tests/machine/test_environment.py",
    "scripts/package_data.sh": "tests/data/test_archives.py",
    ".venv/bin/python -m preflight.runs": "tests/acceptance/test_runs.py",
    ".venv/bin/python -m preflight.evaluation": "tests/acceptance/test_smoke_run.py",
    ".venv/bin/python -m preflight.ask": "tests/acceptance/test_smoke_run.py",
}


def commands():
    """(page, line, marked as needing something) of each line in a block of shell."""
    for name, text in TEXTS.items():
        for block in re.finditer(r"^( *)```sh\n(.*?)^ *```", text, re.M | re.S):
            before = text[: block.start()].rstrip().rpartition("\n")[2]
            for line in block[2].splitlines():
                command, _, comment = line.strip().partition(" #")
                if command.strip():
                    yield name, command.strip(), bool(NEEDS.search(comment) or NEEDS.search(before))


COMMANDS = list(dict.fromkeys(commands()))
PREFLIGHTS = [(page, command) for page, command, marked in COMMANDS if command.startswith(".venv/bin/python -m preflight ") and not marked]


def test_each_command_is_run_or_marked():
    """Here, by a test of its own, or, where it needs a GPU or Colab, not at all: and then the page says so."""
    for page, command, marked in COMMANDS:
        if marked or (page, command) in PREFLIGHTS:
            continue
        where = next((path for start, path in ELSEWHERE.items() if command.startswith(start)), None)
        benchmark = re.match(r"(?:\.venv/bin/)?python (benchmarks/\w+\.py)", command)
        assert where or benchmark, f"{page}: nothing runs {command}"
        assert (CHECKOUT / (where or benchmark[1])).exists()


@pytest.mark.parametrize(("page", "command"), PREFLIGHTS, ids=[command for _, command in PREFLIGHTS])
def test_the_preflights_of_the_pages_run(page, command, preflight):
    ran = preflight(*shlex.split(command)[3:])
    assert ran.code == 0, ran.out


@pytest.mark.parametrize("script", sorted({found for text in TEXTS.values() for found in re.findall(r"benchmarks/\w+\.py", text)}))
def test_benchmarks_are_there_and_take_the_options_that_are_written(script):
    helped = subprocess.run([sys.executable, CHECKOUT / script, "--help"], capture_output=True, text=True, env=environment(), check=True).stdout
    for text in TEXTS.values():
        for line in re.findall(rf"{re.escape(script)}([^\n#`]*)", text):
            assert all(option in helped for option in re.findall(r"--[a-z-]+", line))


def anchors(text):
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    page = CHECKOUT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name}: {target}"
        assert not anchor or anchor in anchors(there.read_text()), f"{name}: {target}"


def test_the_notebooks_links_lead_somewhere():
    text = (CHECKOUT / "notebooks/train_colab.ipynb").read_text()
    for target in re.findall(r"\]\((\.\./[^)#]+)", text):
        assert (CHECKOUT / "notebooks" / target).exists(), target


def test_the_guide_has_every_error_and_warning():
    levels = dict(re.findall(r"^\| `([a-z.-]+)` \| ([a-z, ]+) \|", TEXTS["docs/findings.md"], re.M))
    assert len(levels) > 70
    guide = TEXTS["docs/training_colab_setup.md"]
    assert [code for code, level in levels.items() if re.search("error|warning", level) and f"`{code}`" not in guide] == []


@pytest.mark.parametrize("name", TEXTS)
def test_codes_that_a_page_names_exist(name):
    known = set(re.findall(r"^\| `([a-z.-]+)` \|", TEXTS["docs/findings.md"], re.M))
    areas = {code.partition(".")[0] for code in known}
    named = {code for code in re.findall(r"`([a-z]+\.[a-z]+(?:-[a-z]+)*)`", TEXTS[name]) if code.partition(".")[0] in areas}
    files = {code for code in named if re.search(r"\.(py|sh|yaml|json|md|txt|zip)$", code)} | {
        "drive.logs",
        "drive.tensorboard",
        "session.resume",
        "workspace.platform",
    }
    assert named - files - known == set()


@pytest.mark.parametrize("name", TEXTS)
def test_keys_that_a_page_names_are_axolotls_or_the_kits(name):
    keys = SCHEMA.read_text() + (CHECKOUT / "axolotl_configs/colab_setup.yaml").read_text()
    no_keys = {"task_type", "bnb_4bit_compute_dtype", "bnb_4bit_quant_type", "grad_norm"}  # of the plan, and of the trainer's log
    for key in re.findall(r"`([a-z]+(?:_[a-z0-9]+)+): [^`]*`", TEXTS[name]):
        assert f'"{key}"' in keys or f"{key}:" in keys or key in no_keys, key


def test_every_option_has_a_line():
    helped = run(sys.executable, "-m", "preflight", "--help").out
    options = set(re.findall(r"--[a-z][a-z0-9-]+", helped)) - {"--help"}
    table = TEXTS["README.md"].partition("## Options")[2].partition("\n## ")[0]
    assert {option for option in options if option not in table} == set()


def test_no_figure_is_still_to_be_filled_in():
    assert [name for name, text in TEXTS.items() if re.search(r"^[A-Z]+_(TABLE|FIGURES|LINE)$", text, re.M)] == []
    assert len(TEXTS) >= 8


PLAN = (CHECKOUT / "docs/configuration.md").read_text()
ROWS = re.findall(r"^\| (\S.*?) \| (.+?) \| `(\S+)` \| (\S+\.yaml) \|$", PLAN, re.M)


def load(name):
    return yaml.safe_load((CONFIGS / name).read_text())


def test_the_table_holds_the_whole_plan():
    """The count of the issue's list; the rows themselves are compared below."""
    assert len(ROWS) == 40
    assert len({plan for plan, *_ in ROWS}) == 40


@pytest.mark.parametrize(("plan", "value", "key", "name"), ROWS, ids=[row[0] for row in ROWS])
def test_each_setting_of_the_plan_is_where_the_table_says(plan, value, key, name):
    assert lookup(load(name), key) == yaml.safe_load(value)


@pytest.mark.parametrize(("plan", "value", "key", "name"), [row for row in ROWS if row[3] == "mistral_qlora.yaml"], ids=lambda value: None)
def test_the_other_two_configs_hold_the_same_values(plan, value, key, name):
    expected = {"datasets.0.field": None}.get(key, yaml.safe_load(value))
    assert lookup(load("mistral_qlora_chat.yaml"), key) == expected
    assert lookup(load("mistral_qlora_padded.yaml"), key) == yaml.safe_load(value)


def test_the_three_configs_differ_only_in_their_rows_and_their_packing():
    packed, chat, padded = (load(f"mistral_qlora{name}.yaml") for name in ("", "_chat", "_padded"))
    assert {key for key in packed.keys() | chat.keys() if packed.get(key) != chat.get(key)} == {"datasets", "test_datasets", "chat_template"}
    assert {key for key in packed.keys() | padded.keys() if packed.get(key) != padded.get(key)} == {
        "sample_packing",
        "eval_sample_packing",
        "multipack_real_batches",
        "pad_to_sequence_len",
        "sdpa_varlen",
        "gradient_accumulation_steps",
        "optimizer",
    }


def test_the_table_of_gpus_is_that_of_the_tiers():
    rows = re.findall(r"^\| ([^|`]+) \| (fp16|bf16) \| (sdpa with a mask|varlen) \| (on|off) \|", PLAN, re.M)
    base = load("mistral_qlora.yaml")
    shown = {}
    for names, precision, attention, checkpointing in rows:
        for name in re.split(", ", names):
            shown[name.lower().replace(" gb", "gb").replace(" ", "-")] = (precision, attention, checkpointing)
    assert shown.keys() == {tier.name for tier in TIERS}
    for tier in TIERS:
        values = base | load(f"tiers/{tier.name}.yaml")
        assert shown[tier.name] == (
            "bf16" if values["bf16"] else "fp16",
            "varlen" if values["sdpa_varlen"] else "sdpa with a mask",
            "on" if values["gradient_checkpointing"] else "off",
        )


def test_commands_of_the_guide_run(preflight):
    command, _ = re.findall(r"```sh\n(.+?)\n```", PLAN, re.S)
    arguments = command.partition("-m preflight ")[2].split()
    ran = preflight(*arguments, "--json")
    assert {change["key"] for change in ran.json["changes"] if change["layer"] == "--set"} >= {"learning_rate"}
    assert ran.code == 0


def test_the_rank_that_is_served_is_the_configs():
    """vLLM refuses an adapter of a higher one."""
    command = re.search(r"vllm serve (\S+) .*--max-lora-rank (\d+) ", TEXTS["docs/using-the-model.md"])
    values = yaml.safe_load((CONFIGS / "mistral_qlora.yaml").read_text())
    assert (command[1], int(command[2])) == (values["base_model"], values["lora_r"])
