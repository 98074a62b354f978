import itertools
import json
from dataclasses import replace

import pytest

from preflight.checkpoints.identity import throughput_key
from preflight.checkpoints.records import Record, read_records, write_record
from preflight.config.base_model import MISTRAL_7B, find_shape
from preflight.config.layers import Change, Config, parse_override, with_changes
from preflight.config.memory import check_memory, memory_gib
from preflight.config.settings import read_settings
from preflight.config.tiers import TIERS
from preflight.config.values import step_size
from preflight.config.yaml_file import read_yaml
from preflight.data.audit import DatasetLengths
from preflight.data.lengths import Lengths, RowLength
from preflight.files import CONFIGS
from preflight.launch.command import check_preparing
from preflight.plan.checks import check_examples, check_interval
from preflight.plan.cost import earliest_stop, evaluation_interval, expect, saved_by_stopping
from preflight.plan.steps import Steps
from preflight.plan.throughput import Pace, Span, find_pace
from tests.conftest import CHECKOUT

FILE, _ = read_yaml(CONFIGS / "mistral_qlora.yaml")
SETTINGS, _ = read_settings()
A100 = next(tier for tier in TIERS if tier.name == "a100-40gb")
H200 = next(tier for tier in TIERS if tier.name == "h200")
PACE = Pace(step=Span(low=1, high=2), evaluation_batch=Span(low=0, high=0), save=Span(low=0, high=0), start=Span(low=0, high=0), source="x", note="")


def config(**values):
    return with_changes(Config(file=FILE, values=FILE.values), [Change(key=key, value=value, layer="--set") for key, value in values.items()])[0]


def steps(count=1_000, saves=(500, 1_000), examples=16.0, evaluated=None):
    return Steps(
        steps=count,
        examples_per_step=examples,
        tokens_per_step=8_192,
        tokens=count * 8_000,
        trained_tokens=count * 8_000,
        warmup=30,
        saves=saves,
        eval_batches=evaluated,
        exact=True,
    )


def mended(config, finding):
    """The config with the `--set`s of a finding's mend."""
    words = finding.fix.rpartition(": ")[2].split()
    return with_changes(config, [parse_override(word) for word in words if word != "--set"])[0]


def test_hours_units_and_money_are_those_of_the_parts():
    """900 steps of 2 s, 9 evaluations of 7 batches of 3 s, a save of 11 s, a start of 600 s and an end of 40 s, at 5.4 units an hour and 58.99 / 600 dollars a unit."""
    pace = Pace(
        step=Span(low=2, high=2),
        evaluation_batch=Span(low=3, high=3),
        save=Span(low=11, high=11),
        start=Span(low=600, high=600),
        end=Span(low=40, high=40),
        source="measured",
        note="",
    )
    taken = expect({"eval_steps": 100}, steps(saves=(1_000,), evaluated=7), 100, pace, SETTINGS, "a100-40gb")
    hours = (900 * 2 + 9 * 7 * 3 + 11 + 600 + 40) / 3600
    assert taken.steps_left == 900
    assert taken.hours.low == taken.hours.high == pytest.approx(hours)
    assert taken.compute_units.high == pytest.approx(5.4 * hours)
    assert taken.usd.high == pytest.approx(5.4 * hours * 58.99 / 600)
    assert taken.runs_a_month.low == pytest.approx(600 / (5.4 * hours))


def test_a_run_that_begins_is_evaluated_once_before_its_first_step():
    """Axolotl does it, for a loss of the base; a resumed run does not."""
    pace = replace(PACE, step=Span(low=0, high=0), evaluation_batch=Span(low=36, high=36))
    hours = [expect({"eval_steps": 500}, steps(evaluated=1), done, pace, SETTINGS, "l4").hours.low for done in (0, 500)]
    assert hours == [pytest.approx(3 * 36 / 3600), pytest.approx(36 / 3600)]


def test_a_run_that_goes_on_counts_what_is_left():
    whole, rest = (expect({}, steps(), done, PACE, SETTINGS, "l4") for done in (0, 900))
    assert (whole.hours.low, rest.hours.low) == (pytest.approx(1_000 / 3600), pytest.approx(100 / 3600))


