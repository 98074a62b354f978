"""`--gpu all` and the estimate of one run, as a person asks for them."""

import json
import re

import pytest

from preflight.config.tiers import OLDEST, TIERS

OFFERED = [tier.name for tier in TIERS if tier.compute_capability >= OLDEST]
SAVES = ["--set", "save_steps=25", "--set", "eval_steps=25"]


def test_every_gpu_in_one_table(preflight, tmp_path):
    ran = preflight("--gpu", "all", "--plan-only", "--data", "sample_data", *SAVES)
    table = ran.out.partition("The whole run on each GPU")[2].partition("\n\n")[0]
    assert ran.code == 0
    assert [line.split()[0] for line in table.splitlines()[2 : 2 + len(OFFERED)]] == OFFERED
    assert re.search(r"a100-40gb +21\.2 of 40 GiB +\d+ to \d+ min +\d\.\d to \d\.\d +\d\.\d\d to \d\.\d\d +[\d,]+ to [\d,]+", table)
    assert "Google Cloud: $35 to 53 a run" in table
    assert "rate unknown" in re.search(r"h100 .*", table)[0], "Colab's rate for an H100 is not known, and none is made up"
    assert (table.count("fastest"), table.count("cheapest")) == (1, 1)
    assert not (tmp_path / "workspace").exists()


def test_the_table_as_json_agrees_with_each_gpus_own_plan(preflight):
    offers = {offer["name"]: offer for offer in preflight("--gpu", "all", "--data", "sample_data", "--json", *SAVES).json["plan"]["gpus"]}
    for name in ("t4", "a100-80gb"):
        plan = preflight("--gpu", name, "--data", "sample_data", "--json", *SAVES).json["plan"]
        assert {key: offers[name][key] for key in ("hours", "compute_units", "cost_usd")} == {
            key: plan[key] for key in ("hours", "compute_units", "cost_usd")
        }
        assert offers[name]["needs_gib"] == plan["memory_gib"]
        assert plan["throughput_source"] == "table"


def rows(folder, train):
    folder.mkdir()
    for name, texts in (("train", train), ("val", ["SELECT 1;" * 200])):
        (folder / f"{name}_postgres.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return folder


@pytest.mark.parametrize(
    ("train", "options"),
    [
        (None, []),
        (["SELECT 2;"], []),
        (["SELECT 3; " * 3_000, "SELECT 4; " * 4_000], []),
        (["SELECT 2;"], ["--set", "num_epochs=0"]),
        (["SELECT 2;"], ["--set", "max_steps=0"]),
        (["SELECT 2;"], ["--set", "micro_batch_size=0"]),
        (["SELECT 2;"], ["--set", "base_model=someone/else"]),
        (["SELECT 2;"], ["--set", "load_in_4bit=false", "--set", "adapter=lora"]),
    ],
    ids=["no rows", "one row", "all too long", "no epoch", "no step", "no batch", "another model", "not in 4 bits"],
)
def test_what_is_not_known_is_not_made_up(preflight, tmp_path, train, options):
    """Never a division by zero, never a figure out of nothing."""
    data = ["--data", rows(tmp_path / "rows", train)] if train else []
    for name in ("all", "l4"):
        ran = preflight("--gpu", name, *data, *options, "--json")
        assert "internal.crash" not in ran.codes
        assert ran.code in (0, 1)
        spans = [ran.json["plan"], *ran.json["plan"]["gpus"]]
        for span in spans:
            hours = span["hours"]
            assert (hours["low"] is None) == (hours["high"] is None)
            assert hours["low"] is None or 0 < hours["low"] <= hours["high"]
        text = preflight("--gpu", name, *data, *options)
        assert text.err == ""
        if train is None or options[1:] in (["base_model=someone/else"], ["load_in_4bit=false", "--set", "adapter=lora"]):
            assert all(span["hours"]["low"] is None for span in spans)


def test_a_config_that_trains_on_the_cpu_is_compared_with_no_gpu(preflight):
    ran = preflight("axolotl_configs/smoke.yaml", "--gpu", "all", "--plan-only")
    table = ran.out.partition("The whole run on each GPU")[2].partition("\n\n")[0]
    assert table.strip() == "This config trains on the CPU, so no GPU is compared."
