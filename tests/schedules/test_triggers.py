"""Schedules as data: what they say, and what is refused before training."""

import json
import warnings

import pytest
from helpers.training import compiled, gpt2, mlp

import kgrow
from kgrow import GrowthError, schedules
from kgrow.algebra.ramp import Ramp
from kgrow.schedules import (
    Epochs,
    GrowthSchedule,
    LossSlope,
    Plateau,
    Rate,
    Reset,
    Rewarm,
    Stage,
    Tokens,
    loss_slope,
)

pytestmark = pytest.mark.once

ONE, TWO, FOUR = ({"num_layers": n} for n in (1, 2, 4))
FULL = GrowthSchedule(
    [
        Stage(100, {**ONE, "hidden_dim": 8}, batch_size=4, dropout=0.0),
        Stage(200, TWO, ramp=Ramp(20, "cosine"), data="books"),
        Stage(
            Plateau(30, smoothing=0.9, at_most=500),
            FOUR,
            "stack",
            learning_rate=[Reset(), Rewarm(10)],
            sequence_length=8,
        ),
        Stage(
            LossSlope(-0.1, 40, log_steps=True, at_most=90),
            {"hidden_dim": 16},
            kgrow.strategies.Combine(width="net2net", depth=[0, 1]),
            optimizer_state="reset",
            seed=3,
        ),
        Stage(Rate(0.1, 50, at_most=9), learning_rate="reset"),
        Stage(1_000, training_options={"dropout": 0.1}, trainable="all"),
    ],
    name="full",
    source="here",
    expected={"saving": 0.5},
)


def test_a_schedule_survives_json(tmp_path):
    path = tmp_path / "schedule.json"
    text = FULL.to_json(path)
    for found in (
        GrowthSchedule.from_json(text),
        GrowthSchedule.from_json(path),
        GrowthSchedule.from_json(str(path)),
        GrowthSchedule.from_config(FULL.get_config()),
        FULL.replaced(),
    ):
        assert found == FULL
        assert found.get_config() == FULL.get_config()
    assert found.replaced(name="other") != FULL
    json.dumps(FULL.get_config())


def test_json_is_written_to_be_read():
    schedule = GrowthSchedule(
        [Stage(Epochs(1), ONE), Stage(Tokens(7), TWO, learning_rate="reset")]
    )
    assert json.loads(schedule.to_json()) == {
        "stages": [
            {"until": {"epochs": 1}, "config": {"num_layers": 1}},
            {
                "until": {"tokens": 7},
                "config": {"num_layers": 2},
                "learning_rate": "reset",
            },
        ]
    }


def test_the_table_is_aligned():
    lines = str(FULL).splitlines()
    assert lines[0] == "full" and len(lines) == 2 + len(FULL)
    for column in ("until", "strategy", "ramp", "learning rate", "batch"):
        start = lines[1].index(column)
        assert all(
            len(line) < start or line[start - 2] == " " for line in lines[2:]
        )
    assert "*16" in lines[5] and "20 cosine" in lines[3]
    assert "reset, rewarm(steps=10)" in lines[4]


def test_repr_makes_the_stage_again():
    stage = Stage(5, TWO, "stack", seed=3)
    assert eval(repr(stage)) == stage


def test_settings_are_those_of_the_last_stage_that_has_any():
    assert [FULL.setting(i, "batch_size") for i in (0, 5)] == [4, 4]
    assert FULL.setting(1, "sequence_length") is None
    assert FULL.setting(3, "sequence_length") == 8
    assert FULL.filled(3).config == {"num_layers": 4, "hidden_dim": 16}
    assert FULL.filled(3).data == "books"


def test_scaling():
    half = FULL.scaled(total_steps=500)
    assert half == FULL.scaled(factor=0.5)
    stages = half.stages
    assert [stages[i].until.count for i in (0, 1, 5)] == [50, 100, 500]
    assert stages[1].ramp == Ramp(10, "cosine")
    assert stages[2].learning_rate == [Reset(), Rewarm(5)]
    plateau = stages[2].until
    assert (plateau.patience, plateau.at_most) == (15, 250)
    assert stages[3].until.window == 20
    assert half.sizes == FULL.sizes
    assert FULL.scaled(factor=1) == FULL


