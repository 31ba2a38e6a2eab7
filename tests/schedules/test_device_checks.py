"""Checks of a schedule against a layout and a memory, without any device."""

import keras
import pytest

import kgrow
from kgrow.schedules import GrowthSchedule, Stage, device_checks


def mesh(shape=(2, 4)):
    devices = [f"cpu:{i}" for i in range(shape[0] * shape[1])]
    return keras.distribution.DeviceMesh(shape, ["batch", "model"], devices)


def split(**layout):
    layouts = keras.distribution.LayoutMap(mesh())
    for name, axes in layout.items():
        layouts[f".*{name}.*/kernel"] = axes
    return keras.distribution.ModelParallel(layout_map=layouts)


def small():
    return kgrow.models.GPT2(
        vocabulary_size=16,
        num_layers=1,
        num_heads=4,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=8,
    )


def schedule(*targets, **first):
    stages = [Stage(5, {"intermediate_dim": 32}, **first)]
    stages += [Stage(10 + i, t) for i, t in enumerate(targets)]
    return GrowthSchedule(stages)


def test_a_stage_that_does_not_divide_is_named_before_training():
    with pytest.raises(kgrow.GrowthError) as raised:
        device_checks.check_layout(
            small,
            schedule({"intermediate_dim": 48}, {"intermediate_dim": 50}),
            split(feedforward_intermediate=(None, "model")),
        )
    message = str(raised.value)
    for part in ("Stage 3", "'model'", "intermediate_dim=48 or 52", "4 parts"):
        assert part in message


def test_a_number_of_heads_is_what_divides():
    with pytest.raises(kgrow.GrowthError, match="num_heads=4 or 8"):
        device_checks.check_layout(
            small,
            schedule({"num_heads": 6}),
            split(query=(None, "model", None)),
        )


def test_a_vocabulary_is_padded():
    """With fewer rows, some tokens would have none."""
    layouts = keras.distribution.LayoutMap(mesh())
    layouts[".*token_embedding/embeddings"] = ("model", None)
    with pytest.raises(kgrow.GrowthError, match=r"that fit: voc\w+=52\.$"):
        device_checks.check_layout(
            lambda: kgrow.models.GPT2(
                vocabulary_size=50,
                num_layers=1,
                num_heads=4,
                hidden_dim=16,
                intermediate_dim=32,
                max_sequence_length=8,
            ),
            schedule(),
            keras.distribution.ModelParallel(layout_map=layouts),
        )


def test_what_divides_passes():
    layouts = split(feedforward_intermediate=("batch", "model"))
    stages = schedule({"intermediate_dim": 48, "hidden_dim": 18})
    assert device_checks.check_layout(small, stages, layouts) is None


def test_a_batch_has_to_divide():
    with pytest.raises(kgrow.GrowthError, match="batch_size=6 or 8"):
        device_checks.check_layout(
            small, schedule({"num_layers": 2}, batch_size=7), split()
        )


def test_a_layout_of_other_rank_is_refused():
    with pytest.raises(kgrow.GrowthError, match="names 3 axes"):
        device_checks.check_layout(
            small,
            schedule({"num_layers": 2}),
            split(feedforward_output=("model", None, None)),
        )


def test_without_a_distribution_all_is_well():
    device_checks.check_layout(small, schedule({"intermediate_dim": 50}))


def test_a_model_is_asked_for():
    with pytest.raises(kgrow.GrowthError, match="GrowableModel"):
        device_checks.check_layout(
            {"hidden_dim": 8}, schedule({"num_layers": 2}), split()
        )


def forecast(make, stages, layout=None, optimizer="adam"):
    optimizer = keras.optimizers.get(optimizer)
    return device_checks.memory_forecast(make, stages, layout, optimizer)


def test_the_forecast_is_what_variables_take():
    model = small()
    first, second = forecast(
        model, schedule({"intermediate_dim": 48, "num_layers": 2})
    )
    weights = 4 * model.count_params()
    assert first.weights == first.gradients == weights
    assert first.slots == 2 * weights
    assert (first.growing, first.total) == (0, 4 * weights)
    model.grow({"intermediate_dim": 48, "num_layers": 2})
    grown = 4 * model.count_params()
    assert second.weights == grown
    assert second.growing == 3 * (weights + grown)
    assert second.total == max(4 * grown, second.growing)


def test_the_forecast_knows_the_layout():
    stages = schedule({"intermediate_dim": 48})
    layouts = split(feedforward_intermediate=("batch", "model"))
    whole, cut = (forecast(small, stages, d)[-1] for d in (None, layouts))
    kernel = 16 * 48 * 4
    assert whole.weights - cut.weights == kernel * 7 // 8
    assert whole.slots - cut.slots == 2 * kernel * 7 // 8


def test_the_forecast_takes_the_optimizer_of_the_model():
    model, stages = small(), schedule({"num_layers": 2})
    assert device_checks.memory_forecast(model, stages)[0].slots == 0
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    (first, _) = device_checks.memory_forecast(model, stages)
    assert first.slots == first.weights


def test_the_forecast_counts_an_operator():
    plain, learned = (
        forecast(
            small,
            GrowthSchedule(
                [
                    Stage(5, {"hidden_dim": 16}),
                    Stage(9, {"hidden_dim": 32}, name),
                ]
            ),
            optimizer="sgd",
        )[-1]
        for name in ("net2net", "ligo")
    )
    assert learned.growing > plain.growing
    assert learned.weights == plain.weights
