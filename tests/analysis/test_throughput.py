"""The benchmark of throughput: the same network three times."""

import importlib
import json

import keras
import numpy as np
import pytest
from helpers.paths import BENCHMARKS

import kgrow
from kgrow.algebra.rounding import tolerance
from kgrow.backend.flops import training_flops

pytestmark = pytest.mark.once

SIZES = dict(
    vocabulary_size=53,
    num_layers=3,
    num_heads=4,
    hidden_dim=32,
    intermediate_dim=128,
    max_sequence_length=24,
    dropout=0.0,
)
# The longest sum, and how many follow each other: four in a block, the head.
ROUNDING = tolerance("float32", fan_in=128, depth=4 * 3 + 1)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def on_torch():
    if keras.backend.backend() != "torch":
        pytest.skip("JAX and TensorFlow share no process with PyTorch")


def both(dropout=0.0):
    """kgrow's network, its weights far from their start, and the plain one."""
    plain_gpt2 = importlib.import_module("plain_gpt2")
    network = kgrow.models.GPT2(**SIZES).network
    rng = np.random.default_rng(0)
    for variable in network.weights:
        noise = 0.1 * rng.standard_normal(variable.shape)
        variable.assign_add(noise.astype("float32"))
    plain = plain_gpt2.PlainGPT2(
        SIZES["vocabulary_size"],
        SIZES["num_layers"],
        SIZES["num_heads"],
        SIZES["hidden_dim"],
        SIZES["max_sequence_length"],
        dropout,
    )
    weights = {
        v.path.partition("/")[2]: keras.ops.convert_to_numpy(v)
        for v in network.weights
    }
    plain.set_weights(weights)
    return network, plain, weights


def test_the_plain_network_is_the_same_function(on_torch):
    network, plain, _ = both()
    count = sum(p.numel() for p in plain.parameters())
    assert count == network.count_params()
    tokens = np.random.default_rng(1).integers(0, 53, (3, 17))
    import torch

    found = plain(torch.from_numpy(tokens)).detach().numpy()
    expected = keras.ops.convert_to_numpy(network(tokens))
    close = ROUNDING * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=close)


def test_its_gradients_are_the_same(on_torch):
    import torch

    network, plain, weights = both()
    tokens = np.random.default_rng(1).integers(0, 53, (3, 18))
    x, y = torch.from_numpy(tokens[:, :-1]), torch.from_numpy(tokens[:, 1:])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss(y, network(x)).backward()
    logits = plain(x).flatten(0, 1)
    torch.nn.functional.cross_entropy(logits, y.flatten()).backward()
    # The weights' own way over, for their gradients.
    theirs = {
        v.path.partition("/")[2]: v.value.grad.numpy() for v in network.weights
    }
    expected = both()[1]
    expected.set_weights(theirs)
    largest = max(np.abs(gradient).max() for gradient in theirs.values())
    for (name, ours), other in zip(
        plain.named_parameters(), expected.parameters(), strict=True
    ):
        np.testing.assert_allclose(
            ours.grad.numpy(),
            other.detach().numpy(),
            rtol=0,
            # Backwards, there are as many sums again.
            atol=2 * ROUNDING * largest,
            err_msg=name,
        )


def test_weights_that_do_not_fit_are_refused(on_torch):
    _, plain, weights = both()
    weights.pop("layer_norm/gamma")
    with pytest.raises(KeyError, match="layer_norm/gamma"):
        plain.set_weights(weights)


def test_flags_reach_the_other_process():
    throughput = importlib.import_module("throughput")
    task = importlib.import_module("gpt2_task")
    options = throughput.parse(
        ["--size", "gpt2", "--compile", "--layers", "3", "--rounds", "2"]
    )
    assert (options.hidden, options.layers, options.compile) == (768, 3, True)
    import argparse

    parser = argparse.ArgumentParser()
    task.add_model_flags(parser)
    passed = parser.parse_args(task.model_flags(options))
    assert vars(passed).items() <= vars(options).items()
    plain = throughput.parse(["--quick"])
    assert (plain.hidden, plain.compile) == (16, False)
    assert "--compile" not in task.model_flags(plain)


def test_rows_are_medians_of_rounds_and_of_their_ratios():
    throughput = importlib.import_module("throughput")
    options = throughput.parse(["--quick", "--peak-tflops", "2"])
    # 2 steps of 2 x 8 tokens a round.
    seconds = {"kgrow": [1.0, 2.0, 4.0], "keras_hub": [2.0, 2.0, 2.0]}
    ours, hub = throughput.summary(seconds, options, flops=3e12)
    assert ours == ["kgrow", 16, 1.0, 1.0, 1.0, 1.0, 3.0, 1.5]
    assert hub == ["keras_hub", 16, 1.0, 1.0, 0.5, 2.0, 3.0, 1.5]


@pytest.mark.slow
def test_three_models_of_one_size_take_turns(tmp_path):
    """The whole script, in miniature."""
    throughput = importlib.import_module("throughput")
    throughput.main(["--quick", "--results", str(tmp_path)])
    backend = keras.backend.backend()
    record = json.loads((tmp_path / f"throughput_{backend}.json").read_text())
    assert [row[0] for row in record["rows"]] == list(throughput.MODELS)
    assert all(row[1] > 0 for row in record["rows"])
    assert {len(r) for r in record["seconds_of_rounds"].values()} == {2}
    assert record["machine"]["cores"] >= 1
    assert len(record["machine"]["load_at_end"]) == 3
    assert record["flops_of_a_step"] == training_flops(
        kgrow.models.GPT2(**throughput.fields(throughput.parse(["--quick"]))),
        (2, 8),
        "int32",
    )
