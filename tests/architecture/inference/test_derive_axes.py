"""What can grow is read off a network's own computation."""

import keras
import numpy as np
import pytest
from helpers import routed as experts
from keras import layers, ops

import kgrow
from kgrow import AxisMap, Dim, GrowthError
from kgrow.algebra.axes import Axes
from kgrow.architecture.inference.blocks import find_stacks
from kgrow.architecture.inference.verification import verify
from kgrow.architecture.recipes import recipe_of

BACKEND = keras.backend.backend()
pytestmark = pytest.mark.compiles
_on_jax = pytest.mark.skipif(
    BACKEND != "jax", reason="elsewhere a process for each of these derives"
)


def jax_only(test):
    return pytest.mark.each(_on_jax(test))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))


def derived(build, check=True, **config):
    return kgrow.derive(kgrow.ModelBuilder(build, config), check=check)


def rules(axes):
    return {path: str(a) for path, a in axes.rules.items()}


def dense(units, name, **options):
    return layers.Dense(units, name=name, **options)


# --- phenomena ----------------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
def packed(hidden, heads):
    """One kernel makes queries, keys and values."""
    inputs = keras.Input((5, 4))
    x = dense(hidden, "stem")(inputs)
    size = hidden // heads
    qkv = ops.reshape(dense(3 * hidden, "qkv")(x), (-1, 5, 3, heads, size))
    query, key, value = (qkv[:, :, i] for i in range(3))
    scores = ops.einsum("bqhd,bkhd->bhqk", query, key) * size**-0.5
    mixed = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores), value)
    x = x + dense(hidden, "proj")(ops.reshape(mixed, (-1, 5, hidden)))
    return keras.Model(inputs, dense(2, "head")(x))


@keras.saving.register_keras_serializable("tests")
def separate(hidden, heads, size):
    """Queries, keys and values from kernels of two axes each."""
    inputs = keras.Input((5, 4))
    x = dense(hidden, "stem")(inputs)
    query, key, value = (
        ops.reshape(dense(heads * size, name)(x), (-1, 5, heads, size))
        for name in ("query", "key", "value")
    )
    scores = ops.einsum("bqhd,bkhd->bhqk", query, key)
    mixed = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores), value)
    mixed = ops.reshape(mixed, (-1, 5, heads * size))
    x = x + dense(hidden, "proj")(mixed)
    return keras.Model(inputs, dense(2, "head")(x))


@keras.saving.register_keras_serializable("tests")
def grouped(hidden, queries, shared):
    """Several queries share a key."""
    inputs = keras.Input((5, 4))
    x = dense(hidden, "stem")(inputs)
    x = layers.GroupQueryAttention(6, queries, shared, name="attention")(x, x)
    return keras.Model(inputs, dense(2, "head")(x))


@keras.saving.register_keras_serializable("tests")
def tied(vocab, hidden):
    """The embedding is read by the head as well, behind a norm."""
    inputs = keras.Input((5,), dtype="int32")
    embedding = layers.ReversibleEmbedding(vocab, hidden, name="tokens")
    x = embedding(inputs)
    x = layers.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, embedding(x, reverse=True))


@keras.saving.register_keras_serializable("tests")
class Factor(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), name="factor")

    def call(self, inputs):
        return inputs * self.factor


@keras.saving.register_keras_serializable("tests")
def scaled(hidden):
    """A branch is multiplied entry by entry, without a norm."""
    inputs = keras.Input((4,))
    x = dense(hidden, "stem")(inputs)
    x = x + Factor(name="scale")(dense(hidden, "branch")(x))
    return keras.Model(inputs, dense(2, "head")(x))


@keras.saving.register_keras_serializable("tests")
def concatenated(one, two):
    """What two layers make is joined."""
    inputs = keras.Input((4,))
    x = [dense(one, "one")(inputs), dense(two, "two")(inputs)]
    return keras.Model(inputs, dense(2, "head")(layers.Concatenate()(x)))


