"""Savings: what is compared with what, by hand."""

import math

import numpy as np
import pytest

import kgrow
from kgrow.algebra.errors import GrowthError
from kgrow.analysis.comparison.compare import savings
from kgrow.analysis.comparison.estimates import Estimate, interval
from kgrow.analysis.ledger import CostRecord, StageCost
from kgrow.analysis.run_log import Run, RunFile

pytestmark = pytest.mark.once


def _run(
    flops,
    final,
    name="large",
    seed=0,
    rate=0.0,
    path_to=(3.0,),
    source="scratch",
    small=None,
    metric="val_loss",
    finished=True,
):
    """A run with evenly spaced readings; a second is 1e9 FLOPs."""
    values = [*path_to, final]
    readings = tuple(
        {
            "step": k,
            "flops": flops * k / len(values),
            "seconds": flops * k / len(values) / 1e9,
            "learning_rate": rate if k == len(values) else 1.0,
            "logs": {metric: value},
        }
        for k, value in enumerate(values, 1)
    )
    growths = ()
    if small is not None:
        growths = ({"flops": small, "seconds": small / 1e9, "label": "grown"},)
    return Run(
        name,
        seed,
        readings,
        CostRecord(name, [StageCost("all", flops=flops)]),
        source,
        growths,
        peak_learning_rate=1.0,
        finished=finished,
    )


def _scratch(seed=0, shift=0.0):
    """References that fall by 0.2 with each doubling of the budget."""
    return [
        _run(1e12 * 2**k, 2.4 - 0.2 * k + shift, seed=seed) for k in range(3)
    ]


def test_reference_s_end_is_reached_on_the_way():
    grown = _run(4e12, 1.6, "grown", path_to=(3.0, 2.4, 2.0))
    row = savings(grown, _scratch()).row("grown")
    # 2.0, the end of the longest reference, after three of four parts.
    for unit in ("flops", "seconds"):
        estimate = row.to_end[unit, True]
        assert estimate.saving == pytest.approx(0.25)
        assert estimate.speed_up == pytest.approx(4 / 3)


def test_own_end_is_read_off_the_budgets():
    grown = _run(1e12, 2.1, "grown")
    row = savings(grown, _scratch()).row("grown")
    needed = 2e12 * math.sqrt(2)  # half way between two budgets, in logarithms
    for unit in ("flops", "seconds"):
        estimate = row.own_end[unit, True]
        assert estimate.saving == pytest.approx(1 - 1e12 / needed)
        assert not estimate.extrapolated
    assert row.equal_flops[True].mean == pytest.approx(0.3)


def test_equal_flops_lie_between_two_budgets():
    grown = _run(2e12 * math.sqrt(2), 2.0, "grown")
    gain = savings(grown, _scratch()).row("grown").equal_flops[True]
    assert gain.mean == pytest.approx(0.1) and not gain.extrapolated


def test_what_is_beyond_is_marked():
    found = savings(_run(8e12, 1.9, "grown"), _scratch())
    row = found.row("grown")
    assert row.own_end["flops", True].extrapolated == 1
    assert row.own_end["flops", True].ratio == pytest.approx(math.sqrt(2))
    assert row.equal_flops[True].extrapolated == 1
    assert row.equal_flops[True].mean == pytest.approx(-0.1)
    assert "extrapolated (1 of 1)" in found.to_markdown()


def test_loss_is_called_one():
    row = savings(_run(4e12, 2.2, "grown"), _scratch()).row("grown")
    assert "costs 100.0 % more (0.50x)" in str(row.own_end["flops", True])
    assert str(row.equal_flops[True]).startswith("worse by 0.2")
    assert str(row.to_end["flops", True]) == "not reached, 0 of 1"


def test_small_model_inside_the_run():
    grown = _run(2e12, 2.0, "grown", small=5e11)
    row = savings(grown, _scratch()).row("grown")
    assert row.own_end["flops", True].saving == pytest.approx(0.5)
    assert row.own_end["flops", False].saving == pytest.approx(1 - 1.5 / 4)
    assert row.own_end["seconds", False].saving == pytest.approx(1 - 1.5 / 4)
    assert row.equal_flops[False].mean > row.equal_flops[True].mean


