"""What a person is told of a training log, and what a run is said to cost."""

from preflight.cli.remote_show import prices
from preflight.config.settings import read_settings
from preflight.config.tiers import TIERS
from preflight.plan.compare import GpuOption
from preflight.plan.cost import Cost
from preflight.plan.throughput import Pace, Span
from preflight.remote.follow import read_log
from preflight.remote.state import Rate


def test_the_end_of_a_log_is_one_line():
    bar = " 12%|#2 | 12/100 [00:40<05:10,  3.52s/it]"
    assert str(read_log(f"{{'loss': '1.234', 'epoch': '0.2'}}\r{bar}")) == "step 12 of 100, loss 1.234, 3.52s/it, 05:10 left"
    assert str(read_log("{'loss': 0.5}\r  1/100 [00:01<?, ?it/s]")) == "step 1 of 100, loss 0.5, ?it/s"
    assert str(read_log("setup: 20 s\n\nsetup: 40 s\n")) == "setup: 40 s"
    assert str(read_log("")) == ""


def test_a_rate_that_the_account_has_seen_comes_before_the_tables():
    settings, _ = read_settings()
    one = Span(low=1, high=2)
    cost = Cost(
        steps_left=1,
        hours=one,
        compute_units=None,
        usd=None,
        runs_a_month=None,
        pace=Pace(step=one, evaluation_batch=one, save=one, start=one, source="table", note=""),
    )
    options = [GpuOption(tier=tier, memory_gib=1, cost=cost) for tier in TIERS]
    lines = prices(options, settings, ["H100", "L4"], {})
    assert [line.partition(":")[0] for line in lines] == ["NVIDIA H100", "NVIDIA L4"]
    assert "rate not known" in lines[0]
    assert "1.7 to 3.4 units, $0.17 to 0.34 (rate of colab_setup.yaml)" in lines[1]
    (line,) = prices(options, settings, ["H100"], {"h100": Rate(per_hour=10.0, read="2026-11-27")})
    assert "10.0 to 20.0 units, $0.98 to 1.97 (rate read 2026-11-27)" in line