@keras.saving.register_keras_serializable("tests")
def separable(filters):
    """Each channel has a kernel of its own, and a batch norm."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(filters, 3, name="stem")(inputs)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling2D()(ops.relu(x))
    return keras.Model(inputs, dense(2, "head")(x))


@keras.saving.register_keras_serializable("tests")
def rotary(size):
    """Entries of a head are turned by frequencies of their own."""
    inputs = keras.Input((5, 4))
    turned = []
    for name in ("query", "key"):
        x = dense(size, name)(inputs)
        angles = np.arange(5)[:, None] * 0.1 ** np.arange(size // 2)
        angles = ops.convert_to_tensor(angles, x.dtype)
        one, two = x[..., : size // 2], x[..., size // 2 :]
        cos, sin = ops.cos(angles), ops.sin(angles)
        turned.append([one * cos - two * sin, two * cos + one * sin])
    query, key = (ops.concatenate(t, axis=-1) for t in turned)
    scores = ops.einsum("bqd,bkd->bqk", query, key)
    return keras.Model(inputs, dense(2, "head")(scores))


@keras.saving.register_keras_serializable("tests")
def multiplied(vocab, hidden):
    """The embedding is multiplied by the root of its size."""
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(vocab, hidden, name="tokens")(inputs)
    return keras.Model(inputs, dense(2, "head")(x * hidden**0.5))


@keras.saving.register_keras_serializable("tests")
def shifted(depth, units):
    """Every second block moves tokens on."""
    inputs = keras.Input((6, 4))
    x = dense(8, "stem")(inputs)
    for block in range(depth):
        y = ops.roll(x, 2, axis=1) if block % 2 else x
        y = dense(units, f"block_{block}_inner", activation="relu")(y)
        x = x + dense(8, f"block_{block}_outer")(y)
    return keras.Model(inputs, dense(2, "head")(x))


@keras.saving.register_keras_serializable("tests")
def chosen(hidden, units):
    """The largest entry decides, and a part of the rest is taken."""
    inputs = keras.Input((4,))
    x = dense(hidden, "stem")(inputs)
    x = x * ops.cast(x >= ops.max(x, axis=-1, keepdims=True), x.dtype)
    return keras.Model(inputs, dense(2, "head")(dense(units, "free")(x)))


@keras.saving.register_keras_serializable("tests")
def bare(hidden):
    """A stream is read behind a norm, and without one."""
    inputs = keras.Input((4,))
    x = dense(hidden, "stem")(inputs)
    y = layers.LayerNormalization(name="norm")(x)
    x = x + dense(hidden, "branch")(y)
    return keras.Model(inputs, dense(2, "head")(x))


@keras.saving.register_keras_serializable("tests")
def counted(units, shift):
    """The logarithm of numbers that may be zero."""
    inputs = keras.Input((4,), dtype="int32")
    x = ops.log(ops.cast(inputs, "float32") - shift)
    x = ops.concatenate([x[:, :0], x], axis=1)
    x = dense(units, "inner", activation="tanh")(x)
    return keras.Model(inputs, dense(2, "outer")(x))


@keras.saving.register_keras_serializable("tests")
def recurrent(units, hidden, kind="LSTM"):
    """A recurrent layer, and a head that is none."""
    inputs = keras.Input((5, 4))
    x = getattr(layers, kind)(units, name="cell")(inputs)
    return keras.Model(inputs, dense(2, "head")(dense(hidden, "inner")(x)))


@jax_only
@pytest.mark.parametrize(
    "kind", ["LSTM", pytest.param("GRU", marks=pytest.mark.slow)]
)
def test_recurrent_layers_keep_their_size_and_say_why(kind):
    axes = derived(recurrent, units=6, hidden=8, kind=kind)
    assert "hidden" in axes.dims and "units" not in axes.dims
    builder = kgrow.ModelBuilder(
        recurrent, {"units": 6, "hidden": 8, "kind": kind}
    )
    model = kgrow.GrowableModel(builder)
    assert model.grow({"hidden": 11}).exact
    with pytest.raises(GrowthError, match="`units`.*recurrent layers"):
        model.grow({"units": 9})


@jax_only
def test_packed_projections():
    axes = derived(packed, hidden=8, heads=2)
    found = rules(axes)
    assert found["stem/kernel"] == "_ -> hidden"
    # A query is produced where a key is consumed, which the axes of one kernel
    # cannot say: the size of a head stays.
    assert found["qkv/kernel"] == "hidden -> (3 heads 4)"
    assert found["proj/kernel"] == "(heads 4) -> hidden"
    assert "make it and read it" in axes.notes["hidden"][0]


@jax_only
def test_an_axis_has_one_side():
    # Keys are on the other side than their heads, in one axis.
    axes = derived(separate, hidden=8, heads=2, size=4)
    found = rules(axes)
    assert found["key/kernel"] == found["query/kernel"]
    assert found["key/kernel"] == "hidden -> (heads 4)"
    assert found["value/kernel"] == "hidden -> (heads 4)"
    assert list(axes.dims) == ["hidden", "heads"]
    assert "on the other side" in axes.notes["size"][0]


@jax_only
def test_grouped_queries():
    axes = derived(grouped, hidden=12, queries=6, shared=3)
    query = axes.rules["attention/query/kernel"].axes[1]
    key = axes.rules["attention/key/kernel"].axes[1]
    assert len(query.factors) == 2 and key.factors == query.factors[:1]
    fields = [axes.dims[name].field for name in query.factors]
    assert fields == ["shared", "queries"]


@jax_only
def test_tied_embeddings_are_read_in_the_dual_space():
    axes = derived(tied, vocab=16, hidden=8)
    found = rules(axes)
    assert found["tokens/embeddings"] == "-> vocab hidden"
    assert found["norm/gamma"] == str(Axes.parse("-> ~hidden | scale"))
    assert found["norm/beta"] == str(Axes.parse("-> ~hidden | offset"))
    assert axes.dims["vocab"].kind == "lookup"
    assert axes.dims["hidden"].norm == "layer"
    assert [str(o) for o in axes.outputs] == ["_ _ -> vocab"]


@jax_only
def test_what_multiplies_entry_by_entry_is_a_factor():
    assert rules(derived(scaled, hidden=8))["scale/factor"] == (
        "-> hidden | elementwise"
    )
    found = rules(derived(separable, filters=8))
    assert found["depthwise/kernel"] == "_ _ -> filters _ | elementwise"
    for name in ("gamma", "moving_variance"):
        assert found[f"norm/{name}"] == "-> filters | elementwise"
    assert found["norm/moving_mean"] == "-> filters"


@jax_only
def test_parts_of_unlike_sizes_are_pinned():
    axes = derived(concatenated, one=6, two=8)
    assert rules(axes)["one/kernel"] == "_ _ ->"
    assert "joined" in axes.notes["one"][0]


@jax_only
def test_what_a_constant_or_an_order_tells_apart_is_pinned():
    axes = derived(rotary, size=8)
    assert not axes.dims and axes.notes["size"]
    axes = derived(chosen, hidden=8, units=6)
    assert rules(axes)["stem/kernel"] == "_ _ ->"
    assert "units" in axes.dims and "hidden" not in axes.dims


@jax_only
@pytest.mark.parametrize("scores", ["all", "taken"])
def test_experts_of_normalized_scores_are_a_dimension(scores):
    config = {"experts": 4, "top_k": 2, "units": 3, "scores": scores}
    axes = derived(experts.routed, **config)
    assert axes.dims["experts"] == Dim("experts", norm="softmax", top_k="top_k")
    found = rules(axes)
    # The sum over experts consumes.
    for path in ("moe/router/kernel", "moe/inner", "moe/outer"):
        assert found[path] == experts.RULES[path]


@jax_only
def test_experts_whose_scores_are_not_normalized_stay():
    config = {"experts": 4, "top_k": 2, "units": 3, "scores": "none"}
    axes = derived(experts.routed, **config)
    assert "experts" not in axes.dims and "units" in axes.dims
    assert "largest entries" in axes.notes["experts"][0]


@jax_only
def test_scales_that_depend_on_a_size_are_made_good():
    axes = derived(multiplied, vocab=16, hidden=8)
    assert rules(axes)["tokens/embeddings"] == "-> vocab hidden | hidden^-0.5"


@jax_only
def test_blocks_that_take_turns():
    (stack,) = derived(shifted, depth=4, units=6).stacks.values()
    assert (stack.field, stack.period, stack.norm) == ("depth", 2, "pre")


@jax_only
@pytest.mark.parametrize(
    "build, config, target",
    [
        (packed, {"hidden": 8, "heads": 2}, {"hidden": 16, "heads": 4}),
        (scaled, {"hidden": 8}, {"hidden": 13}),
        (separable, {"filters": 8}, {"filters": 13}),
        (tied, {"vocab": 16, "hidden": 8}, {"hidden": 16}),
        (multiplied, {"vocab": 16, "hidden": 8}, {"hidden": 13}),
        (shifted, {"depth": 2, "units": 6}, {"depth": 4, "units": 9}),
    ],
)
def test_what_was_derived_grows_exactly(build, config, target):
    model = kgrow.GrowableModel(kgrow.ModelBuilder(build, config))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        noise = 0.1 * np.abs(rng.standard_normal(weight.shape))
        weight.assign(np.asarray(weight) + noise)
    strategy = "identity" if "depth" in target else "net2net"
    widths = {k: v for k, v in target.items() if k != "depth"}
    for part, name in ((widths, "net2net"), ({**target}, strategy)):
        receipt = model.grow(part, name, seed=0)
        assert receipt.exact, receipt.claims
        assert receipt.relative_diff <= receipt.tolerance


# --- post-norm blocks, and whole families -------------------------------------


@jax_only
def test_norms_behind_additions():
    network = kgrow.models.BERT(
        vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8,
        intermediate_dim=12, max_sequence_length=8,
    ).network  # fmt: skip
    axes = kgrow.derive(network, check=False)
    flags = {
        "attention_norm" if a.attention_norm else "ffn_norm"
        for path, a in axes.rules.items()
        if a.attention_norm or a.ffn_norm
    }
    assert flags == {"attention_norm", "ffn_norm"}
    (stack,) = axes.stacks.values()
    assert stack.norm == "post"


def test_another_process_derives():
    network = kgrow.models.GPT2(
        vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8,
        intermediate_dim=12, max_sequence_length=8,
    ).network  # fmt: skip
    if BACKEND == "jax":
        from kgrow.architecture.inference.subprocess import derive_remotely

        axes = AxisMap.from_config(derive_remotely(recipe_of(network)))
    else:
        axes = kgrow.derive(network, check=False)
    block = "transformer_layer_{transformer_layer}"
    rule = axes.rules[f"{block}/feedforward_intermediate_dense/kernel"]
    assert str(rule) == "hidden -> ffn"
    assert kgrow.GrowableModel(network, axes).growth_config["num_layers"] == 2


# --- the check ----------------------------------------------------------------


def test_a_wrong_map_is_refused():
    recipe = kgrow.ModelBuilder(scaled, {"hidden": 8})
    right = {
        "stem/kernel": "_ -> hidden",
        "stem/bias": "-> hidden",
        "branch/kernel": "hidden -> hidden",
        "branch/bias": "-> hidden",
        "scale/factor": "-> hidden | elementwise",
        "head/kernel": "hidden -> _",
        "head/bias": "-> _",
    }
    dims = [Dim("hidden", kind="stream")]
    verify(recipe, AxisMap(right, dims))
    wrong = {**right, "scale/factor": "-> _"}
    with pytest.raises(GrowthError, match="do not hold"):
        verify(recipe, AxisMap(wrong, dims))


def test_a_map_with_the_sides_exchanged_is_refused():
    """All may be permuted, and what reads copies would not take shares."""
    recipe = kgrow.ModelBuilder(counted, {"units": 6, "shift": 0})
    right = {
        "inner/kernel": "_ -> units",
        "inner/bias": "-> units",
        "outer/kernel": "units -> _",
        "outer/bias": "-> _",
    }
    verify(recipe, AxisMap(right))
    wrong = {p: rule.replace("units", "~units") for p, rule in right.items()}
    with pytest.raises(GrowthError, match=r"grown along \['units'\]"):
        verify(recipe, AxisMap(wrong))


def test_outputs_that_are_not_finite_are_refused():
    recipe = kgrow.ModelBuilder(counted, {"units": 6, "shift": 2})
    with pytest.raises(GrowthError, match="not finite"):
        verify(recipe, AxisMap({".*kernel": "_ _ ->", ".*bias": "_ ->"}))


@jax_only
def test_a_stream_that_is_read_without_its_norm_is_copied():
    assert derived(bare, check=False, hidden=8).dims["hidden"].kind == "stream"
    assert derived(bare, hidden=8).dims["hidden"].kind == "nonlinear"
    model = kgrow.GrowableModel(kgrow.ModelBuilder(bare, {"hidden": 8}))
    assert not model.grow({"hidden": 12}, "lemon", seed=0).exact


def test_networks_without_fields_are_refused():
    plain = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(GrowthError, match="ModelBuilder"):
        kgrow.derive(plain)


@jax_only
def test_what_cannot_be_traced_says_so():
    @keras.saving.register_keras_serializable("tests")
    def broken(units):
        inputs = keras.Input((None, 4))
        x = dense(units, "stem")(inputs)
        fixed = keras.random.normal((1, 3, units), seed=1)
        return keras.Model(inputs, layers.Lambda(lambda t: t + fixed)(x))

    with pytest.raises(GrowthError, match="pass `inputs=`"):
        derived(broken, units=4)


# --- names --------------------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
def nameless(units):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(units, activation="relu"),
            layers.Dense(2),
        ]
    )


def test_made_up_names_are_counted_in_each_network():
    first = kgrow.ModelBuilder(nameless, {"units": 6}).make()
    second = kgrow.ModelBuilder(nameless, {"units": 6}).make()
    axes = {
        "dense/kernel": "_ -> units",
        "dense/bias": "-> units",
        "dense_1/kernel": "units -> _",
        "dense_1/bias": "-> _",
    }
    for network in (first, second):
        model = kgrow.GrowableModel(network, axes)
        assert model.grow({"units": 9}, seed=0).exact


@keras.saving.register_keras_serializable("tests")
class ByHand(layers.Layer):
    """Builds its inner layer before it is built itself."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.inner = dense(units, "inner")
        self.inner.build((None, 4))
        self.outer = dense(4, "outer")
        self.outer.build((None, units))

    def call(self, inputs):
        return inputs + self.outer(self.inner(inputs))