def test_a_slope_per_step_is_steeper_in_a_shorter_run():
    rule = LossSlope(-0.1, 40).scaled(0.5)
    assert (rule.threshold, rule.window) == (-0.2, 20)
    assert LossSlope(-0.1, 40, log_steps=True).scaled(0.5).threshold == -0.1


def test_resizing():
    schedule = GrowthSchedule(
        [
            Stage(1, {**ONE, "hidden_dim": 8}, sequence_length=4),
            Stage(2, {"num_layers": 3}, "stack", sequence_length=12),
        ]
    ).resized(num_layers=6, sequence_length=3)
    assert schedule.sizes == [
        {"num_layers": 2, "hidden_dim": 8},
        {"num_layers": 6, "hidden_dim": 8},
    ]
    assert schedule.setting(0, "sequence_length") == 1
    with pytest.raises(GrowthError, match="Stage 1 has num_layers=2 of 6"):
        schedule.resized(num_layers=4)
    with pytest.raises(GrowthError, match="Received: heads=4"):
        schedule.resized(heads=4)


def test_resizing_to_multiples():
    """Sizes are rounded, order and the last one stay."""
    widths = [168, 320, 576, 768]
    schedule = GrowthSchedule(
        [
            Stage(10 * i, {"hidden_dim": size, "num_layers": i})
            for i, size in enumerate(widths, 1)
        ]
    )
    only_width = schedule.resized(multiple_of={"hidden_dim": 128})
    found = [sizes["hidden_dim"] for sizes in only_width.sizes]
    assert found == [128, 384, 640, 768]
    assert [sizes["num_layers"] for sizes in only_width.sizes] == [1, 2, 3, 4]
    wider = schedule.resized(hidden_dim=1024, multiple_of=256)
    assert [s["hidden_dim"] for s in wider.sizes] == [256, 512, 768, 1024]
    with pytest.raises(GrowthError, match="Received: hidden_dim=1000"):
        schedule.resized(hidden_dim=1000, multiple_of=128)
    for wrong in (0, 1.5, {"hidden_dim": -1}):
        with pytest.raises(GrowthError, match="`multiple_of`"):
            schedule.resized(hidden_dim=1024, multiple_of=wrong)
    with pytest.raises(GrowthError, match="width"):
        schedule.resized(multiple_of={"width": 128})


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Stage("soon", ONE), "until='soon'"),
        (lambda: Stage(0, ONE), "until=0"),
        (lambda: Stage(True, ONE), "until=True"),
        (lambda: Epochs(0), "`until` must be an integer of at least 1"),
        (lambda: Stage(5, {"num_layers": 1.5}), "num_layers=1.5"),
        (lambda: Stage(5, [1]), "dict of sizes"),
        (lambda: Stage(5, ONE, batch_size=0), "batch_size=0"),
        (lambda: Stage(5, ONE, data=[1]), "name of data"),
        (lambda: Stage(5, ONE, trainable="some"), "trainable='some'"),
        (lambda: Stage(5, ONE, optimizer_state="x"), "optimizer_state='x'"),
        (lambda: Stage(5, ONE, seed=-1), "seed=-1"),
        (lambda: Stage(5, ONE, ramp=-1), "steps=-1"),
        (lambda: Stage(5, ONE, learning_rate="up"), "learning-rate policy"),
        (lambda: Stage(5, ONE, training_options=3), "training_options=3"),
        (
            lambda: Stage(
                5, ONE, training_options={"dropout": 0.1}, dropout=0.2
            ),
            "Give dropout once",
        ),
        (lambda: Plateau(0), "patience=0"),
        (lambda: Plateau(5, smoothing=1), "smoothing=1"),
        (lambda: Plateau(5, at_least=9, at_most=8), "at_most=8"),
        (lambda: Plateau(5, monitor=3), "monitor=3"),
        (lambda: LossSlope(0.1, 5), "threshold=0.1"),
        (lambda: Rate(-0.1, 5), "threshold=-0.1"),
        (lambda: Rate(0.1, 0), "window=0"),
        (lambda: GrowthSchedule([]), "at least one stage"),
        (lambda: GrowthSchedule([3]), "list of `Stage`s"),
        (lambda: GrowthSchedule.from_json("{nonsense"), "no schedule in JSON"),
        (lambda: FULL.scaled(), "Say either"),
        (lambda: FULL.scaled(factor=0.0), "more than 0"),
        (lambda: FULL.scaled(total_steps=3), "stage 2 would have no step"),
        (
            lambda: GrowthSchedule([Stage(Epochs(3), ONE)]).scaled(9),
            "give a `factor`",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(GrowthError, match=message):
        make()


def two(*arguments, first=None, **keywords):
    return GrowthSchedule(
        [first or Stage(5, ONE), Stage(*arguments, **keywords)]
    )


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: two(5, TWO, "stack"), "Stage 2 may end before it begins"),
        (lambda: two(4, TWO, "stack"), "until 4, and the stage before until 5"),
        (lambda: two(9, {"num_layers": 0}), "Stage 2: `num_layers` cannot"),
        (lambda: two(9, ONE), "Stage 2 changes nothing"),
        (lambda: two(9, learning_rate="keep"), "Stage 2 changes nothing"),
        (lambda: two(9, {}, "stack", dropout=0.1), "Stage 2 grows nothing"),
        (lambda: two(9, dropout=0.1, trainable="new"), "Stage 2 grows nothing"),
        (lambda: two(9, TWO, "nonsense"), "Stage 2: Unknown strategy"),
        (lambda: two(9, TWO, "stack", ramp=3), "Stage 2: .*takes no `ramp`"),
        (lambda: two(9, TWO, first=Stage(5, ONE, "stack")), "Stage 1: "),
        (lambda: two(9, TWO, first=Stage(5, ONE, ramp=3)), "Stage 1: "),
        (
            lambda: two(9, TWO, first=Stage(5, ONE, learning_rate="reset")),
            "Stage 1: training begins",
        ),
        (lambda: two(9, TWO, first=Stage(Plateau(5), ONE)), "`at_most`"),
        (
            lambda: two(9, TWO, first=Stage(Plateau(5, at_most=9), ONE)),
            "Stage 2 may end before",
        ),
        (lambda: two(Epochs(1), TWO, first=Stage(Epochs(1), ONE)), "Stage 2"),
    ],
)
def test_stages_that_cannot_follow_each_other(make, message):
    with pytest.raises(GrowthError, match=message):
        make()


