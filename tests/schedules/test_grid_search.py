"""The grid search: same seeds, same numbers, and a schedule that can run."""

import json
import random

import keras
import numpy as np
import pytest
from helpers.training import BACKEND, Batches, compiled, mlp

import kgrow
from kgrow import GrowthError
from kgrow.backend.flops import training_flops
from kgrow.callbacks import Growth
from kgrow.schedules import GrowthSchedule, Search, search
from kgrow.schedules.grid_search.result import SearchRow
from kgrow.schedules.trials.loss_rates import Recorded, line, record
from kgrow.schedules.trials.variants import ladder

pytestmark = pytest.mark.compiles

QUICK = {"jit_compile": False} if BACKEND == "tensorflow" else {}

SIZES = {"hidden_dim": 8, "intermediate_dim": 12, "num_heads": 2, "head_dim": 4}
START = {**SIZES, "num_layers": 1}
TARGET = {"hidden_dim": 16, "num_layers": 2}


def make_gpt2(sizes):
    model = kgrow.models.GPT2(
        vocabulary_size=32, max_sequence_length=8, dropout=0.1, **sizes
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, **QUICK)
    return model


def make_mlp(sizes):
    config = dict(input_dim=5, output_dim=3, dropout=0.1)
    return compiled(kgrow.models.MLP(**config, **sizes), **QUICK)


def tokens():
    rng = np.random.default_rng(0)
    ids = np.cumsum(rng.integers(0, 3, (64, 9)), axis=1) % 32
    return ids[:, :-1].astype("int32"), ids[:, 1:].astype("int32")


def find(**arguments):
    given = {"steps": 24, "batch_size": 4, "windows": 2, "verbose": 0}
    given.update(start=START, target=TARGET)
    return search(make_gpt2, tokens(), **{**given, **arguments})


@pytest.fixture(scope="module")
def found():
    return find()


def test_there_is_a_row_for_each_variant(found):
    names = [row.name for row in found.rows]
    assert names == ["start", "hidden_dim=12", "hidden_dim=16", "num_layers=2"]
    lines = str(found).splitlines()
    assert len(lines) == 1 + len(names)
    for name, text in zip(names, lines[1:], strict=True):
        assert text.startswith(name)
    for row in found.rows:
        differs = {f for f in START if row.config[f] != START[f]}
        assert differs == {row.field} - {None}
        assert row.runs[0].steps[0] == 0
        assert row.runs[0].seconds_per_step > 0


def test_costs_are_those_of_the_networks(found):
    for row in found.rows:
        network = make_gpt2(row.config).network
        flops = training_flops(network, (4, 8), "int32")
        assert row.flops_per_step == flops
        assert row.parameters == network.count_params()
    # Every structure between start and target has its cost.
    assert len(found.flops) == 4
    assert found.flops[-1][0] == {**START, **TARGET}


def test_gamma_is_the_fall_of_the_loss_for_its_cost(found):
    for row in found.rows[1:]:
        end = found.horizon("flops")
        low, middle = end / 2, 3 / 4 * end
        costs = row.costs("flops")
        inside = (costs >= low) & (costs <= end)
        assert inside.sum() >= 2
        slope = np.polyfit(costs[inside], row.losses()[inside], 1)[0]
        assert found.gamma(row, window=1) == pytest.approx(-slope)
        first = np.mean([r.losses()[0] for r in found.rows])
        value = np.polyval(
            np.polyfit(costs[inside] / end, row.losses()[inside], 1), 3 / 4
        )
        gamma = (first - value) / middle
        assert found.gamma(row) == pytest.approx(gamma)
        assert found.ratio(row) == pytest.approx(
            gamma / found.gamma(found.rows[0])
        )


@pytest.mark.slow
@pytest.mark.compiles
def test_the_same_seed_gives_the_same_numbers():
    short = {"target": {"num_layers": 2}, "steps": 8, "windows": 1}
    once, again = find(**short), find(**short)
    for one, two in zip(once.rows, again.rows, strict=True):
        assert one.runs[0].losses == two.runs[0].losses
        assert once.gamma(one) == again.gamma(two)
    # Several are averaged.
    both = find(**short, seeds=(0, 1))
    for one, two in zip(once.rows, both.rows, strict=True):
        first, second = two.runs
        assert first.losses == one.runs[0].losses != second.losses
        mean = np.mean([first.losses, second.losses], axis=0)
        assert two.losses() == pytest.approx(mean)


@pytest.mark.compiles
def test_the_user_s_random_numbers_go_on():
    random.seed(1), np.random.seed(1)
    find(target={"num_layers": 2}, steps=8, windows=1)
    drawn = random.random(), np.random.rand()
    random.seed(1), np.random.seed(1)
    assert drawn == (random.random(), np.random.rand())


