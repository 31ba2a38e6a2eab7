"""Random networks, strategies, optimizers, precisions and targets: a growth
keeps what it claims, or is refused with nothing changed."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
from helpers.toy import (
    DEPTH,
    FAN_IN,
    assert_same,
    make_model,
    relative_difference,
)
from helpers.training import OPTIMIZERS, assert_same_state, loss_of, state
from helpers.zoo import CASES, plain
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from kgrow import (
    AxisMap,
    GrowableModel,
    GrowthError,
    ModelBuilder,
    strategies,
)
from kgrow.algebra.rounding import tolerance
from kgrow.callbacks import Growth
from kgrow.schedules import GrowthSchedule, Stage

BACKEND = keras.backend.backend()
FAMILIES = ["MLP", "GPT2", "Llama", "BERT"]
POLICIES = ["float32", "mixed_bfloat16"]
# JAX has double precision only where a process asks for it.
POLICIES += ["float64"] if BACKEND != "jax" else []
# Compiled programs, each used once, are where the time goes.
MANY = 1000 if BACKEND == "torch" else 40
WRONG = [0, -1, True, 2.5, "8", None, [3], 10**12, 2**64, float("nan")]
WRONG += [np.float32(7), np.array([9]), {}]


@dataclasses.dataclass
class Draw:
    """One growth of one model."""

    network: str
    policy: str
    optimizer: str
    strategy: str
    arguments: dict
    more: dict
    wrong: dict

    def model(self):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(self.policy)
        if self.network in FAMILIES:
            model = make_model(self.network)
            model.compile(self._optimizer(model), loss_of(model))
            return model
        case = CASES[self.network]
        model = GrowableModel(case.make(), case.axes)
        model.compile(self._optimizer(model), **(case.compile or plain)())
        return model

    def _optimizer(self, model):
        return OPTIMIZERS[self.optimizer](model, 0.01)

    def batch(self, model):
        if self.network not in FAMILIES:
            return CASES[self.network].batch()
        x = model.network.example_inputs(4, 0)
        y = np.random.default_rng(0).integers(0, 2, np.shape(model(x))[:-1])
        if self.network == "MLP":
            y = np.random.default_rng(0).standard_normal(np.shape(model(x)))
        return x, y

    def grown_by(self):
        """The strategy; one that learns takes a step or two."""
        strategy = strategies.get(self.strategy)
        config = strategy.get_config()
        if "steps" in config and strategy.needs_data:
            strategy = type(strategy)(**{**config, "steps": 2})
        return strategy

    def target(self, model):
        sizes = model.growth_config
        fields = sorted(sizes)
        target = {}
        for place, extra in self.more.items():
            field = fields[place % len(fields)]
            target[field] = sizes[field] + extra
        for place, value in self.wrong.items():
            target[fields[place % len(fields)]] = value
        return target


draws = st.builds(
    Draw,
    st.sampled_from([*FAMILIES, *CASES]),
    st.sampled_from(POLICIES),
    st.sampled_from(list(OPTIMIZERS)),
    st.sampled_from(strategies.names(aliases=False)),
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**64 - 1),
            "trainable": st.sampled_from([None, "all", "new", ["kernel"]]),
            "optimizer_state": st.sampled_from(["carry", "reset", "reset_new"]),
        }
    ),
    st.dictionaries(st.integers(0, 7), st.integers(0, 9), max_size=3),
    st.one_of(
        st.just({}),
        st.just({}),
        st.dictionaries(st.integers(0, 7), st.sampled_from(WRONG), max_size=1),
    ),
)


def outputs(model, x):
    found = model.predict_on_batch(x)
    return [
        np.asarray(keras.ops.convert_to_numpy(y), "float64")
        for y in keras.tree.flatten(found)
    ]


def as_wide(labels, made):
    """Labels with zeros for the outputs that a growth has added."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind != "f":
        return labels
    widths = [
        (0, new - old)
        for old, new in zip(labels.shape, made.shape, strict=True)
    ]
    return np.pad(labels, widths)


