"""Swin and ResNet: stages of their own widths, grown and measured."""

import json
import re

import keras
import numpy as np
import pytest
from helpers.toy import (
    DEPTH,
    FAN_IN,
    array,
    assert_close,
    give_zeros,
    outputs,
    randomize,
    relative_difference,
    values_of,
)

from kgrow import GrowthError, strategies
from kgrow.algebra import tolerance
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.architecture.output_check import difference
from kgrow.backend.flops import forward_flops
from kgrow.backend.lazy_variables import without_values
from kgrow.growth.gates import carry_gates
from kgrow.layers.attention.window_partition import shifted_window_mask
from kgrow.layers.masked.conv2d import MaskedConv2D
from kgrow.models.resnet import ResNet, ResNetNetwork
from kgrow.models.swin import Swin, SwinNetwork

# Mostly compilation; `test_families` runs each family on every backend.
pytestmark = pytest.mark.compiles

SWIN, RESNET = Swin.example.sizes, ResNet.example.sizes
BOTTLENECK = dict(RESNET, depths=[3, 3], bottleneck=True, stem_filters=8)
LARGE = dict(RESNET, stem="large", image_size=16)
MODELS = {
    "swin": (Swin, SWIN),
    "resnet": (ResNet, RESNET),
    "bottleneck": (ResNet, BOTTLENECK),
    "large": (ResNet, LARGE),
}
GROWTHS = {
    "swin-width": {
        "embed_dim": 16,
        "num_heads": [3, 4],
        "head_dim": [5, 7],
        "intermediate_dim": [13, 18],
        "num_classes": 9,
    },
    "swin-double": {
        "embed_dim": 16,
        "num_heads": [4, 6],
        "intermediate_dim": [20, 28],
    },
    "swin-no_multiple": {"embed_dim": 11},
    "swin-depth": {"depths": [2, 4]},
    "swin-all": {"embed_dim": 16, "num_heads": [3, 3], "depths": [4, 2]},
    "resnet-width": {
        "filters": [6, 9],
        "inner_filters": [7, 8],
        "num_classes": 9,
    },
    "resnet-double": {"filters": [8, 12], "inner_filters": [6, 10]},
    "resnet-depth": {"depths": [3, 5]},
    "resnet-all": {"filters": [6, 6], "depths": [2, 5]},
    "bottleneck-all": {
        "stem_filters": 11,
        "filters": [5, 9],
        "inner_filters": [4, 8],
        "depths": [4, 4],
    },
}
NAMES = pytest.mark.parametrize("name", MODELS)
ROUNDING = tolerance("float64", FAN_IN, DEPTH)


def make(name, **overrides):
    """A model with noise in every weight."""
    cls, config = MODELS[name]
    return randomize(cls(**{**config, **overrides}))


