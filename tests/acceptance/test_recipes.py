"""The recipes of docs/changing-the-kit.md, each followed in a copy of the project: it works, and the files it names are all it takes."""

import json
import re
import sys

import pytest

from tests.conftest import CHECKOUT, environment, fresh_copy, run, tree

GUIDE = (CHECKOUT / "docs/changing-the-kit.md").read_text()
SMOKE = "axolotl_configs/smoke.yaml"


@pytest.fixture
def copy(tmp_path):
    return fresh_copy(tmp_path / "copy")


def edit(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1, f"{path}: {old}"
    path.write_text(text.replace(old, new))


def preflight(copy, *arguments, gpus=None, **variables):
    return run(sys.executable, "-m", "preflight", *arguments, "--workspace", copy.parent / "workspace", cwd=copy, env=environment(gpus) | variables)


def named(title):
    """The files that a recipe's steps link to, and the one whose name it leaves to the reader."""
    section = GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    links = {re.sub(r"^\.\./", "", target.partition("#")[0]) for target in re.findall(r"\]\(([^)]+)\)", section)}
    return {target if "/" in target else f"docs/{target}" for target in links}


def changed(copy):
    """What differs from the project, without what a run leaves."""
    before = {name: (CHECKOUT / name).read_bytes() for name in tree(copy) if (CHECKOUT / name).is_file()}
    return {name for name, content in tree(copy).items() if before.get(name) != content and "__pycache__" not in name}


def write_schema(copy):
    """`make schema` without Axolotl's part of it, which a tier or a setting does not change."""
    code = "import json; from preflight.config.settings import *; SETTINGS_SCHEMA.write_text(json.dumps(make_schema(), indent=1) + '\\n')"
    assert run(sys.executable, "-c", code, cwd=copy).code == 0


def test_a_check(copy):
    model = copy / "preflight/config/checks/model.py"
    model.write_text(
        model.read_text()
        + '''

def check_rank(config: Config, situation: Situation) -> Iterator[Finding]:
    """`config.rank` for a rank that is no power of two."""
    rank = config.values.get("lora_r")
    if isinstance(rank, int) and rank & (rank - 1):
        yield finding(config, "config.rank", "warning", "lora_r", f"lora_r {rank} is no power of two", "lora_r: 16")
'''
    )
    edit(copy / "preflight/config/checks/__init__.py", "    model.check_precision,\n", "    model.check_precision,\n    model.check_rank,\n")
    ran = preflight(copy, SMOKE, "--set", "lora_r=12", "--json", "--plan-only")
    assert "config.rank" in ran.codes
    assert "config.rank" not in preflight(copy, SMOKE, "--json", "--plan-only").codes
    assert changed(copy) <= named("Add a check")


def test_a_gpu(copy):
    tiers = copy / "preflight/config/tiers.py"
    edit(tiers, '    Tier("h200",', '    Tier("b200", "NVIDIA B200", r"\\bB200\\b", 180, (10, 0), 2250, 1500, 8.0),\n    Tier("h200",')
    (copy / "axolotl_configs/tiers/b200.yaml").write_bytes((copy / "axolotl_configs/tiers/h200.yaml").read_bytes())
    write_schema(copy)
    edit(copy / "axolotl_configs/colab_setup.yaml", "    rtx-pro-6000: 8.71\n", "    rtx-pro-6000: 8.71\n    b200: 20\n")
    rows = ["--data", "sample_data", "--set", "save_steps=25", "--set", "eval_steps=25", "--json"]
    planned = preflight(copy, "--gpu", "b200", *rows)
    assert planned.code == 0, planned.json["findings"]
    assert planned.json["plan"]["tier"] == "b200"
    assert planned.json["plan"]["compute_units"]["low"] > 0
    here = preflight(copy, "--plan-only", *rows, gpus=[["NVIDIA B200", 179.0, [10, 0]]])
    assert here.json["plan"]["tier"] == "b200"
    assert "b200" in [option["name"] for option in preflight(copy, "--gpu", "all", *rows).json["plan"]["gpus"]]
    assert changed(copy) - {"axolotl_configs/tiers/b200.yaml"} <= named("Add a GPU")


STRATEGY = '''"""Rows of a question and its SQL, as the recipe has them; here read by a `type` that Axolotl does not have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from preflight.data.prompt_strategies.base import TEXT_SCHEMA, Piece, Row, WholeRows, first_part, object_schema, prompt_pieces, question_and_last, text
from preflight.data.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class QuestionSql(WholeRows):
    typical: ClassVar[Mapping[str, Any] | None] = {"type": "jeopardy"}

    @classmethod
    def accept(cls, entry: Mapping[str, Any]) -> Self | None:
        return cls() if first_part(entry) == "jeopardy" else None

    @property
    def columns(self) -> tuple[str, ...]:
        return ("q", "sql")

    @property
    def schema(self) -> Mapping[str, Any]:
        return object_schema({"q": TEXT_SCHEMA, "sql": TEXT_SCHEMA})

    def parse(self, line: int, values: Mapping[str, Any]) -> Row:
        return Row(line=line, turns=(("user", text(values, "q")), ("assistant", text(values, "sql"))))

    def question_and_answer(self, row: Row) -> tuple[str, str]:
        return question_and_last(row.turns)

    def pieces(self, row: Row, values: Mapping[str, Any], tokenizer: Tokenizer) -> list[Piece]:
        return prompt_pieces(f"{row.turns[0][1]}\\n", row.turns[1][1], values, tokenizer)
'''


def test_a_row_strategy(copy):
    """One new file and one line: bad rows, leakage, lengths, steps, the preview and the packing on a laptop all know the new rows."""
    folder = copy / "preflight/data/prompt_strategies"
    (folder / "question_sql.py").write_text(STRATEGY)
    edit(
        folder / "__init__.py",
        "STRATEGIES: tuple[type[PromptStrategy], ...] = (Completion,",
        "from preflight.data.prompt_strategies.question_sql import QuestionSql  # noqa: E402\n\nSTRATEGIES: tuple[type[PromptStrategy], ...] = (QuestionSql, Completion,",
    )
    rows = copy.parent / "rows"
    rows.mkdir()
    lines = [json.dumps({"q": f"How many in table {i}?", "sql": f"SELECT count(*) FROM t{i};"}) for i in range(400)]
    (rows / "train_postgres.jsonl").write_text("\n".join([*lines, json.dumps({"q": "no answer"})]))
    (rows / "val_postgres.jsonl").write_text(f"{lines[7]}\n")
    entry = "[{path: rows/%s_postgres.jsonl, ds_type: json, type: jeopardy, shards: 1}]"
    sets = ["--set", f"datasets={entry % 'train'}", "--set", f"test_datasets={entry % 'val'}"]
    ran = preflight(copy, SMOKE, *sets, "--data", rows, "--plan-only", "--show-example", "--json")
    found = {(finding["code"], finding["where"].rpartition("/")[2]) for finding in ran.json["findings"]}
    assert ("data.bad-row", "train_postgres.jsonl:401") in found
    assert ("data.leakage", "val_postgres.jsonl:1") in found
    assert ran.json["plan"]["steps"] > 1
    assert "".join(token["text"] for token in ran.json["example"]["tokens"] if token["trained"]) == "SELECT count(*) FROM t0;</s>"
    packed = run(sys.executable, "-m", "preflight.packaging", rows, copy.parent / "data.zip", cwd=copy)
    assert "train_postgres.jsonl:401" in packed.err
    assert changed(copy) - {"preflight/data/prompt_strategies/question_sql.py"} <= named("Add a row strategy")


def test_a_platform(copy):
    """The sketch of the recipe, with its methods filled in."""
    sketch = GUIDE.partition("```python\n")[2].partition("```")[0]
    body = "\n".join(line.removeprefix("   ") for line in sketch.splitlines())
    body = re.sub(r": \.\.\.\s*(#.*)?$", ":\n        return ''", body, flags=re.M)
    head = "from collections.abc import Sequence\nfrom dataclasses import dataclass\nfrom pathlib import Path\n\n\n"
    folder = copy / "preflight/machine/platforms"
    (folder / "kaggle.py").write_text(f'"""Kaggle."""\n\n{head}{body}\n')
    edit(folder / "__init__.py", "(Colab(), Local())", "(Colab(), Kaggle(), Local())")
    edit(
        folder / "__init__.py",
        "from preflight.machine.platforms.local import Local\n",
        "from preflight.machine.platforms.kaggle import Kaggle\nfrom preflight.machine.platforms.local import Local\n",
    )
    ran = run(sys.executable, "-m", "preflight", SMOKE, "--plan-only", cwd=copy, env=environment() | {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"})
    assert "/kaggle/working (Kaggle: KAGGLE_KERNEL_RUN_TYPE is set)" in " ".join(ran.out.split())
    assert "/kaggle/working/drive/MyDrive" in ran.out, "the config's /content lies below its root"
    assert changed(copy) - {"preflight/machine/platforms/kaggle.py"} <= named("Add a platform")


def test_a_stage(copy):
    (copy / "preflight/weather").mkdir()
    (copy / "preflight/weather/__init__.py").write_text('"""Whether it rains."""\n')
    (copy / "preflight/weather/stage.py").write_text(
        '''"""A stage of its own."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Weather:
    rain: bool

    def as_json(self) -> dict[str, object]:
        return {"rain": self.rain}


def read_weather() -> Weather:
    return Weather(rain=True)
'''
    )
    pipeline, result = copy / "preflight/pipeline.py", copy / "preflight/result.py"
    edit(pipeline, "from preflight.result import Report\n", "from preflight.result import Report\nfrom preflight.weather.stage import read_weather\n")
    edit(pipeline, "plan=plan, launch=launch)", "plan=plan, launch=launch, weather=read_weather())")
    edit(result, "    launch: Launch | None = None\n", "    launch: Launch | None = None\n    weather: Weather | None = None\n")
    edit(result, "from preflight.plan.stage import Plan\n", "from preflight.plan.stage import Plan\nfrom preflight.weather.stage import Weather\n")
    edit(
        result,
        '            "changes": to_plain(',
        '            "weather": self.weather.as_json() if self.weather else {},\n            "changes": to_plain(',
    )
    edit(
        copy / "preflight/cli/facts.py",
        "    if report.run:\n        yield from _run(report.run)\n",
        "    if report.run:\n        yield from _run(report.run)\n    if report.weather:\n        yield 'weather', 'rain' if report.weather.rain else 'dry'\n",
    )
    assert preflight(copy, SMOKE, "--plan-only", "--json").json["weather"] == {"rain": True}
    assert re.search(r"weather +rain", preflight(copy, SMOKE, "--plan-only").out)
    assert changed(copy) - {"preflight/weather/__init__.py", "preflight/weather/stage.py"} <= named("Add a stage")


def test_every_recipe_names_files_that_are_there():
    titles = re.findall(r"^## (Add a .*)$", GUIDE, re.M)
    assert len(titles) == 6
    for title in titles:
        assert named(title)
        for name in named(title):
            assert (CHECKOUT / name).exists(), f"{title}: {name}"