def test_a_rate_that_nobody_knows_gives_hours_and_no_money():
    taken = expect({}, steps(), 0, PACE, SETTINGS, "h100")
    assert taken.hours.high == pytest.approx(2_000 / 3600)
    assert (taken.compute_units, taken.usd, taken.runs_a_month) == (None, None, None)


@pytest.mark.parametrize(
    ("values", "every"),
    [
        ({}, 0),
        ({"eval_steps": 500}, 500),
        ({"eval_steps": 0.25}, 250),
        ({"evals_per_epoch": 2, "num_epochs": 2}, 250),
        ({"eval_steps": 500, "eval_strategy": "no"}, 0),
    ],
)
def test_the_steps_between_evaluations(values, every):
    assert evaluation_interval(values, 1_000) == every


@pytest.mark.parametrize(
    ("micro", "checkpointing", "allocated"),
    [(4, False, 43.8), (2, False, 24.6), (1, False, 14.5), (4, True, 7.9)],
)
def test_the_memory_model_agrees_with_what_was_measured(micro, checkpointing, allocated):
    """Peaks of docs/benchmarks.md, and CUDA's own 0.6 GiB on top: before the kit had kernels of its own, which T4s still do without."""
    values = config(micro_batch_size=micro, gradient_checkpointing=checkpointing, stack_lora_products=False, sdpa_varlen=False).values
    assert memory_gib(values, MISTRAL_7B) == pytest.approx(allocated + 0.6, rel=0.06)


@pytest.mark.parametrize(
    ("changes", "gib"),
    [
        ({"stack_lora_products": False}, 41.0),
        ({}, 37.1),
        ({"lora_mlp_kernel": False, "lora_qkv_kernel": False, "lora_o_kernel": False}, 41.0),  # where stacked products are not
        ({"stack_lora_products": False, "fp8_frozen_weights": "kept"}, 54.1),
        ({"fp8_frozen_weights": "kept"}, 50.2),
        ({"fp8_frozen_weights": "kept", "cuda_graphs": True}, 59.5),
        ({"fp8_frozen_weights": True, "cuda_graphs": True}, 38.8),
        ({"cuda_graphs": True, "micro_batch_size": 2}, 21.7),
    ],
)
def test_the_kits_own_kernels_take_the_memory_that_was_measured(changes, gib):
    """Allocated, and reserved of the graphs, whose memory torch does not count as allocated (H100, 2026-11-27)."""
    values = config(**{"micro_batch_size": 4, "gradient_accumulation_steps": 1, "gradient_checkpointing": False} | changes).values
    assert memory_gib(values, MISTRAL_7B) == pytest.approx(gib + 0.6, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"stack_lora_products": False}, 14_776),
        ({}, 16_022),
        ({"fp8_frozen_weights": "kept", "stack_lora_products": False}, 19_077),
        ({"fp8_frozen_weights": "kept", "cuda_graphs": True}, 23_114),
        ({"fp8_frozen_weights": True, "cuda_graphs": True}, 22_118),
        ({"fp8_frozen_weights": True, "stack_lora_products": False}, 18_047),
    ],
)
def test_and_the_seconds(changes, tokens):
    """Of 8,124 tokens (H100, 2026-11-27)."""
    values = config(micro_batch_size=4, gradient_accumulation_steps=1, gradient_checkpointing=False, **changes).values
    h100 = next(tier for tier in TIERS if tier.name == "h100")
    step = find_pace(values, [], throughput_key(values, "h100"), h100, MISTRAL_7B).step
    assert step.low < 8_124 / tokens < step.high


def test_graphs_share_a_step_better():
    """Two H100s took 0.276 s with them and 0.429 without, one took 0.497 and 0.510."""
    values = config(micro_batch_size=2, gradient_accumulation_steps=1, gradient_checkpointing=False, ddp_find_unused_parameters=False).values
    values = values | {"world_size": 2}
    h100 = next(tier for tier in TIERS if tier.name == "h100")
    for graphs, seconds in ((False, 0.429), (True, 0.276)):
        pace = find_pace(values | {"cuda_graphs": graphs}, [], throughput_key(values, "h100"), h100, MISTRAL_7B)
        assert pace.step.low < seconds < pace.step.high
        assert "shared out by ddp as 2 H100s were seen to, 2026-11-27" in pace.note


