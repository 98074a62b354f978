"""What a person is told of a training log, and what a run is said to cost."""

from dataclasses import replace

from preflight.checkpoints.progress import Moment
from preflight.cli.remote_show import prices
from preflight.config.settings import read_settings
from preflight.config.tiers import TIERS
from preflight.plan.compare import GpuOption
from preflight.plan.cost import Cost
from preflight.plan.throughput import Pace, Span
from preflight.remote.follow import read_log


def test_the_kits_own_lines_are_read_back():
    moments = [
        Moment(step=1, steps=1340),
        Moment(step=1, steps=1340, loss=0.5),
        Moment(step=1_212, steps=1340, loss=1.234e-5, pace=0.52, left=310),
        Moment(step=12, steps=1340, loss=1.2, pace=352.0, left=3600.0, phase="evaluating, 3 of 10"),
    ]
    log = "setup: 20 s\n" + "".join(f"{moment}\nstep 12: checkpoint-12 is saved\n" for moment in moments)
    assert str(read_log(log)) == "step 12 of 1340, loss 1.2, 352 s a step, 1:00:00 left, evaluating, 3 of 10"
    assert [str(read_log(str(moment))) for moment in moments[:3]] == [
        "step 1 of 1340",
        "step 1 of 1340, loss 0.5",
        "step 1212 of 1340, loss 1.234e-05, 0.52 s a step, 5:10 left",
    ]
    assert str(read_log(str(Moment(phase="reading the rows")))) == "reading the rows"


def test_the_end_of_axolotls_own_log_is_one_line():
    bar = " 12%|#2 | 12/100 [00:40<05:10,  3.52s/it]"
    assert str(read_log(f"{{'loss': '1.234', 'epoch': '0.2'}}\r{bar}")) == "step 12 of 100, loss 1.234, 3.52s/it, 05:10 left"
    assert str(read_log("{'loss': 0.5}\r  1/100 [00:01<?, ?it/s]")) == "step 1 of 100, loss 0.5, ?it/s"
    assert str(read_log("setup: 20 s\n\nsetup: 40 s\n")) == "setup: 40 s"
    assert str(read_log("")) == ""


def test_what_a_run_is_said_to_cost_is_by_gpu_in_order_of_preference():
    settings, _ = read_settings()
    settings = replace(settings, compute=replace(settings.compute, measured={"h100": "2026-11-27"}))
    one = Span(low=1, high=2)
    pace = Pace(step=one, evaluation_batch=one, save=one, start=one, source="table", note="")
    unknown = Cost(steps_left=1, hours=one, compute_units=None, usd=None, runs_a_month=None, pace=pace)
    known = replace(unknown, compute_units=Span(low=10, high=20), usd=Span(low=0.983, high=1.966))
    costs = {"h100": known, "l4": known, "t4": unknown}
    lines = prices([GpuOption(tier=tier, memory_gib=1, cost=costs.get(tier.name)) for tier in TIERS], settings, ["H100", "A100", "L4", "T4"])
    assert lines == [
        "NVIDIA H100: 1.0 to 2.0 h, 10.0 to 20.0 units, $0.98 to 1.97 (rate read 2026-11-27)",
        "NVIDIA L4: 1.0 to 2.0 h, 10.0 to 20.0 units, $0.98 to 1.97 (rate of colab_setup.yaml)",
        "Tesla T4: 1.0 to 2.0 h, rate not known",
    ]
