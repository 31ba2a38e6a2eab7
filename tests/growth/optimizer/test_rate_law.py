"""Rates that follow a growth: the grown run goes on as the small one."""

import keras
import numpy as np
import pytest
from helpers.training import BACKEND

import kgrow
from kgrow import GrowthError
from kgrow.growth.optimizer.rate_law import transfer_factors, update_degree
from kgrow.schedules import GrowthSchedule, Stage
from kgrow.schedules.learning_rate import apply_policies
from kgrow.strategies import HyperCloning, Net2Net

OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.05),
    "SGD momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "SGD nesterov": lambda: keras.optimizers.SGD(
        0.05, momentum=0.9, nesterov=True
    ),
    "Adam": lambda: keras.optimizers.Adam(1e-2, epsilon=1e-30),
    "AdamW": lambda: keras.optimizers.AdamW(
        1e-2, weight_decay=0.1, epsilon=1e-30
    ),
    "AdamW ema": lambda: keras.optimizers.AdamW(
        1e-2, epsilon=1e-30, use_ema=True
    ),
    "Nadam": lambda: keras.optimizers.Nadam(1e-2, epsilon=1e-30),
    "Adamax": lambda: keras.optimizers.Adamax(1e-2, epsilon=1e-30),
    "RMSprop": lambda: keras.optimizers.RMSprop(1e-3, epsilon=1e-30),
    "Lion": lambda: keras.optimizers.Lion(1e-3),
}
# What follows from the plan is the same everywhere; that a compiled step takes
# the factors is tried on each backend.
COMPILES = BACKEND != "torch"
ALL = ["AdamW"] if COMPILES else OPTIMIZERS
on_torch = pytest.mark.skipif(COMPILES, reason="compiled steps: AdamW alone")
TOKENS = {
    "GPT2": {"num_heads": 2, "max_sequence_length": 6},
    "BERT": {"num_heads": 2, "max_sequence_length": 6},
    "Llama": {"num_query_heads": 2, "num_key_value_heads": 1},
}
STEPS = 8 if COMPILES else 50


@pytest.fixture
def float64():
    before = keras.config.floatx()
    with kgrow.backend.double_precision():
        keras.config.set_floatx("float64")
        yield
        keras.config.set_floatx(before)


def mlp(optimizer, dtype="float64"):
    keras.utils.set_random_seed(0)
    model = kgrow.models.MLP(
        input_dim=6,
        output_dim=3,
        hidden_dim=8,
        intermediate_dim=12,
        num_layers=2,
        dtype=dtype,
    )
    model.compile(optimizer, "mse", jit_compile=BACKEND == "jax")
    return model


def batch(dtype="float64"):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((32, 6)), rng.standard_normal((32, 3))
    return x.astype(dtype), y.astype(dtype)


def train(model, data, steps):
    for _ in range(steps):
        model.train_on_batch(*data)


def difference(model, other, x):
    one, two = (np.asarray(m.predict_on_batch(x)) for m in (model, other))
    return np.abs(one - two).max() / np.abs(one).max()


def follows(make, data, target, strategy, steps=STEPS, **arguments):
    """How far a grown run parts from the run that did not grow."""
    small, grown = make(), make()
    for model in (small, grown):
        train(model, data, 4)
    receipt = grown.grow(target, strategy, seed=0, **arguments)
    for model in (small, grown):
        train(model, data, steps)
    return difference(small, grown, data[0]), receipt


WIDER = {"hidden_dim": 16, "intermediate_dim": 24}


@pytest.mark.sample
@pytest.mark.parametrize("name", ALL)
def test_the_grown_run_follows_the_small_one(name, float64):
    parted, receipt = follows(
        lambda: mlp(OPTIMIZERS[name]()),
        batch(),
        WIDER,
        Net2Net(split="even"),
        learning_rate="transfer",
    )
    assert parted < 1e-9
    assert receipt.rates["residual"] == 0.0


@on_torch
def test_without_the_law_the_runs_part(float64):
    """What the test above would miss if it could not fail."""
    parted, receipt = follows(
        lambda: mlp(OPTIMIZERS["AdamW"]()), batch(), WIDER, Net2Net("even")
    )
    assert parted > 0.01 and receipt.rates is None


@on_torch
def test_in_float32():
    parted, _ = follows(
        lambda: mlp(keras.optimizers.Adam(1e-3), "float32"),
        batch("float32"),
        {"hidden_dim": 32, "intermediate_dim": 24},
        Net2Net(split="even"),
        learning_rate="transfer",
    )
    assert parted < 1e-4


def language_model(family):
    keras.utils.set_random_seed(0)
    model = getattr(kgrow.models, family)(
        vocabulary_size=11,
        num_layers=1,
        hidden_dim=8,
        intermediate_dim=12,
        dropout=0.0,
        dtype="float64",
        **TOKENS[family],
    )
    model.compile(
        keras.optimizers.AdamW(3e-3, epsilon=1e-30),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=BACKEND == "jax",
    )
    return model


