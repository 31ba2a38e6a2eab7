"""Small models with no zeros in them, and random maps for the algebra."""

import dataclasses

import keras
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops

import kgrow
from kgrow import AxisMap, BlockStack, DepthExpansion, Dim, Expansion, backend
from kgrow.algebra import GatherMap, MatrixMap, PlanTerm
from kgrow.algebra.expansion import Pair
from kgrow.algebra.linear_maps import UNWRITTEN
from kgrow.architecture.architecture import relative_path
from kgrow.backend.lazy_variables import give_value, without_values
from kgrow.growth.gates import carry_gates
from kgrow.models import registered

settings.register_profile(
    "kgrow", deadline=None, derandomize=True, max_examples=25
)
settings.load_profile("kgrow")

# Families of images cut them into patches, so that their sizes do not all grow
# alone: they are held to the laws in growths of their own.
FAMILIES = {
    name: cls for name, cls in registered().items() if cls.kind != "images"
}
# Of these, the ones with the sizes of a transformer or a residual network.
RESIDUAL = [
    name
    for name, cls in FAMILIES.items()
    if {"hidden_dim", "intermediate_dim", "num_layers"} <= {*cls.axes.fields}
]
# Sums of this many terms, this many layers deep, bound what rounding explains.
FAN_IN = 64
DEPTH = 16


def make_model(family, **overrides):
    """The small model of a family, with noise in every weight."""
    # Initial values would each be compiled on JAX, to be overwritten here.
    with without_values():
        model = registered()[family].small(**overrides)
    return randomize(give_zeros(model))


def shallow(family):
    """Arguments by which each stack of a family has one block."""
    return {s.field: 1 for s in registered()[family].axes.stacks.values()}


def give_zeros(network):
    """Gives every variable that was built without a value one of zeros."""
    for variable in network.variables:
        if backend.storage(variable) is None:
            give_value(variable, np.zeros(variable.shape, variable.dtype))
    backend.register_parameters(network)
    return network


def randomize(model, seed=0):
    """Gives every weight noise, gains and biases too: zeros hide errors.
    Variances stay positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        scale = 1.0 if weight.path.endswith(("gamma", "scale")) else 0.0
        std = 0.4 if len(shape) < 2 else np.prod(shape[:-1]) ** -0.5
        weight.assign(scale + std * rng.standard_normal(shape))
        if weight.path.endswith("moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, shape))
    return model


def grow_offline(model, target_config, strategy, seed=0, **changes):
    """Builds the grown network, and leaves the model alone.

    Returns:
        `(network, plan)`; `changes` are made to the plan before it is applied.
    """
    source = model.architecture
    network, spec = source.build(source.check(target_config))
    plan = kgrow.strategies.get(strategy).plan(source.spec, spec, seed)
    plan = dataclasses.replace(plan, **changes)
    grown = plan.apply(values_of(model))
    for weight in network.weights:
        give_value(weight, grown[relative_path(network, weight)])
    give_zeros(network)
    carry_gates(network, model.network, plan)
    return network, plan


def outputs(network, x):
    """What a network computes, by a function that is compiled once."""
    network.run_eagerly = keras.backend.backend() != "jax"
    return network.predict_on_batch(x)


def make_inputs(model, batch=4, seed=1):
    return model.network.example_inputs(batch, seed)


def make_targets(model, x, seed=2):
    shape = tuple(array(model(x)).shape)
    return np.random.default_rng(seed).standard_normal(shape)


def array(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def values_of(model):
    """`{path: numpy array}`, as plans take them."""
    network = model.network
    return {relative_path(network, w): array(w) for w in network.weights}


def snapshot(model):
    """Everything that a failed growth must leave as it was."""
    optimizer = getattr(model, "optimizer", None)
    variables = [] if optimizer is None else optimizer.variables
    return {
        "weights": {w.path: array(w) for w in model.variables},
        "optimizer": [(v.path, array(v)) for v in variables],
        "outputs": array(model(make_inputs(model))),
        "config": model.growth_config,
        "history": model.growth_history,
        "network": id(model.network),
    }


def assert_same(actual, expected):
    """Equality of nested dicts, lists and arrays, to the last bit."""
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key in expected:
            assert_same(actual[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)
    else:
        assert actual == expected


def relative_difference(actual, expected):
    """Largest difference, relative to the largest expected value."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    largest = np.abs(expected).max(initial=np.finfo("float32").tiny)
    return np.abs(actual - expected).max(initial=0.0) / largest


def assert_close(actual, expected, dtype="float64", fan_in=FAN_IN, depth=DEPTH):
    bound = kgrow.algebra.tolerance(dtype, fan_in, depth)
    assert relative_difference(actual, expected) <= bound


# Weights that floating point multiplies and adds without rounding.
DYADIC = st.sampled_from([-2.0, -1.0, -0.5, 0.25, 0.5, 1.0, 2.0])
SMALL = st.integers(1, 4)
LARGER = st.integers(1, 6)