@pytest.mark.parametrize(("micro", "accumulation", "memory"), list(itertools.product((1, 2, 4, 8), (1, 3), (5, 8, 15, 22, 40, 80))))
def test_the_mend_for_too_little_memory_fits_and_keeps_the_step(micro, accumulation, memory):
    asked = config(micro_batch_size=micro, gradient_accumulation_steps=accumulation, gradient_checkpointing=False)
    for finding in check_memory(asked, MISTRAL_7B, memory):
        if "--set" in finding.fix:
            fits = mended(asked, finding)
            assert check_memory(fits, MISTRAL_7B, memory) == []
            assert step_size(fits.values) == micro * accumulation
        else:
            assert memory == 5, "one sequence with checkpointing takes 5.8 GiB"
    assert bool(check_memory(asked, MISTRAL_7B, memory)) == (memory_gib(asked.values, MISTRAL_7B) > 0.95 * memory)


def test_a_disconnect_that_costs_over_half_an_hour_is_said_with_its_mend():
    (finding,) = check_interval(config(save_steps=2_000), steps(4_000, saves=(2_000, 4_000)), PACE)
    assert "2 checkpoints, about 50 minutes of work between two" in finding.message
    assert "--set save_steps=1000 --set eval_steps=1000" in finding.fix
    assert check_interval(config(), steps(saves=(500, 1_000)), PACE) == []
    assert check_interval(config(), None, PACE) == check_interval(config(), steps(), None) == check_interval(config(), steps(saves=()), PACE) == []


def test_rows_that_take_long_to_tokenise_name_the_command_that_does_it_before():
    def rows(tokens):
        return DatasetLengths(train=(Lengths(path=CHECKOUT, rows=1, measured=(RowLength(tokens, tokens, (tokens,)),)),))

    (finding,) = check_preparing(config(), rows(100_000_000), "axolotl preprocess x.yaml")
    assert "about 7 minutes" in finding.message
    assert finding.fix.endswith("axolotl preprocess x.yaml")
    assert check_preparing(config(), rows(3_600_000), "") == check_preparing(config(device="cpu"), rows(10**9), "") == []


@pytest.mark.parametrize("examples", [1.0, 5.0, 80.0, 300.0])
def test_a_step_far_from_the_plans_gets_a_split_nearer_to_it(examples):
    (finding,) = check_examples(config(), steps(examples=examples))
    after = examples * step_size(mended(config(), finding).values) / 4
    assert abs(after - 16) < abs(examples - 16)


@pytest.mark.parametrize("examples", [8.0, 16.0, 18.7, 32.0, 0.0])
def test_a_step_near_the_plans_is_left_alone(examples):
    assert check_examples(config(), steps(examples=examples)) == []


def record(values, machine="l4", **changes):
    return Record(
        **{
            "depends": throughput_key(values, machine),
            "date": "2026-11-25",
            "steps": 40,
            "step": 1.5,
            "evaluation_batch": 0.5,
            "save": 2,
            "start": 90,
        }
        | changes
    )


def test_a_record_of_this_config_on_this_machine_is_what_counts(tmp_path):
    values = config().values
    write_record(tmp_path, record(values))
    write_record(tmp_path, record(values, step=1.6))
    write_record(tmp_path, record(values, "t4", step=9))
    records = read_records([tmp_path, tmp_path / "nowhere"])
    assert sorted(one.step for one in records) == [1.6, 9], "a newer record takes the place of an older one"
    pace = find_pace(values, records, throughput_key(values, "l4"), None, MISTRAL_7B)
    assert (pace.source, pace.step.low < 1.6 < pace.step.high) == ("measured", True)
    assert "measured on l4 over 40 steps, 2026-11-25" in pace.note