@on_torch
@pytest.mark.parametrize("family", TOKENS)
def test_families_follow(family, float64):
    ids = np.random.default_rng(0).integers(0, 11, (8, 7))
    target = {"hidden_dim": 16, "intermediate_dim": 24}
    parted, receipt = follows(
        lambda: language_model(family),
        (ids[:, :-1], ids[:, 1:]),
        target,
        HyperCloning(snr=None),
        steps=12,
        learning_rate="transfer",
    )
    assert receipt.exact and parted < 1e-8


def plan_of(split, target=16):
    small = kgrow.models.MLP(
        input_dim=2,
        output_dim=1,
        hidden_dim=8,
        intermediate_dim=8,
        num_layers=1,
    )
    large = kgrow.models.MLP(
        input_dim=2,
        output_dim=1,
        hidden_dim=8,
        intermediate_dim=target,
        num_layers=1,
    )
    return Net2Net(split=split).plan(
        small.architecture.spec, large.architecture.spec, seed=0
    )


@pytest.mark.parametrize("times", [2, 3])
def test_the_table_of_factors(times):
    """Reads: 1/k and 1/k; writes, biases: 1 under Adam and k under SGD."""
    plan = plan_of("even", 8 * times)
    kernel = "layer_0/intermediate_dense/kernel"
    bias, reads = (
        "layer_0/intermediate_dense/bias",
        "layer_0/output_dense/kernel",
    )
    expected = {0: (1, 1, 1 / times), 1: (times, times, 1 / times)}
    for degree, wanted in expected.items():
        factors = transfer_factors(plan, degree)
        found = [factors[path] for path in (kernel, bias, reads)]
        assert [f for f, _ in found] == pytest.approx(wanted)
        assert not any(residual for _, residual in found)


def test_unequal_copies_have_a_residual():
    factors = transfer_factors(plan_of("uneven"), 0)
    factor, residual = factors["layer_0/output_dense/kernel"]
    assert 0 < factor < 1 and residual > 0.01


@on_torch
@pytest.mark.parametrize("name", ["Lamb", "Adafactor", "Ftrl", "Muon"])
def test_a_law_that_is_not_known_is_refused(name):
    optimizer = getattr(keras.optimizers, name)()
    model = mlp(optimizer, "float32")
    before = model.get_weights()
    with pytest.raises(GrowthError, match=f"optimizer='{name}'"):
        model.grow(WIDER, "net2net", learning_rate="transfer")
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


@on_torch
def test_arguments_are_checked():
    model = mlp("adam", "float32")
    with pytest.raises(GrowthError, match="learning_rate='reset'"):
        model.grow(WIDER, learning_rate="reset")
    plain = kgrow.models.MLP(
        input_dim=2,
        output_dim=1,
        hidden_dim=4,
        intermediate_dim=8,
        num_layers=1,
    )
    with pytest.raises(GrowthError, match="`compile\\(\\)` the model first"):
        plain.grow({"hidden_dim": 8}, learning_rate="transfer")


@on_torch
def test_degrees_are_measured():
    found = {name: update_degree(make()) for name, make in OPTIMIZERS.items()}
    assert {n: d for n, d in found.items() if d} == {
        "SGD": 1,
        "SGD momentum": 1,
        "SGD nesterov": 1,
    }


@on_torch
def test_growths_compose(float64):
    """Two doublings are one by four."""
    small, grown = mlp(OPTIMIZERS["Adam"]()), mlp(OPTIMIZERS["Adam"]())
    for step, sizes in enumerate((16, 32)):
        for model in (small, grown):
            train(model, batch(), 3)
        grown.grow(
            {"hidden_dim": sizes},
            Net2Net(split="even"),
            seed=step,
            learning_rate="transfer",
        )
    for model in (small, grown):
        train(model, batch(), 6)
    assert min(grown.architecture.rate_factors.values()) == 0.25
    assert difference(small, grown, batch()[0]) < 1e-9


@on_torch
def test_a_file_holds_the_factors(tmp_path, float64):
    grown = mlp(OPTIMIZERS["AdamW"]())
    train(grown, batch(), 3)
    grown.grow(WIDER, Net2Net("even"), seed=0, learning_rate="transfer")
    grown.save(tmp_path / "grown.keras")
    again = keras.saving.load_model(tmp_path / "grown.keras")
    for model in (grown, again):
        train(model, batch(), 4)
    assert again.architecture.rate_factors == grown.architecture.rate_factors
    assert difference(grown, again, batch()[0]) == 0.0


def test_a_stage_of_a_schedule():
    model = mlp(keras.optimizers.Adam(1e-2), "float32")
    schedule = GrowthSchedule(
        [
            Stage(2, {"hidden_dim": 8}),
            Stage(6, {"hidden_dim": 16}, "net2net", learning_rate="transfer"),
        ]
    )
    assert GrowthSchedule.from_json(schedule.to_json()) == schedule
    x, y = batch("float32")
    model.fit(
        x,
        y,
        8,
        epochs=2,
        verbose=0,
        callbacks=[kgrow.callbacks.Growth(schedule, verbose=0)],
    )
    assert model.growth_history[0].rates["smallest"] == 0.5
    with pytest.raises(GrowthError, match="grow\\(learning_rate='transfer'\\)"):
        apply_policies.apply(mlp("adam", "float32"), "transfer")