@keras.saving.register_keras_serializable("tests")
def built_by_hand(units, depth):
    x = inputs = keras.Input((4,))
    for block in range(depth):
        x = ByHand(units, name=f"block_{block}")(x)
    return keras.Model(inputs, x)


@jax_only
def test_blocks_whose_variables_share_a_path():
    recipe = kgrow.ModelBuilder(built_by_hand, {"units": 6, "depth": 2})
    assert "inner/kernel" in recipe.make().weights[0].path
    axes = kgrow.derive(recipe)
    assert list(axes.stacks) == ["block"]
    assert rules(axes)["block_{block}/inner/kernel"] == "_ -> units"
    model = kgrow.GrowableModel(recipe, axes)
    assert model.grow({"units": 9, "depth": 4}, "lemon", seed=0).exact


# --- networks in networks -----------------------------------------------------


@keras.saving.register_keras_serializable("tests")
class Inner(keras.Model):
    def __init__(self, units, **options):
        inputs = keras.Input((4,))
        x = dense(units, "inner", activation="relu")(inputs)
        super().__init__(inputs, dense(3, "outer")(x), **options)
        self.units = units

    def get_config(self):
        return {"units": self.units, "name": self.name}


@keras.saving.register_keras_serializable("tests")
class Outer(keras.Model):
    def __init__(self, encoder, units, **options):
        x = dense(units, "head", activation="relu")(encoder.output)
        outputs = dense(2, "classes")(x)
        super().__init__(encoder.input, outputs, **options)
        self.encoder, self.units = encoder, units

    def get_config(self):
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {"encoder": encoder, "units": self.units, "name": self.name}

    @classmethod
    def from_config(cls, config):
        encoder = keras.saving.deserialize_keras_object(config.pop("encoder"))
        return cls(encoder, **config)


@pytest.mark.slow
def test_sizes_of_a_network_in_a_network_grow():
    network = Outer(Inner(5, name="encoder"), 6, name="outer")
    axes = kgrow.derive(network)
    assert {d.field for d in axes.dims.values()} == {"units", "encoder.units"}
    model = kgrow.GrowableModel(network, axes)
    assert model.grow({"encoder.units": 8, "units": 9}, seed=0).exact
    assert model.network.encoder.units == 8
    assert model.growth_config == {"encoder.units": 8, "units": 9}


def test_a_stack_needs_like_blocks():
    before = {"block_0/w": (3,), "block_1/w": (4,)}
    after = {**before, "block_2/w": (4,)}
    assert find_stacks("depth", before, after) == []
