"""Every strategy grows GPT-2 and BERT, and the grown model trains on."""

import keras
import numpy as np
import pytest

import kgrow
from kgrow import GrowthError, strategies
from kgrow.analysis.preservation.completion import completed

pytestmark = pytest.mark.compiles

SMALL = {
    "vocabulary_size": 32,
    "max_sequence_length": 12,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 64,
    "intermediate_dim": 256,
}
TARGETS = {
    96: {
        "num_layers": 4,
        "num_heads": 6,
        "hidden_dim": 96,
        "intermediate_dim": 384,
    },
    128: {
        "num_layers": 4,
        "num_heads": 8,
        "hidden_dim": 128,
        "intermediate_dim": 512,
    },
}
NAMES = strategies.names(aliases=False)
# What a strategy refuses to grow to, and what the message says.
REFUSES = {
    ("hypercloning", 96): "whole multiples",
    ("staged", 96): "whole multiples",
    ("compoundgrow", 96): "Combine",
    ("compoundgrow", 128): "Combine",
}
FAMILIES = [kgrow.models.GPT2, kgrow.models.BERT]


def cases():
    """Each strategy once, in turns, on torch, which compiles nothing; all of
    them, on every backend, are among the slow tests."""
    for number, name in enumerate(NAMES):
        for other, (family, width) in enumerate(
            (f, w) for f in FAMILIES for w in TARGETS
        ):
            quick = keras.backend.backend() == "torch"
            first = quick and number % 4 == other
            yield pytest.param(
                family,
                width,
                name,
                id=f"{family.__name__}-{width}-{name}",
                marks=[] if first else pytest.mark.slow,
            )


def quick(strategy):
    """The strategy with two steps of learning, where it learns."""
    for part in (strategy, getattr(strategy, "init", None)):
        if hasattr(part, "steps") and part.needs_data:
            part.steps, part.verbose = 2, 0
    return strategy


@pytest.mark.sample
@pytest.mark.parametrize("family, width, name", cases())
def test_a_strategy_grows_and_the_model_trains_on(family, width, name):
    keras.utils.set_random_seed(1)
    model = family(dropout=0.1, **SMALL)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    x = np.random.default_rng(0).integers(0, 32, (4, 12))
    source, target = model.architecture, TARGETS[width]
    _, spec = source.build(source.check(target))
    if (name, width) in REFUSES:
        with pytest.raises(GrowthError, match=REFUSES[name, width]):
            completed(name, source.spec, spec)
        return
    strategy = quick(completed(name, source.spec, spec))
    receipt = model.grow(target, strategy, data=(x, x), seed=0)
    assert model.growth_config == {**model.growth_config, **target}
    assert receipt.exact == (receipt.relative_diff <= receipt.tolerance)
    if receipt.exact:
        assert abs(receipt.loss_after - receipt.loss_before) < 1e-4
    loss = model.train_on_batch(x, x)
    assert np.isfinite(loss)