def checked(schedule, model=None, *arguments):
    model = model or compiled(gpt2())
    before = [w.path for w in model.network.weights]
    schedule.check(model, *arguments)
    assert [w.path for w in model.network.weights] == before


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: two(9, {"hidden_dim": 9}, "net2net", first=Stage(5, TWO)),
            "Stage 1 begins with num_layers=2, and the model has 1",
        ),
        (lambda: two(9, {"layers": 2}, "stack"), "Stage 2: Cannot grow"),
        (
            lambda: two(9, TWO, first=Stage(5, {"layers": 1})),
            "Stage 1: the model has no size `layers`",
        ),
        (lambda: two(9, {"hidden_dim": 9}, "stack"), "Stage 2: .*depth only"),
        (
            lambda: two(9, {"hidden_dim": 12}, "hypercloning"),
            "Stage 2: ",
        ),
        (
            lambda: two(9, TWO, ramp=3, learning_rate=Rewarm(3)),
            "Stage 2: .*needs a",
        ),
        (lambda: two(9, training_options={"heat": 1}), "Stage 2: .*heat"),
    ],
)
def test_schedules_that_the_model_cannot_run(make, message):
    schedule = make()
    with pytest.raises(GrowthError, match=message):
        checked(schedule)


def test_a_bad_last_stage_is_found_before_training():
    schedule = GrowthSchedule(
        [
            Stage(5, ONE),
            Stage(6, TWO, "stack"),
            Stage(7, {"num_layers": 3}, [0, 1, 9]),
        ]
    )
    with pytest.raises(GrowthError, match="Stage 3: "):
        checked(schedule)


def test_epochs_and_steps_are_compared_where_that_is_possible():
    schedule = two(8, TWO, "stack", first=Stage(Epochs(2), ONE))
    checked(schedule, None, 3)
    with pytest.raises(GrowthError, match="Stage 2 may end before"):
        checked(schedule, None, 4)


def test_only_growable_models_run_a_schedule():
    with pytest.raises(GrowthError, match="GrowableModel"):
        FULL.check(object())


