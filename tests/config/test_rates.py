"""Units an hour that a run has read: in the place of the table's wherever this account's runs are priced, and said to be."""

import json

import pytest

from preflight.config.rates import keep_rate, read_rates
from preflight.config.settings import of_account, read_settings
from tests.conftest import CHECKOUT

PLAN = ["--gpu", "all", "--data", CHECKOUT / "sample_data"]


def test_a_rate_is_kept_beside_the_others_with_its_day(tmp_path):
    keep_rate(tmp_path, "h100", 11.3)
    keep_rate(tmp_path, "l4", 1.8)
    keep_rate(tmp_path, "h100", 11.5)
    assert {tier: rate.per_hour for tier, rate in read_rates(tmp_path).items()} == {"h100": 11.5, "l4": 1.8}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"l4": 3}', '{"l4": {"per_hour": "x", "read": "2026-11-27"}}', '{"l4": {"per_hour": 2, "read": "today"}}']
)
def test_a_damaged_file_leaves_the_tables_rates(tmp_path, text):
    settings, _ = read_settings()
    (tmp_path / "remote").mkdir()
    (tmp_path / "remote/rates.json").write_text(text)
    assert of_account(settings, tmp_path / "remote") == settings


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_can_not_be_is_left_out(tmp_path, rate):
    keep_rate(tmp_path, "t4", 1.2)
    held = json.loads((tmp_path / "rates.json").read_text()) | {"l4": {"per_hour": rate, "read": "2026-11-27"}}
    (tmp_path / "rates.json").write_text(json.dumps(held))
    assert list(read_rates(tmp_path)) == ["t4"]


def test_the_table_of_gpus_is_priced_by_what_this_account_has_seen_and_says_so(preflight, tmp_path):
    table = preflight(*PLAN, workspace=tmp_path / "none")
    assert "Units an hour of this account" not in table.out
    keep_rate(tmp_path / "seen/remote", "h100", 11.5)
    keep_rate(tmp_path / "seen/remote", "l4", 3.42)
    seen = preflight(*PLAN, workspace=tmp_path / "seen")
    day = read_rates(tmp_path / "seen/remote")["l4"].read
    said = " ".join(seen.out.split())
    assert f"Units an hour of this account, as `colab usage` showed them during a run: h100 11.5 ({day}), l4 3.42 ({day}). The others are" in said

    def prices(workspace):
        report = json.loads(preflight(*PLAN, "--json", workspace=workspace).out)
        return {gpu["name"]: gpu["compute_units"]["high"] for gpu in report["plan"]["gpus"]}, report["setup"]

    before, setup = prices(tmp_path / "none")
    assert before["h100"] is None
    assert setup["compute"]["measured"] == {}
    after, setup = prices(tmp_path / "seen")
    assert after["h100"] > 0
    assert after["l4"] == pytest.approx(2 * before["l4"], rel=0.1)
    assert after["t4"] == before["t4"]
    assert setup["compute"]["measured"] == {"h100": day, "l4": day}
    assert setup["subscription"]["compute_units_per_month"] == 600


def test_the_gpu_that_is_planned_for_is_shown_with_its_rate_and_day(preflight, tmp_path):
    keep_rate(tmp_path / "work/remote", "l4", 3.42)
    day = read_rates(tmp_path / "work/remote")["l4"].read
    ran = preflight("--gpu", "l4", workspace=tmp_path / "work")
    assert f"3.42 compute units an hour (of this account, read {day}), so a month's 600 last 175 h" in " ".join(ran.out.split())
    report = json.loads(preflight("--gpu", "l4", "--json", workspace=tmp_path / "work").out)
    assert (report["setup"]["units_per_hour"], report["setup"]["units_per_hour_read"]) == (3.42, day)


def test_a_rate_of_the_account_is_no_key_of_the_settings_file(tmp_path):
    text = (CHECKOUT / "axolotl_configs/colab_setup.yaml").read_text()
    (tmp_path / "colab_setup.yaml").write_text(text.replace("  fallback_gpu:", "  measured: {l4: today}\n  fallback_gpu:"))
    settings, findings = read_settings(tmp_path / "colab_setup.yaml")
    assert settings is None
    assert [finding.code for finding in findings] == ["config.unknown-key"]
