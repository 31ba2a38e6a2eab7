"""Steps lowered on shapes are the steps that `fit` takes."""

import keras
import numpy as np
import pytest

import kgrow
from kgrow import lowering
from kgrow.backend import storage
from kgrow.growth.gates import gates_of

on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="JAX lowers on shapes"
)
BIG = {"hidden_dim": 6, "num_layers": 2}
BATCH = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")


def small(**compiled):
    model = kgrow.models.MLP(
        input_dim=3,
        output_dim=2,
        hidden_dim=4,
        intermediate_dim=8,
        num_layers=1,
        dropout=0.1,
    )
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, "mse", **compiled)
    return model


@on_jax
@pytest.mark.parametrize("name", ["net2net", "msg"])
def test_the_step_of_a_stage_is_the_grown_model_s(name):
    """The same state goes in, and the same comes out, to the bit."""
    model, strategy = small(metrics=["mae"]), kgrow.strategies.get(name)
    later = lowering.stage_model(model, BIG, strategy)
    assert bool(gates_of(later.network).active_gates) == (name == "msg")
    step = lowering.lower_train_step(later, BATCH).compile()

    model.grow(BIG, strategy, seed=0)
    model.optimizer.build(model.trainable_variables)
    model._symbolic_build(data_batch=BATCH)
    state = tuple(
        [np.array(v) for v in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    )
    logs, found = step(state, BATCH)
    model.fit(*BATCH, batch_size=8, shuffle=False, verbose=0)
    wanted = [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *model.optimizer.variables,
    ]
    found = sum(map(list, found[:3]), [])
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(logs) == {"loss", "mae"}
    assert step.report.flops > 0 and step.report.bytes > 0


@on_jax
def test_nothing_gets_a_value_and_nothing_is_touched():
    model = small()
    before = [np.array(v) for v in model.variables]
    later = lowering.stage_model(model, BIG)
    lowering.lower_train_step(later, BATCH)
    held = [*later.network.weights, *later.optimizer._momentums]
    assert held and all(storage(v) is None for v in held)
    assert not model.optimizer.built
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, variable)


@on_jax
def test_an_operator_s_step_trains_the_operator_alone():
    model, ligo = small(), kgrow.strategies.get("ligo")
    step = lowering.lower_operator_step(model, BIG, ligo, BATCH)
    trainable = step.state[0]
    source = model.architecture.spec
    target = lowering.stage_model(model, BIG).architecture.spec
    parameters, _ = ligo.operator(source, target, 0, "float32")
    assert [leaf.shape for leaf in trainable] == [
        p.shape for p in parameters.values()
    ]
    assert "HIGHEST" in step.program.as_text()
    assert not model.optimizer.built


@on_jax
def test_what_cannot_be_lowered():
    model = small()
    with pytest.raises(kgrow.GrowthError, match=r"stage_model\(model, \{\}\)"):
        lowering.lower_train_step(model, BATCH)
    model.compiled = False
    with pytest.raises(kgrow.GrowthError, match="not compiled"):
        lowering.lower_train_step(model, BATCH)
    with pytest.raises(kgrow.GrowthError, match="'net2net'|Net2Net"):
        lowering.lower_operator_step(
            small(), BIG, kgrow.strategies.get("net2net"), BATCH
        )
    with pytest.raises(kgrow.GrowthError, match="teaches"):
        lowering.stage_model(small(), BIG, kgrow.strategies.get("ki"))


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX lowers on shapes"
)
def test_other_backends_say_so():
    with pytest.raises(kgrow.GrowthError, match="KERAS_BACKEND=jax"):
        lowering.lower_train_step(small(), BATCH)