def train(model, epochs=1):
    """Trains on a few random images, which it returns with their labels."""
    x = model.network.example_inputs(4)
    y = np.arange(4)
    if not model.compiled:
        model.compile(
            keras.optimizers.Adam(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    history = model.fit(x, y, batch_size=2, epochs=epochs, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    return x, y


_sources, _targets = {}, {}


def measure(growth, strategy):
    """The plan, its claims, and how far the outputs lie apart."""
    name = growth.split("-")[0]
    if name not in _sources:
        _sources[name] = make(name, dtype="float64")
    model = _sources[name]
    source = model.architecture
    if growth not in _targets:
        network, spec = source.build(source.check(GROWTHS[growth]))
        _targets[growth] = give_zeros(network), spec
    network, spec = _targets[growth]
    strategy = strategies.get(strategy)
    plan = strategy.plan(source.spec, spec, seed=3)
    values = plan.apply(values_of(model))
    network.gates.set_active_gates([])
    carry_gates(network, model.network, plan)
    for weight in grown_weights(network):
        weight.assign(values[relative_path(network, weight)])
    x = network.example_inputs(3)
    before, after = outputs(model.network, x), outputs(network, x)
    _, relative = difference([before], [after], plan)
    return plan, strategy.claims(plan), relative


@pytest.mark.sample
@pytest.mark.parametrize("strategy", strategies.names(aliases=False))
@pytest.mark.parametrize("growth", GROWTHS)
def test_the_function_is_kept_exactly_where_it_is_claimed(
    float64, growth, strategy
):
    """A strategy that cannot do a growth says so, and what to do instead."""
    try:
        plan, stated, relative = measure(growth, strategy)
    except GrowthError as error:
        advice = "Combine|Choose|Use|Grow it by|cuts the kernels|Go to"
        assert re.search(advice, str(error)), error
        return
    assert {claim.dim for claim in stated} == set(plan.grown)
    exact = all(claim.exact for claim in stated)
    bound = ROUNDING + sum(claim.within for claim in stated)
    assert exact == (relative <= bound), (stated, relative)


@pytest.mark.sample
@pytest.mark.parametrize(
    "growth, strategy",
    [
        *((growth, "msg") for growth in GROWTHS),
        *((g, "net2net") for g in GROWTHS if g != "swin-no_multiple"),
        *((g, "lemon") for g in GROWTHS if g != "swin-no_multiple"),
        ("resnet-width", "direct"),
        ("resnet-double", "staged"),
        ("resnet-double", "hypercloning"),
        ("swin-double", "hypercloning"),
        ("swin-depth", "llama_pro"),
        ("resnet-depth", "llama_pro"),
    ],
)
def test_what_is_exact(float64, growth, strategy):
    _, stated, relative = measure(growth, strategy)
    assert all(claim.exact for claim in stated)
    assert relative <= ROUNDING


@pytest.mark.sample
@pytest.mark.parametrize(
    "growth", ["resnet-width", "resnet-all", "bottleneck-all"]
)
@pytest.mark.parametrize("strategy", ["net2net", "lemon", "msg"])
def test_batch_statistics_are_copied_too(float64, growth, strategy):
    """In training as well it is the same function, and stays so in what the
    norms remember of it."""
    measure(growth, strategy)
    model = _sources[growth.split("-")[0]]
    network, _ = _targets[growth]
    x = network.example_inputs(6, seed=5)
    kept = values_of(model)
    before, after = (array(n(x, training=True)) for n in (model, network))
    assert_close(after[:, : before.shape[1]], before)
    # What the norms remember of that batch is the same as well. (A gate has
    # opened by a step.)
    before, after = (array(n(x, training=False)) for n in (model, network))
    for weight in grown_weights(model.network):
        weight.assign(kept[relative_path(model.network, weight)])
    if strategy != "msg":
        assert_close(after[:, : before.shape[1]], before)


def test_shifted_windows_keep_their_places():
    wrong = strategies.StackingList([0, 0, 1, 1], zero_exits=True)
    with pytest.raises(GrowthError, match="modulo 2"):
        make("swin").grow({"depths": [2, 4]}, wrong)
    with pytest.raises(GrowthError, match="multiples of 2"):
        make("swin").grow({"depths": [2, 5]})


@pytest.mark.sample
@pytest.mark.parametrize("strategy", ["net2net", "lemon", "msg", "ligo"])
@pytest.mark.parametrize("name", ["swin", "resnet", "bottleneck"])
def test_it_grows_while_it_trains(name, strategy, tmp_path):
    """Width and depth at once, into a file and out of it."""
    model = make(name)
    data = train(model)
    target = GROWTHS["swin-all" if name == "swin" else f"{name}-all"]
    chosen = strategies.LiGO(steps=2) if strategy == "ligo" else strategy
    receipt = model.grow(target, chosen, data=data, seed=0)
    assert receipt.exact == (strategy != "ligo")
    assert {f: model.growth_config[f] for f in target} == target
    x, _ = train(model, epochs=2)
    before = array(model(x))
    for file in ("model.keras", "model.weights.h5"):
        if file.endswith("keras"):
            model.save(tmp_path / file)
            loaded = keras.saving.load_model(tmp_path / file)
        else:
            model.save_weights(tmp_path / file)
            loaded = make(name)
            loaded.load_weights(tmp_path / file)
        assert loaded.growth_config == model.growth_config
        np.testing.assert_array_equal(array(loaded(x)), before)


@pytest.mark.sample
@pytest.mark.parametrize("strategy", ["msg", "direct", "net2net"])
@pytest.mark.parametrize(
    "name, depths, target",
    [("resnet", [2, 1], [2, 3]), ("swin", [2, 0], [2, 2])],
)
def test_a_stage_without_a_block_to_copy(name, depths, target, strategy):
    """New blocks there are the layers' own; a projection is not copied."""
    model = make(name, depths=depths)
    if strategy == "net2net":
        with pytest.raises(GrowthError, match="Use 'direct' or 'random'"):
            model.grow({"depths": target}, strategy)
        return
    data = train(model)
    assert model.grow({"depths": target}, strategy, data=data, seed=0).exact
    train(model)


@pytest.mark.parametrize("name", ["swin", "resnet"])
def test_only_what_is_new_may_train(name):
    model = make(name)
    train(model)
    before = values_of(model)
    assert model.grow({"depths": [2, 4]}, trainable="new", seed=0).exact
    train(model)
    for path in ("head/kernel", "head/bias"):
        np.testing.assert_array_equal(values_of(model)[path], before[path])


@pytest.mark.parametrize("name", ["swin", "bottleneck"])
def test_what_is_behind_a_gate_comes_in_gradually(name):
    model = make(name)
    x, _ = train(model)
    before = array(model(x))
    target = GROWTHS[f"{name}-all"]
    assert model.grow(target, strategies.MSG(ramp=4), seed=0).exact
    assert relative_difference(array(model(x)), before) < 1e-4
    train(model, epochs=2)
    assert model.active_gates == []
    assert model.strip().gates.counters == []


@pytest.mark.sample
@NAMES
@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16"])
def test_it_trains_under_every_dtype_policy(name, policy, request):
    if policy == "float64":
        request.getfixturevalue("float64")
    model = make(name, dtype=policy)
    x, _ = train(model, epochs=2)
    y = model(x)
    assert tuple(y.shape) == (4, 7)
    dtype = keras.backend.standardize_dtype(y.dtype)
    assert dtype == model.network.compute_dtype
    symbolic = model.network(keras.Input(x.shape[1:]))
    assert symbolic.shape == (None, 7) and symbolic.dtype == dtype


@NAMES
def test_config_rebuilds_the_model(name):
    model = make(name)
    config = json.loads(json.dumps(model.get_config()))
    twin = type(model).from_config(config)
    assert twin.get_config() == config
    assert [relative_path(twin.network, w) for w in twin.weights] == [
        relative_path(model.network, w) for w in model.weights
    ]
    assert twin.architecture.spec.sizes == model.architecture.spec.sizes


def test_how_swin_trains_is_a_treatment():
    model = make("swin")
    x, _ = train(model)
    model.set_training_options(dropout=0.1, drop_path=0.5)
    first, *_, last = [b for s in model.network.stages for b in s]
    assert first.drop_path == 0.0 and last.drop_path == 0.5
    before = array(model(x))
    assert np.any(array(model(x, training=True)) != before)
    model.grow({"depths": [4, 2]}, seed=0)
    assert_close(array(model(x)), before, "float32")
    assert model.network.stages[1][-1].drop_path == 0.5


def test_a_path_is_dropped_for_a_whole_image():
    (cls, config), rate = MODELS["swin"], 0.5
    block = cls(**config, drop_path=rate).network.stages[1][-1]
    x = np.ones((64, 2, 2, 16), "float32")
    y = array(block.feedforward_drop_path(x, training=True))
    assert set(np.unique(y)) == {0.0, 1 / (1 - rate)}
    assert np.all(y == y[:, :1, :1, :1])


SWINS = dict(embed_dim=96, num_heads=[3, 6, 12, 24])
PUBLISHED = {
    "swin_tiny": (SwinNetwork, dict(SWINS, depths=[2, 2, 6, 2])),
    "swin_small": (SwinNetwork, dict(SWINS, depths=[2, 2, 18, 2])),
    "resnet18": (
        ResNetNetwork,
        dict(filters=[64, 128, 256, 512], depths=[2, 2, 2, 2]),
    ),
    "resnet50": (
        ResNetNetwork,
        dict(
            filters=[256, 512, 1024, 2048],
            depths=[3, 4, 6, 3],
            bottleneck=True,
            stem_filters=64,
        ),
    ),
}


@pytest.mark.parametrize(
    "name, parameters, multiplications",
    [
        ("swin_tiny", 28_288_354, 4.5),
        ("swin_small", 49_606_258, 8.7),
        ("resnet18", 11_689_512, 1.8),
        ("resnet50", 25_557_032, 4.1),
    ],
)
def test_published_sizes(name, parameters, multiplications):
    """Parameters and billions of multiplications an image, as the authors'
    code and torchvision state them."""
    cls, config = PUBLISHED[name]
    with without_values():
        network = cls(1000, **config)
    count = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    assert count == parameters
    flops = forward_flops(network, (1, 224, 224, 3))
    assert round(flops / 2e9, 1) == multiplications


def test_resnet_takes_images_of_any_size():
    model = make("large")
    for size in (15, 16, 33):
        assert model(np.zeros((1, size, size + 2, 3))).shape == (1, 7)


def test_zeros_are_set_on_both_sides():
    """The same output for an image and its mirror, at even sizes too."""
    layer = MaskedConv2D(
        1, 3, strides=1, padding="centered", kernel_initializer="ones"
    )
    x = np.random.default_rng(0).standard_normal((1, 6, 6, 1))
    y = array(layer(x))
    same = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="ones")
    assert_close(y, array(same(x)), "float32")
    layer = MaskedConv2D.from_config({**layer.get_config(), "strides": 2})
    assert_close(array(layer(x)), y[:, ::2, ::2], "float32")
    with pytest.raises(GrowthError, match="odd size. Received: kernel_size=2"):
        MaskedConv2D(1, 2, padding="centered")


def test_neighbours_in_a_rolled_image_are_those_of_the_image():
    size, shift, side = 4, 2, 8
    mask = shifted_window_mask(side, side, size, shift)
    places = np.stack(np.divmod(np.arange(side**2), side), -1)
    rolled = np.roll(
        places.reshape(side, side, 2), (-shift, -shift), axis=(0, 1)
    )
    windows = rolled.reshape(2, size, 2, size, 2).swapaxes(1, 2)
    windows = windows.reshape(4, size**2, 2)
    apart = np.abs(windows[:, :, None] - windows[:, None]).max(-1)
    np.testing.assert_array_equal(mask, apart < size)


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("swin", {"depths": 2}, "`depths` is a list.*Received: depths=2"),
        ("swin", {"num_heads": [2]}, "there are 2 stages"),
        ("swin", {"num_heads": [2, 0]}, r"`num_heads\[1\]` must be an integer"),
        ("swin", {"image_size": 9}, "whole patches. Received: image_size=9"),
        ("swin", {"window_size": 3}, "a map of 4 x 4, window_size=3"),
        ("swin", {"image_size": 6}, "whole windows.*a map of 3 x 3"),
        ("swin", {"head_dim": None}, r"16 features and num_heads\[1\]=3"),
        ("swin", {"drop_path": 1.0}, "`drop_path` must be a number from 0 to"),
        ("swin", {"image_size": 2}, "even height and width.*1 x 1"),
        ("resnet", {"stem": "tiny"}, "one of .*Received: stem='tiny'"),
        ("resnet", {"depths": [1, 0]}, r"`depths\[1\]` must be an integer"),
        ("resnet", {"inner_filters": [1]}, "there are 2 stages"),
    ],
)
def test_arguments_are_checked(name, overrides, message):
    with pytest.raises(GrowthError, match=message):
        make(name, **overrides)