@st.composite
def gathers(draw, source=SMALL, target=LARGER, unwritten=True):
    source, target = draw(source), draw(target)
    low = UNWRITTEN if unwritten else 0
    rows = st.lists(
        st.integers(low, source - 1), min_size=target, max_size=target
    )
    weights = st.lists(DYADIC, min_size=target, max_size=target)
    return GatherMap(source, draw(rows), draw(st.none() | weights))


@st.composite
def denses(draw, source=SMALL, target=LARGER):
    source, target = draw(source), draw(target)
    values = st.lists(
        DYADIC, min_size=source * target, max_size=source * target
    )
    return MatrixMap(np.reshape(draw(values), (target, source)))


def maps(source=SMALL, target=LARGER, unwritten=True):
    return gathers(source, target, unwritten) | denses(source, target)


@st.composite
def expansions(draw, source=SMALL, target=LARGER, unwritten=True):
    """Maps without any law between them."""
    sizes = st.just(draw(source)), st.just(draw(target))
    both = [draw(maps(*sizes, unwritten)) for _ in range(2)]
    some = st.sampled_from([*both, draw(maps(*sizes, unwritten))])
    pairs = [Pair(draw(some), draw(some)) for _ in range(4)]
    return Expansion(*both, *pairs)


@st.composite
def selections(draw, source=SMALL, extra=LARGER):
    """A preserving expansion: copies of all entries, with random shares."""
    source, extra = draw(source), draw(extra)
    more = st.lists(st.integers(0, source - 1), min_size=extra, max_size=extra)
    indices = np.array([*range(source), *draw(more)], np.int64)
    indices = np.array(draw(st.permutations(indices.tolist())), np.int64)
    draws = st.lists(
        st.floats(0.125, 8.0),
        min_size=len(indices),
        max_size=len(indices),
    )
    shares = np.array(draw(draws))
    sums = np.bincount(indices, shares, minlength=source)
    return Expansion.select(source, indices, shares / sums[indices])


@st.composite
def mixings(draw, source, target, linear=False, unwritten=False):
    """Gathers of blocks with random exits, or (linear) dense mixtures."""
    sizes = st.just(source), st.just(target)
    if linear and draw(st.booleans()):
        return DepthExpansion(draw(denses(*sizes)))
    exits = st.lists(
        st.sampled_from([0.0, 0.5, 1.0]), min_size=target, max_size=target
    )
    return DepthExpansion(draw(gathers(*sizes, unwritten)), draw(exits))


# Every feature of the axes in one small network that nobody has to build.
TOY = AxisMap(
    {
        "embedding": "vocab -> hidden",
        "block_{layers}/gain": "-> hidden | scale",
        "block_{layers}/query": "hidden -> heads qk | qk^0.5",
        "block_{layers}/key": "hidden -> heads ~qk",
        "block_{layers}/packed": "hidden -> (3 heads qk)",
        "block_{layers}/up": "hidden -> ffn",
        "block_{layers}/down": "ffn -> hidden | residual_out",
        "norm": "-> ~hidden | scale",
    },
    dims=[
        Dim("vocab", kind="lookup"),
        Dim("hidden", kind="stream", norm="rms"),
        Dim("qk", kind="stream"),
    ],
    stacks=[BlockStack("layers", norm="pre")],
)
TOY_SIZES = {"vocab": 5, "hidden": 3, "heads": 2, "qk": 2, "ffn": 4}


def toy_spec(sizes=(), depth=2, initializer="ones"):
    """The spec of a toy network of the given sizes."""
    sizes = {**TOY_SIZES, **dict(sizes)}
    variables = []
    for pattern, axes in TOY.rules.items():
        shape = axes.shape(sizes, (None,) * len(axes))
        count = depth if "{" in pattern else 1
        variables += [
            (pattern.replace("{layers}", str(block)), shape)
            for block in range(count)
        ]
    initializers = {path: initializer for path, _ in variables}
    return TOY.spec(variables, sizes, initializers)


def toy_values(spec, seed=0, dtype="float64"):
    """Small integers for every variable of a spec."""
    rng = np.random.default_rng(seed)
    return {
        path: rng.integers(-4, 5, variable.shape).astype(dtype)
        for path, variable in spec.variables.items()
    }


@st.composite
def toy_terms(draw, source, target, unwritten=False):
    """A random term between two toy specs; `ffn` may differ per block."""
    widths = {}
    for dim in source.dims:
        old, new = source.sizes[dim], target.sizes[dim]
        one = expansions(st.just(old), st.just(new), unwritten)
        if dim == "ffn" and draw(st.booleans()):
            widths[dim] = tuple(
                draw(one) for _ in range(target.depths["layers"])
            )
        elif old != new or draw(st.booleans()):
            widths[dim] = draw(one)
    depths = source.depths["layers"], target.depths["layers"]
    if depths[0] == depths[1] and draw(st.booleans()):
        return PlanTerm(widths)
    return PlanTerm(
        widths, {"layers": draw(mixings(*depths, unwritten=unwritten))}
    )
