"""README and docs: every command runs or is marked, every link leads somewhere, every name exists."""

import re
import shlex
import subprocess
import sys

import pytest

from preflight.schema import SCHEMA
from tests.conftest import CHECKOUT, environment, run

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
TEXTS = {str(page.relative_to(CHECKOUT)): page.read_text() for page in PAGES}
NEEDS = re.compile(r"needs (a |CUDA|Colab|uv|the|that|an )")
# commands that other tests run as they are written, and where
ELSEWHERE = {
    "make train": "tests/test_smoke_run.py",
    "make test": "tests/test_smoke_run.py",
    "make soak": "tests/test_recovery.py",
    "scripts/setup.sh": "tests/test_packages.py",
    "scripts/package_data.sh": "tests/test_archives.py",
    ".venv/bin/python -m preflight.evaluation": "tests/test_smoke_run.py",
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
def test_the_preflights_of_the_pages_run(page, command, tmp_path):
    arguments = shlex.split(command)[3:]
    ran = run(sys.executable, "-m", "preflight", *arguments, "--workspace", tmp_path / "workspace")
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
    files = {code for code in named if re.search(r"\.(py|sh|yaml|json|md|txt|zip)$", code)} | {"drive.logs", "drive.tensorboard", "session.resume"}
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