def test_a_ramp_beyond_its_stage_is_warned_of():
    schedule = GrowthSchedule(
        [Stage(5, ONE), Stage(9, TWO, ramp=7), Stage(50, FOUR, ramp=99)]
    )
    with pytest.warns(UserWarning, match="stage 3 while the last 3"):
        checked(schedule)


def test_a_fit_that_ends_before_the_first_growth_is_warned_of():
    schedule = two(90, TWO, "stack", first=Stage(50, ONE))
    with pytest.warns(UserWarning, match="ends at step 12, before stage 1"):
        checked(schedule, None, 4, 3)
    with warnings.catch_warnings(action="error"):
        checked(schedule, None, 4, 13)


def test_checking_draws_no_random_number():
    import random

    import numpy as np

    model = compiled(mlp())
    schedule = GrowthSchedule(
        [Stage(5, TWO), Stage(9, {"num_layers": 3}, "random")]
    )
    before = random.getstate(), np.random.get_state()[1].tolist()
    schedule.check(model)
    assert before == (random.getstate(), np.random.get_state()[1].tolist())


def shown(trigger, losses, every=10, seconds=1.0):
    """The step at which a trigger fires, shown a loss now and then."""
    for index, loss in enumerate(losses):
        step = index * every
        if trigger.update(step, {"loss": loss}, index * seconds):
            return step
    return None


def test_a_plateau_waits_for_its_patience():
    falling, flat = [5.0, 4.0, 3.0, 2.0], [2.0] * 10
    assert shown(Plateau(30), falling + flat) == 60
    assert shown(Plateau(30, min_delta=1.5), [5.0, 4.0, 3.0, 2.0]) is None
    assert shown(Plateau(20, min_delta=9.0), falling) == 20
    assert shown(Plateau(30, at_least=80), falling + flat) == 80
    noisy = [2.0, 2.1, 1.9, 2.05, 1.95, 1.89, 2.1, 1.88, 2.0, 1.87]
    assert shown(Plateau(40), noisy) is None
    assert shown(Plateau(40, min_delta=0.1, smoothing=0.8), noisy) == 40


def test_a_slope_is_that_of_the_last_window():
    losses = [10 - i for i in range(5)] + [5 - i / 100 for i in range(9)]
    assert shown(LossSlope(-0.02, 30), losses) == 80
    assert shown(LossSlope(-0.5, 30), losses) == 30
    assert shown(LossSlope(-1e-4, 30), losses) is None


def test_slopes_in_logarithmic_steps():
    import numpy as np

    steps = np.arange(1, 50)
    curve = 5 - 0.3 * np.log(steps)
    assert abs(loss_slope(steps, curve, log_steps=True) + 0.3) < 1e-9
    rule = LossSlope(-0.31, 20, log_steps=True)
    assert shown(rule, [9.0, *curve[9::10]]) == 30


def test_a_rate_is_in_seconds():
    losses = [5.0, 4.0, 3.0, 2.9, 2.8, 2.7]
    assert shown(Rate(0.5, 20), losses) == 40
    assert shown(Rate(0.5, 20), losses, seconds=0.1) is None


def test_a_trigger_s_state_is_plain_data():
    for trigger in (Plateau(30), LossSlope(-1.0, 20), Rate(9.0, 20)):
        straight, losses = trigger.scaled(1), [5.0, 4.5, 4.2, 4.1]
        assert straight == trigger
        found = [
            straight.update(i * 10, {"loss": x}, float(i))
            for i, x in enumerate(losses)
        ]
        resumed = []
        for i, x in enumerate(losses):
            fresh = type(trigger).from_config(trigger.get_config())
            fresh.state = json.loads(json.dumps(trigger.state))
            resumed.append(fresh.update(i * 10, {"loss": x}, float(i)))
            trigger.state = fresh.state
        assert resumed == found


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_trigger_passes_over_what_is_no_loss(value):
    trigger = Plateau(1)
    assert not trigger.update(0, {"loss": value}, 0.0)
    assert not trigger.state


def test_the_picture(tmp_path):
    path = FULL.plot(tmp_path / "below" / "schedule.png")
    assert path.stat().st_size > 1000
    axes = FULL.plot().axes[0]
    assert axes.get_xlim() == (0, 1000)
    # Unknown lengths of stages: one picture for each.
    GrowthSchedule([Stage(Plateau(5), ONE)]).plot(tmp_path / "one.png")
    schedules.get("G_stack").plot(tmp_path / "tokens.png")