def test_small_model_from_elsewhere():
    book = CostRecord("small", [StageCost("small", flops=5e11, seconds=500)])
    grown = _run(1.5e12, 2.0, "grown", source=book)
    row = savings(grown, _scratch()).row("grown")
    for unit in ("flops", "seconds"):
        assert row.own_end[unit, True].saving == pytest.approx(0.5)
        assert row.own_end[unit, False].saving == pytest.approx(1 - 1.5 / 4)


def test_unknown_source_is_never_free():
    grown = _run(1e12, 2.0, "grown", source="unknown")
    row = savings(grown, _scratch()).row("grown")
    for estimates in (row.to_end, row.own_end):
        assert estimates["flops", True].saving is None
        assert "not known" in str(estimates["flops", True])
    assert row.equal_flops[True].mean is None
    assert row.own_end["flops", False].saving == pytest.approx(0.75)


def test_higher_may_be_better():
    reference = [
        _run(1e12 * 2**k, 0.5 + 0.1 * k, metric="acc", path_to=(0.1,))
        for k in range(3)
    ]
    grown = _run(1e12, 0.7, "grown", metric="acc", path_to=(0.1,))
    row = savings(grown, reference, metric="acc", mode="max").row("grown")
    assert row.own_end["flops", True].saving == pytest.approx(0.75)
    assert row.to_end["flops", True].saving == pytest.approx(0.75)
    assert row.equal_flops[True].mean == pytest.approx(0.2)


class TestSeeds:
    def _found(self, seeds=(0, 1, 2)):
        # Each seed's references are shifted, and its run with them.
        reference = [r for s in (0, 1, 2) for r in _scratch(s, 0.3 * s)]
        grown = [
            _run(1e12 * factor, 2.0 + 0.3 * seed, "grown", seed)
            for seed, factor in zip(seeds, (1.0, 1.1, 1.2), strict=False)
        ]
        return savings(grown, reference)

    def test_pairs(self):
        estimate = self._found().row("grown").own_end["flops", True]
        ratios = np.array([1.0, 1.1, 1.2]) / 4
        assert estimate.ratios == pytest.approx(ratios)
        assert estimate.ratio == pytest.approx(math.exp(np.log(ratios).mean()))
        assert estimate.saving == pytest.approx(1 - 1 / estimate.speed_up)
        assert estimate.spread == pytest.approx(np.std(ratios, ddof=1))
        low, high = estimate.interval
        # t(0.975, 2) = 4.3027, from a table.
        half = 4.302653 * np.std(np.log(ratios), ddof=1) / math.sqrt(3)
        middle = np.log(ratios).mean()
        assert low == pytest.approx(1 - math.exp(middle + half), rel=1e-6)
        assert high == pytest.approx(1 - math.exp(middle - half), rel=1e-6)
        assert "n = 3" in str(estimate)

    def test_one_seed_has_no_interval(self):
        found = self._found(seeds=(1,))
        estimate = found.row("grown").own_end["flops", True]
        assert estimate.interval is None and estimate.spread is None
        assert any("one seed" in note for note in found.notes)

    def test_other_seeds_have_no_interval(self):
        found = self._found(seeds=(7, 8))
        estimate = found.row("grown").own_end["flops", True]
        assert estimate.interval is None and estimate.spread is not None
        assert any("not those of the references" in n for n in found.notes)

    def test_one_that_never_arrives_leaves_no_mean(self):
        grown = [
            _run(4e12, end, "grown", seed)
            for seed, end in enumerate((1.9, 2.3))
        ]
        reference = _scratch(0) + _scratch(1)
        estimate = savings(grown, reference).row("grown").to_end["flops", True]
        assert str(estimate) == "not reached, 1 of 2"
        assert estimate.saving is None