@pytest.mark.parametrize("key", ["sequence_len", "micro_batch_size", "lora_r", "gradient_checkpointing", "base_model"])
def test_a_record_of_another_config_says_nothing(tmp_path, key):
    values = config().values
    write_record(tmp_path, record(values | {key: 77}))
    assert find_pace(values, read_records([tmp_path]), throughput_key(values, "a100-40gb"), A100, MISTRAL_7B).source == "table"
    assert find_pace(values, read_records([tmp_path]), throughput_key(values, "x"), None, MISTRAL_7B) is None


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"a": 1}', '[{"depends": {}}]', json.dumps([{"depends": {}, "date": "", "steps": 0, "step": 0}]), "\udcff"]
)
def test_a_record_that_is_none_is_passed_over(tmp_path, content):
    (tmp_path / "throughput.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert read_records([tmp_path]) == []


def test_the_table_gives_no_figure_for_what_was_never_measured():
    values = config().values
    known_by = throughput_key(values, "x")
    assert find_pace(values | {"load_in_4bit": False}, [], known_by, A100, MISTRAL_7B) is None
    assert find_pace(values, [], known_by, A100, None) is None
    assert find_pace(values, [], known_by, None, MISTRAL_7B) is None


def test_the_table_scales_with_the_step_the_model_and_the_card():
    values = config(gradient_checkpointing=False).values

    def middle(values, tier, shape=MISTRAL_7B):
        step = find_pace(values, [], throughput_key(values, tier.name), tier, shape).step
        return (step.low + step.high) / 2

    assert middle(values | {"gradient_accumulation_steps": 2}, H200) == pytest.approx(2 * middle(values, H200))
    assert middle(values | {"gradient_checkpointing": True}, H200) > 1.3 * middle(values, H200)
    assert middle(values, A100) > 2 * middle(values, H200)
    half = replace(MISTRAL_7B, layers=MISTRAL_7B.layers // 2)
    assert middle(values, H200, half) == pytest.approx(middle(values, H200) / 2, rel=0.05)
    tiny = find_shape(str(CHECKOUT / "sample_data/smoke_base"))
    assert find_pace(values, [], throughput_key(values, "h200"), H200, tiny) is None, "such a step waits for Python, not for the GPU"


@pytest.mark.parametrize(("fp8", "gib", "tokens"), [("kept", 57.1, 19_458), (True, 44.1, 18_526 * 16_929 / 17_759)])
def test_8_bit_weights_take_the_memory_and_the_seconds_that_were_measured(fp8, gib, tokens):
    """Allocated GiB and tokens a second, where bf16 took 44.0 and 14,474 (H100s, 2026-11-26), before the kit had kernels of its own. `true` was
    run beside `kept` alone, on a machine with a slower CPU: its share of that is taken."""
    values = config(micro_batch_size=4, gradient_accumulation_steps=1, gradient_checkpointing=False, fp8_frozen_weights=fp8).values
    values = values | {"stack_lora_products": False}
    assert memory_gib(values | {"sdpa_varlen": False}, MISTRAL_7B) == pytest.approx(gib + 0.6, rel=0.02)
    h100 = next(tier for tier in TIERS if tier.name == "h100")
    pace = find_pace(values, [], throughput_key(values, "h100"), h100, MISTRAL_7B)
    assert pace.step.low < 8_124 / tokens < pace.step.high


def test_what_stopping_early_saves_is_a_range_from_nothing():
    values = {"early_stopping_patience": 3, "eval_steps": 100}
    assert earliest_stop(values, 1_000) == 400
    assert [earliest_stop(values | {"early_stopping_patience": patience}, 1_000) for patience in (None, 0, 9, "x")] == [0, 0, 0, 0]
    saved = saved_by_stopping(values, steps(), 0, PACE, SETTINGS, "a100-40gb")
    assert (saved.steps_left, saved.hours.low, saved.hours.high) == (600, pytest.approx(600 / 3600), pytest.approx(1200 / 3600))
    assert saved.compute_units.high == pytest.approx(5.4 * 1200 / 3600)
    assert saved_by_stopping(values, steps(), 400, PACE, SETTINGS, "a100-40gb") is None, "it is past that"
    assert saved_by_stopping({}, steps(), 0, PACE, SETTINGS, "a100-40gb") is None