def test_swin_equals_keras_hub():
    keras_hub = pytest.importorskip("keras_hub")
    sizes = dict(embed_dim=8, patch_size=2, window_size=4)
    lists = dict(depths=[2, 2], num_heads=[2, 4])
    backbone = keras_hub.models.SwinTransformerBackbone(
        image_shape=(16, 16, 3), drop_path=0.0, **sizes, **lists
    )
    randomize(backbone)
    network = SwinNetwork(3, image_size=16, **sizes, **lists)
    for weight, value in zip(
        network.trainable_weights, _converted(backbone), strict=False
    ):
        weight.assign(value)
    x = network.example_inputs(2)
    actual = array(network.encode(x))
    expected = array(backbone(x))
    assert_close(actual.reshape(expected.shape), expected, "float32")


def _converted(backbone):
    """A KerasHub backbone's values in the order of the network's weights."""
    embedding = backbone.patch_embedding
    for layer in (embedding.proj, embedding.norm):
        yield from map(array, layer.weights)
    merging = []
    for stage in backbone.stages:
        for block in stage.blocks:
            yield from _converted_block(block)
        if stage.downsample is not None:
            merging += [*stage.downsample.norm.weights]
            merging += [*stage.downsample.reduction.weights]
    yield from map(array, merging)
    yield from map(array, backbone.norm.weights)


def _converted_block(block):
    heads, size = block.attn.num_heads, block.attn.head_dim
    yield from map(array, block.norm1.weights)
    for part in range(3):
        for packed in map(array, block.attn.qkv.weights):
            shape = (*packed.shape[:-1], 3, heads, size)
            yield packed.reshape(shape)[..., part, :, :]
    yield array(block.attn.relative_position_bias_table)
    kernel, bias = map(array, block.attn.proj.weights)
    yield kernel.reshape(heads, size, -1)
    yield bias
    for layer in (block.norm2, block.mlp.fc1, block.mlp.fc2):
        yield from map(array, layer.weights)
