from types import SimpleNamespace

import pytest
from scipy.stats import binomtest

from preflight.outcomes.paired import Comparison, Paired, compare, counts, holm, mcnemar
from preflight.outcomes.reading import read_local
from tests.support.run_folders import begun, evaluated, trained


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (5, 5), (9, 25), (25, 9), (0, 30), (600, 700)])
def test_the_exact_test_is_scipys(first, second):
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_more_comparisons_ask_for_more():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_only_what_differs_counts():
    assert counts({"1": "right", "2": "wrong", "3": "right"}, {"1": "right", "2": "right", "3": "undecided"}, ["1", "2", "3"]) == (3, 1, 1)


def outcomes(tmp_path, **runs):
    """Finished runs, by the questions that each answers right and the rows that it was asked."""
    for name, (right, rows) in runs.items():
        evaluated(trained(begun(tmp_path, name)), right, rows)
    return [
        read_local(
            SimpleNamespace(
                folder=tmp_path / "runs" / name, config=tmp_path / "runs" / name / "config.yaml", outputs=tmp_path / "runs" / name / "outputs"
            )
        )
        for name in runs
    ]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text("rows")
    return path


def test_a_clear_difference_and_one_that_can_be_chance(tmp_path, rows):
    found = compare(outcomes(tmp_path, good=(set(range(30)), rows), near=(set(range(29)), rows), bad=(set(range(5)), rows)))
    assert (found.leader, found.share) == ("good", 0.75)
    assert {one.name: (one.questions, one.leader_alone, one.other_alone, one.beyond_chance) for one in found.against} == {
        "near": (40, 1, 0, False),
        "bad": (40, 25, 0, True),
    }
    assert found.says == "good answers better than bad, by more than chance; between good and near the difference can be chance"


def test_runs_that_were_asked_other_rows_are_not_compared(tmp_path, rows):
    other = tmp_path / "other.jsonl"
    other.write_text("other rows")
    found = compare(outcomes(tmp_path, good=(set(range(30)), rows), bad=(set(range(5)), other), old=(set(range(5)), None)))
    assert found.against == ()
    assert found.apart == ("bad", "old")
    assert "not the same questions" in found.says


def test_one_run_or_none(tmp_path, rows):
    assert compare([]) is None
    assert compare(outcomes(tmp_path, one=(set(), rows))).says == "one run is evaluated: there is nothing to compare it with"


def test_the_larger_number_alone_is_never_called_better():
    close = Paired(name="b", questions=10, leader_alone=3, other_alone=1, p=0.6, p_adjusted=0.6)
    assert "better" not in Comparison(leader="a", share=0.5, against=(close,)).says