class TestReferences:
    def test_undecayed_is_refused(self):
        reference = [*_scratch(), _run(8e12, 1.8, rate=0.5)]
        with pytest.raises(GrowthError, match="ends at 50 % of its highest"):
            savings(_run(1e12, 2.0, "grown"), reference)

    def test_undecayed_may_be_marked(self):
        reference = [*_scratch(), _run(8e12, 1.8, rate=0.5)]
        found = savings(_run(1e12, 2.0, "grown"), reference, undecayed="mark")
        assert any("NOT DECAYED" in note for note in found.notes)
        assert "NOT DECAYED" in str(found) and "NOT DECAYED" in (
            found.to_markdown()
        )

    def test_a_tenth_is_decayed(self):
        reference = [_run(1e12, 2.4, rate=0.1), _run(2e12, 2.2, rate=0.1)]
        savings(_run(1e12, 2.0, "grown"), reference)

    def test_rate_that_was_not_logged_is_refused(self):
        with pytest.raises(GrowthError, match="was not logged"):
            savings(_run(1e12, 2.0), [_run(1e12, 2.0, rate=None)])

    def test_unfinished_is_refused(self):
        with pytest.raises(GrowthError, match="did not come to its end"):
            savings(_run(1e12, 2.0), [_run(1e12, 2.0, finished=False)])

    def test_one_budget_answers_one_question(self):
        row = savings(_run(1e12, 1.9, "grown"), _scratch()[2:]).row("grown")
        assert row.to_end["flops", True].saving is not None
        assert "several budgets" in str(row.own_end["flops", True])
        assert "several budgets" in str(row.equal_flops[True])

    def test_larger_budgets_have_to_end_better(self):
        reference = [_run(1e12, 2.0), _run(2e12, 2.1)]
        row = savings(_run(1e12, 2.0, "grown"), reference).row("grown")
        assert "do not end better" in str(row.own_end["flops", True])

    def test_larger_budgets_have_to_take_longer(self):
        reference = _scratch()
        for reading in reference[0].readings:
            reading["seconds"] *= 10
        row = savings(_run(1e12, 2.0, "grown"), reference).row("grown")
        assert "did not take longer" in str(row.own_end["seconds", True])
        assert row.own_end["flops", True].saving == pytest.approx(0.75)


@pytest.mark.parametrize(
    "options", [{"mode": "least"}, {"undecayed": "skip"}, {"confidence": 95}]
)
def test_bad_options(options):
    (name,) = options
    with pytest.raises(GrowthError, match=name):
        savings(_run(1e12, 2.0), _scratch(), **options)


def test_runs_may_be_files_and_dicts(tmp_path):
    def write(run, name):
        file = RunFile(tmp_path / name)
        header = {"name": run.name, "seed": run.seed, "source": "scratch"}
        file.begin(header, 0, 0)
        for reading in run.readings:
            file.append("reading", **reading, stages=[])
        file.append("end", step=2, peak_learning_rate=1.0)
        return file.path

    paths = [write(run, f"{k}.jsonl") for k, run in enumerate(_scratch())]
    grown = write(_run(1e12, 2.0), "grown.jsonl")
    found = kgrow.savings({"mine": [grown]}, paths)
    assert found.row("mine").own_end["flops", True].saving == pytest.approx(
        0.75
    )
    with pytest.raises(GrowthError, match="no record of a run"):
        kgrow.savings(tmp_path / "none.jsonl", paths)


def test_picture(tmp_path):
    runs = [_run(1e12, 2.1, "grown", small=2e11), _run(1e12, 2.3, "other")]
    found = savings(runs, _scratch())
    path = found.plot(tmp_path / "savings.png")
    assert path.stat().st_size > 10_000
    figure = found.plot(unit="seconds")
    (axes,) = figure.axes
    labels = {text.get_text() for text in axes.texts}
    assert labels == {"grown", "other", "from scratch"}
    assert axes.get_xscale() == "log"
    with pytest.raises(ValueError, match="unit='steps'"):
        found.plot(unit="steps")


def test_saving_and_speed_up_say_the_same():
    estimate = Estimate((0.25, 0.5, 0.9), asked=3)
    assert estimate.saving == pytest.approx(1 - 1 / estimate.speed_up)


def test_interval_is_that_of_printed_tables():
    # Student's t at 0.975 for 2 degrees of freedom is 4.3027.
    low, high = interval([1.0, 2.0, 3.0])
    assert (high - low) / 2 == pytest.approx(4.3027 / 3**0.5, abs=5e-5)
    assert (high + low) / 2 == pytest.approx(2.0)


def test_interval_needs_two():
    with pytest.raises(ValueError, match="at least two"):
        interval([1.0])