def assert_keeps_its_claim(draw, tmp_path):
    model = draw.model()
    x, y = draw.batch(model)
    model.train_on_batch(x, y)
    before, computed = state(model), outputs(model, x)
    target, strategy = draw.target(model), draw.grown_by()
    data = (x, y) if strategy.needs_data else None
    try:
        receipt = model.grow(target, strategy, data=data, **draw.arguments)
    except GrowthError:
        event("refused")
        assert_same_state(model, before)
        assert_same(outputs(model, x), computed)
        model.train_on_batch(x, y)
        return
    event("exact" if receipt.exact else "not exact")
    assert all(model.growth_config[f] == size for f, size in target.items())
    grown = outputs(model, x)
    if receipt.exact:
        bound = receipt.tolerance
        bound += tolerance(model.compute_dtype, FAN_IN, DEPTH)
        for old, new in zip(computed, grown, strict=True):
            # Outputs may be more by now; the old ones come first.
            kept = new[..., : old.shape[-1]]
            assert relative_difference(kept, old) <= bound
    model.save_weights(tmp_path / "grown.weights.h5")
    again = draw.model()
    again.load_weights(tmp_path / "grown.weights.h5")
    assert again.growth_config == model.growth_config
    assert_same(outputs(again, x), grown)
    model.train_on_batch(x, as_wide(y, model(x)))
    assert all(np.isfinite(y).all() for y in outputs(model, x))


# --- every argument with every wrong kind of value ----------------------------

ANYTHING = [*WRONG, "", "new\0é", b"x", [], (), (None, None), [[]], object()]
ANYTHING += [lambda: None, lambda x: x, np.zeros(0), np.nan, -0.0, 1e400, int]
ANYTHING += [
    {"a": object()},
    [None],
    {1: 2},
    range(3),
    iter([]),
    True,
    -(2**70),
]


def arguments_of(function):
    named = inspect.signature(function).parameters.values()
    return [
        p.name
        for p in named
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        and p.name != "self"
    ]


def growable():
    case = CASES["functional"]
    return case.compiled(GrowableModel(case.make(), case.axes))


def public():
    """`{name: (function of the arguments, its usual ones, names)}`."""
    kinds = {
        Stage: {"until": 3},
        GrowthSchedule: {"stages": [Stage(3)]},
        Growth: {"schedule": GrowthSchedule([Stage(3)])},
        ModelBuilder: {"build": growable, "config": {"units": 3}},
        strategies.get: {"identifier": "net2net"},
        AxisMap: {"rules": CASES["functional"].axes},
    }
    found = {
        (kind.__name__, name): (kind, usual, name)
        for kind, usual in kinds.items()
        for name in arguments_of(kind)
    }
    for method in ("grow", "unfreeze", "set_weights"):
        usual = {"target_config": {"units": 9}} if method == "grow" else {}
        for name in arguments_of(getattr(GrowableModel, method)):
            found[method, name] = (method, usual, name)
    return found


PUBLIC = public()


@pytest.mark.once
@pytest.mark.parametrize("case", PUBLIC, ids="-".join)
def test_wrong_arguments_are_refused_or_work(case):
    function, usual, name = PUBLIC[case]
    model = growable() if isinstance(function, str) else None
    for value in ANYTHING:
        call = function if model is None else getattr(model, function)
        before = None if model is None else state(model)
        try:
            call(**{**usual, name: value})
        except GrowthError as error:
            assert str(error)
            if model is not None:
                assert_same_state(model, before)
        else:
            model = None if model is None else growable()


QUIET = dict(
    deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)


@pytest.mark.once
@settings(max_examples=12, **QUIET)
@given(draw=draws)
def test_a_growth_keeps_its_claim_or_is_refused(draw, tmp_path_factory):
    assert_keeps_its_claim(draw, tmp_path_factory.mktemp("fuzz"))


@pytest.mark.slow
@settings(max_examples=MANY, **QUIET)
@given(draw=draws)
def test_many_growths_keep_their_claims(draw, tmp_path_factory):
    assert_keeps_its_claim(draw, tmp_path_factory.mktemp("fuzz"))
