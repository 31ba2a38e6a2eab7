"""Growth under a distribution: the same run, every piece in its place."""

import functools
import json
import os
import subprocess
import sys

import keras
import pytest
from helpers.paths import PROGRAMS, REPOSITORY, TESTS

import kgrow
from kgrow.algebra import tolerance
from kgrow.growth import device_layout
from kgrow.schedules import GrowthSchedule, Stage

BACKEND = keras.backend.backend()
SCRIPT = PROGRAMS / "distributed_growth.py"
# Runs that share a process: starting one takes as long as a run.
ALWAYS = {
    "jax": ("maps", "derived", "places", "gates", "ligo"),
    "tensorflow": ("mirrored", "mirrored_gates"),
    "torch": (),
}[BACKEND]
RARELY = {
    "jax": (
        "net2net",
        "net2net_replicated",
        "lemon_bert",
        "gates_gpt2",
        "ligo_gpt2",
        "ligo_tuned",
        "mango",
        "msg_learned",
        "plain",
        "rests",
    ),
    "tensorflow": ("mirrored_resume", "compiled_steps"),
    "torch": (),
}[BACKEND]
COMPARED = ("derived", "gates", "ligo", *RARELY) if BACKEND == "jax" else ()
# The longest sum, and sums one after the other: eight layers there and back,
# in each of four steps, with two of an operator before.
ROUNDING = tolerance("float32", fan_in=64, depth=6)


@functools.cache
def runs(names):
    path = os.pathsep.join([str(REPOSITORY), str(TESTS), *sys.path])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *names],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def run(name):
    return runs(ALWAYS if name in ALWAYS else RARELY)[name]


def each(names):
    """The runs as parameters, the long ones only where there is time."""
    slow = pytest.mark.slow
    return [
        pytest.param(name, marks=[slow] if name in RARELY else [])
        for name in names
    ]


only = functools.partial(pytest.mark.skipif, reason="another backend's")
on_jax = only(BACKEND != "jax")
on_tensorflow = only(BACKEND != "tensorflow")


@pytest.mark.parametrize(
    "name",
    each([n for n in (*ALWAYS, *RARELY) if n in COMPARED or "mirr" in n]),
)
def test_growth_on_several_devices_is_growth_on_one(name):
    found = run(name)
    if name == "mirrored_resume":
        assert found["resumed"] == found["went_on"]
        return
    single, several = (found[n]["losses"] for n in ("single", "several"))
    assert several == pytest.approx(single, rel=ROUNDING)
    assert found["apart"] < ROUNDING


@pytest.mark.parametrize("name", each(COMPARED))
def test_grown_weights_and_slots_lie_where_the_layout_says(name):
    assert run(name)["misplaced"] == []


@pytest.mark.parametrize("name", each(COMPARED))
def test_no_weight_comes_to_the_host(name):
    """Losses and counts do, which are smaller than any matrix; and so does an
    operator that was learned, which every device has."""
    found = run(name)
    assert found["fetched"] < found["smallest"]
    if not any(n in name for n in ("ligo", "mango", "learned")):
        assert found["common"] < found["smallest"]


@on_jax
@pytest.mark.parametrize("name", each(["plain", "derived"]))
def test_no_device_ever_holds_a_whole_matrix(name):
    """Beside the old state each device gets its pieces of the new one, and at
    most a few more at a time."""
    found = run(name)
    assert found["peak"] <= found["grown"] + 3 * found["piece"]
    # The limit would not hold with one matrix in one place.
    assert found["whole"] > 4 * found["piece"]


@on_jax
def test_maps_in_pieces_are_maps():
    assert run("maps")["apart"] < tolerance("float32", fan_in=32)


@on_jax
def test_compiled_gathers_put_nothing_together():
    assert not run("maps")["programs"]["gather"]["gathers"]


@on_jax
@pytest.mark.parametrize("kind", ["gather", "dense"])
def test_compiled_maps_hold_less_than_the_whole(kind):
    """Beside the matrices, which every device has."""
    found = run("maps")["programs"][kind]
    assert found["temporary"] < 8 * found["piece"]


@on_jax
def test_a_size_that_does_not_divide_changes_nothing():
    found = run("places")
    assert "intermediate_dim=40 or 44" in found["odd"]
    assert "'model'" in found["odd"]
    assert found["even"] == "grown"


@on_jax
def test_growing_needs_to_know_where():
    assert "set_distribution" in run("places")["nowhere"]


@pytest.mark.parametrize(
    "name", each([n for n in (*ALWAYS, *RARELY) if "mirrored" in n])
)
def test_grown_variables_are_mirrored(name):
    assert run(name)["placed"]


@on_tensorflow
@pytest.mark.slow
def test_a_run_goes_on_from_a_file_in_the_middle_of_a_ramp():
    assert run("mirrored_resume")["active_gates"] == [2]


@on_tensorflow
@pytest.mark.slow
def test_steps_compiled_as_a_tpu_wants_them_are_the_same_steps():
    found = run("compiled_steps")
    plain, compiled = found["CPU:1"], found["CPU:0"]
    assert compiled["losses"] == pytest.approx(plain["losses"], rel=ROUNDING)
    assert plain["placed"]
    assert compiled["placed"]


# Without any device.


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
        device_layout.check(
            small,
            schedule({"intermediate_dim": 48}, {"intermediate_dim": 50}),
            split(feedforward_intermediate=(None, "model")),
        )
    message = str(raised.value)
    for part in ("Stage 3", "'model'", "intermediate_dim=48 or 52", "4 parts"):
        assert part in message


def test_a_number_of_heads_is_what_divides():
    with pytest.raises(kgrow.GrowthError, match="num_heads=4 or 8"):
        device_layout.check(
            small,
            schedule({"num_heads": 6}),
            split(query=(None, "model", None)),
        )


def test_a_vocabulary_is_padded():
    """With fewer rows, some tokens would have none."""
    layouts = keras.distribution.LayoutMap(mesh())
    layouts[".*token_embedding/embeddings"] = ("model", None)
    with pytest.raises(kgrow.GrowthError, match=r"that fit: voc\w+=52\.$"):
        device_layout.check(
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
    assert device_layout.check(small, stages, layouts) is None


def test_a_batch_has_to_divide():
    with pytest.raises(kgrow.GrowthError, match="batch_size=6 or 8"):
        device_layout.check(
            small, schedule({"num_layers": 2}, batch_size=7), split()
        )


def test_a_layout_of_other_rank_is_refused():
    with pytest.raises(kgrow.GrowthError, match="names 3 axes"):
        device_layout.check(
            small,
            schedule({"num_layers": 2}),
            split(feedforward_output=("model", None, None)),
        )


def test_without_a_distribution_all_is_well():
    device_layout.check(small, schedule({"intermediate_dim": 50}))


def test_a_model_is_asked_for():
    with pytest.raises(kgrow.GrowthError, match="GrowableModel"):
        device_layout.check(
            {"hidden_dim": 8}, schedule({"num_layers": 2}), split()
        )


def forecast(make, stages, layout=None, optimizer="adam"):
    optimizer = keras.optimizers.get(optimizer)
    return device_layout.memory_forecast(make, stages, layout, optimizer)


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
    assert device_layout.memory_forecast(model, stages)[0].slots == 0
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    (first, _) = device_layout.memory_forecast(model, stages)
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