@pytest.mark.slow
@pytest.mark.compiles
def test_a_budget_gives_each_variant_the_same_flops(found):
    budget = 30 * found.rows[0].flops_per_step
    limited = find(steps=None, budget=budget)
    for row in limited.rows:
        steps = int(budget // row.flops_per_step)
        assert row.runs[0].steps[-1] <= steps - 1
        assert row.costs("flops")[-1] > 0.7 * budget


@pytest.mark.parametrize("unit", ["flops", "seconds"])
def test_a_proposal_grows_one_dimension_at_a_time(found, unit):
    schedule = found.propose(total_steps=100, unit=unit)
    assert schedule.sizes[0] == START
    assert schedule.sizes[-1] == {**START, **TARGET}
    for before, after in zip(
        schedule.sizes[:-1], schedule.sizes[1:], strict=True
    ):
        assert sum(before[f] != after[f] for f in before) == 1
    assert schedule.total_steps == 100
    ends = [stage.until.count for stage in schedule.stages]
    lengths = np.diff([0, *ends])
    assert list(lengths) == sorted(lengths, reverse=True)
    assert lengths[0] < 2 * lengths[-1]
    schedule.check(make_gpt2(START))


@pytest.mark.compiles
def test_a_proposal_trains():
    found = search(
        make_mlp,
        Batches(mlp(), 6),
        {"hidden_dim": 4, "intermediate_dim": 6, "num_layers": 1},
        {"intermediate_dim": 9, "num_layers": 2},
        steps=12,
        windows=1,
        verbose=0,
    )
    schedule = found.propose(total_steps=9)
    model = make_mlp(schedule.sizes[0])
    model.fit(
        Batches(model, 6),
        epochs=9,
        verbose=0,
        callbacks=[Growth(schedule, verbose=0)],
    )
    assert len(model.growth_history) == 2
    assert model.growth_config["num_layers"] == 2


def cost_of(found, schedule):
    costs = {tuple(s.items()): flops for s, flops in found.flops}
    ends = [stage.until.count for stage in schedule.stages]
    return sum(
        steps * costs[tuple(sizes.items())]
        for steps, sizes in zip(
            np.diff([0, *ends]), schedule.sizes, strict=True
        )
    )


def test_a_proposal_keeps_its_budget(found):
    for steps in (20, 1000):
        budget = steps * found.flops[-1][1]
        schedule = found.propose(budget=budget)
        assert schedule.total_steps > steps
        assert 0.9 * budget < cost_of(found, schedule) <= budget


def synthetic(rates, costs, broken=()):
    """A search whose losses fall by given rates, without any training."""
    start = {field: 1 for field in rates}
    base = 10.0

    def run(rate, cost, name):
        steps = tuple(range(41))
        losses = tuple(9.0 - 0.01 * rate * cost * step for step in steps)
        stops = 7 if name in broken else None
        return (Recorded(steps, losses, 0.1, stops),)

    rows = [SearchRow(None, None, start, 9, base, run(1.0, base, "start"))]
    for field, rate in rates.items():
        sizes, cost = {**start, field: 2}, costs[field]
        found = run(rate, cost, field)
        rows.append(SearchRow(field, 2, sizes, 9, cost, found))
    flops = []
    for number in range(2 ** len(rates)):
        sizes, cost = dict(start), base
        for index, field in enumerate(rates):
            if number >> index & 1:
                sizes[field] = 2
                cost += costs[field] - base
        flops.append((sizes, cost))
    return Search(tuple(rows), 2, tuple(flops))


def order_of(schedule):
    return [next(iter(stage.config)) for stage in schedule.stages[1:]]


def test_what_learns_fastest_grows_first():
    found = synthetic(
        {"depth": 0.5, "width": 1.5, "ffn": 1.0},
        {"depth": 20.0, "width": 15.0, "ffn": 15.0},
    )
    schedule = found.propose(total_steps=90)
    assert order_of(schedule) == ["width", "ffn", "depth"]
    assert "Masked Structural Growth" in schedule.source


def test_of_equal_rates_the_cheaper_grows_first():
    rates = {"dear": 1.301, "cheap": 1.3, "slow": 1.2}
    found = synthetic(rates, {"dear": 19.0, "cheap": 12.0, "slow": 11.0})
    assert order_of(found.propose(90)) == ["cheap", "dear", "slow"]
    assert order_of(found.propose(90, margin=0.0)) == ["dear", "cheap", "slow"]


def test_a_lost_variant_is_marked_and_grows_last():
    rates = {"lost": 2.0, "slow": 0.5}
    costs = {"lost": 12.0, "slow": 15.0}
    found = synthetic(rates, costs, broken=("lost",))
    assert "not finite at step 7" in str(found).splitlines()[2]
    assert np.isnan(found.gamma(found.row("lost")))
    assert order_of(found.propose(90)) == ["slow", "lost"]
    broken = synthetic(rates, costs, broken=("start",))
    with pytest.raises(GrowthError, match="start's loss was not finite"):
        broken.propose(90)


def test_a_loss_that_explodes_is_seen():
    model = make_mlp(dict(hidden_dim=4, intermediate_dim=6, num_layers=1))
    batch = np.full((2, 5), np.inf, "float32"), np.ones((2, 3), "float32")
    run = record(model, iter([batch] * 9), 9, 2)
    assert run.broken == 1
    assert run.losses == ()


def test_ramps_fit_into_their_stages(found):
    ramps = [s.ramp.steps for s in found.propose(400).stages[1:]]
    assert ramps == [25, 25]
    assert found.propose(40, strategy="net2net").stages[1].ramp is None
    given = found.propose(40, ramp=3, learning_rate="reset").stages[1]
    assert given.ramp.steps == 3
    assert len(given.learning_rate) == 1


def test_it_is_data(found):
    text = json.dumps(found.to_dict())
    again = Search.from_dict(json.loads(text))
    assert again == found
    assert str(again) == str(found)
    assert isinstance(again.propose(total_steps=50), GrowthSchedule)


@pytest.mark.parametrize("unit", ["flops", "seconds"])
def test_the_picture_has_a_panel_for_each_dimension(found, unit, tmp_path):
    figure = found.plot(unit=unit)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == ["hidden_dim", "num_layers"]
    assert found.plot(tmp_path / "a" / "search.pdf", unit).stat().st_size
    import matplotlib.pyplot

    matplotlib.pyplot.close(figure)


def test_a_row_is_found_by_its_name(found):
    assert found.row("hidden_dim").size == 16
    assert found.row("hidden_dim", 12).size == 12
    assert found.row() is found.rows[0]
    with pytest.raises(GrowthError, match="no such variant"):
        found.row("hidden_dim", 13)
    with pytest.raises(GrowthError, match="`unit` must be one of"):
        found.propose(9, unit="steps")


def test_lines_and_ladders():
    # Too few readings in the window: the nearest two.
    assert line([0, 10, 20], [3.0, 2.0, 1.5], 8, 12) == (2.0, -0.1)
    assert ladder(2, 12, 4) == [4, 6, 8, 10, 12]
    assert ladder(1, 2, 5) == [2]


@pytest.mark.sample
@pytest.mark.parametrize(
    "message, arguments",
    [
        ("no larger than the start", {"target": {"num_layers": 1}}),
        ("no larger than the start", {"target": {}}),
        ("`hidden_dim` cannot shrink: 8 -> 4", {"target": {"hidden_dim": 4}}),
        ("Did you mean `num_layers`", {"target": {"num_layer": 2}}),
        ("no size `width`", {"start": {**START, "width": 2}}),
        ("is a dict of sizes", {"start": [1]}),
        ("must be an integer", {"target": {"num_layers": 2.0}}),
        ("too short to be looked at", {"steps": 6}),
        ("too short to be looked at", {"every": 20}),
        ("`steps` or by `budget`", {"steps": None}),
        ("`steps` or by `budget`", {"budget": 1e9}),
        ("`budget` is a number", {"steps": None, "budget": 0}),
        ("`steps` is an integer", {"steps": 0}),
        ("`between` is an integer", {"between": -1}),
        ("`seeds` are integers", {"seeds": ()}),
        ("sizes to try of", {"values": {"num_heads": [3]}}),
        ("increasing sizes behind 8", {"values": {"hidden_dim": [18]}}),
        ("name it in `start`", {"start": {k: v for k, v in START.items()
            if k != "head_dim"}}),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(message, arguments):
    def make_model(sizes):
        if "width" in sizes:
            sizes.pop("width")
        return make_gpt2(sizes)

    given = {"steps": 24, "batch_size": 4, "windows": 2, "verbose": 0}
    given.update(start=START, target=TARGET)
    with pytest.raises(GrowthError, match=message):
        search(make_model, tokens(), **{**given, **arguments})


def test_what_make_model_makes_is_looked_at():
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(GrowthError, match="returns a compiled"):
        search(lambda sizes: plain, tokens(), START, TARGET, 24)
    with pytest.raises(GrowthError, match="more than once"):
        search(make_gpt2, iter([tokens()]), START, TARGET, 24)


def test_proposals_are_checked(found):
    for message, arguments in (
        ("either `total_steps` or `budget`", {}),
        ("either `total_steps` or `budget`", {"total_steps": 9, "budget": 1}),
        ("`total_steps` is an integer", {"total_steps": 9.5}),
        ("do not fit into 2 steps", {"total_steps": 2}),
        ("do not fit into 0 steps", {"budget": 1.0}),
        ("`emphasis`", {"total_steps": 9, "emphasis": 1.0}),
    ):
        with pytest.raises(GrowthError, match=message):
            found.propose(**arguments)
