"""Families by name: what is registered, and what is refused."""

import inspect

import keras
import pytest
from keras import ops

from kgrow import AxisMap, GrowthError
from kgrow.algebra.gate import Gate
from kgrow.algebra.ramp import Ramp
from kgrow.layers import MaskedDense
from kgrow.models import Example, Family, Network, register, registered
from kgrow.models.mlp import MLP, MLPNetwork
from kgrow.models.registry import forget

pytestmark = pytest.mark.once

EVERY = pytest.mark.parametrize("name", registered())


@EVERY
def test_a_family_is_one_file(name):
    """Its network is in the same module, and in no other family's."""
    cls = registered()[name]
    assert cls.network_class.__module__ == cls.__module__
    for kind in (cls, cls.network_class):
        assert (
            keras.saving.get_registered_name(kind) == f"kgrow>{kind.__name__}"
        )


@EVERY
def test_arguments_are_written_and_documented_once(name):
    cls = registered()[name]
    network = [p.name for p in cls.network_class.field_parameters()]
    assert [*inspect.signature(cls).parameters] == [*network, "name", "dtype"]
    arguments = cls.__doc__.partition("Args:")[2].partition("Input shape:")[0]
    for argument in inspect.signature(cls).parameters:
        assert f"\n        {argument}: " in arguments, argument
    assert not any(
        f"        {field}: " in cls.network_class.__doc__ for field in network
    )


@EVERY
def test_gates_open_every_dimension_that_grows_by_copies(name):
    """They are read off the axes, sizes and names."""
    model = registered()[name].small()
    spec = model.architecture.spec
    sizes = {**spec.sizes, **spec.depths}
    placed = {dim.name for dim in spec.dims.values() if dim.is_placed}
    gates = model.network.gates.sizes
    assert {d: n for d, n in gates.items() if d in sizes} == {
        d: n for d, n in sizes.items() if d not in placed
    }
    assert not any(n for d, n in gates.items() if d not in sizes)


def test_a_gate_along_an_unknown_dimension_is_refused():
    sizes = MLP.example.sizes
    with pytest.raises(GrowthError, match="no gate for this dimension"):
        MLPNetwork(**sizes, gates=[Gate(Ramp(2), {"width": (3, 4)})])


class Other(MLP):
    """A family of the same network."""


def test_a_name_is_taken_once():
    register("vectors")(Other)
    try:
        assert registered()["Other"] is Other
        register("vectors")(Other)
        with pytest.raises(GrowthError, match="is the name of .*mlp.MLP"):
            register("vectors")(type("MLP", (Other,), {}))
    finally:
        forget("Other")
    assert "Other" not in registered()


class Nameless(Network):
    """Names no axes."""

    def __init__(self, gates=(), **kwargs):
        super().__init__(**kwargs)
        self.finish(gates)


def example(**changes):
    return Example(**{**vars(MLP.example), **changes})


@pytest.mark.parametrize(
    "attributes, message",
    [
        ({"network_class": Nameless}, "`Wrong.axes` must be an `AxisMap`"),
        ({"example": {}}, "`Wrong.example` must be an `Example`"),
        ({"example": example(sizes={})}, "every field that grows.*hidden_dim"),
        (
            {"example": example(sizes={**MLP.example.sizes, "size": 1})},
            "arguments of the constructor.*Received.*'size'",
        ),
        (
            {"example": example(exact={"input_dim": 9})},
            "fields that grow.*Received.*'input_dim'",
        ),
        (
            {"example": example(gated={"hidden_dim": 9})},
            "smaller in `gated` than in `exact`.*'hidden_dim'",
        ),
    ],
)
def test_what_cannot_be_registered_says_why(attributes, message):
    cls = type("Wrong", (MLP,), attributes)
    with pytest.raises(GrowthError, match=message):
        register("vectors")(cls)
    assert "Wrong" not in registered()


def test_a_family_has_a_network():
    with pytest.raises(GrowthError, match="subclass of `Network`. Received"):
        type("Wrong", (Family,), {"network_class": keras.Model})
    with pytest.raises(GrowthError, match=r"names its arguments.*\*args"):
        type("Wrong", (Family,), {"network_class": Network})
    with pytest.raises(GrowthError, match="`Bare.axes` must be an `AxisMap`"):
        register("vectors")(type("Bare", (Family,), {}))


def test_only_families_are_registered():
    with pytest.raises(GrowthError, match="a subclass of `Family`. Received"):
        register("vectors")(keras.layers.Dense)


class Forgetful(Network):
    """Keeps its argument under another name, as is easily done."""

    axes = AxisMap({"dense/kernel": "_ -> units"})

    def __init__(self, units, keep=True, gates=(), **kwargs):
        super().__init__(**kwargs)
        if keep:
            self.units = units
        self.keep = keep
        self.dense = MaskedDense(units, name="dense")
        self.finish(gates)

    def build(self, input_shape=None):
        self.dense.build((None, 2))

    def call(self, inputs):
        return ops.sum(self.dense(inputs))


@pytest.mark.parametrize(
    "keep, message",
    [
        (False, r"Write `self.units = units`"),
        (True, "Exactly one rule must name the axes of 'dense/bias'"),
    ],
)
def test_a_network_is_checked_when_it_is_made(keep, message):
    with pytest.raises(GrowthError, match=message):
        Forgetful(3, keep)
