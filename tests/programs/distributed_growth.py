"""Grows models on several devices; run by `test_device_layout.py`.

The devices of a process are set before its backend starts, so this is a
program of its own: eight devices on JAX, two on TensorFlow. Its arguments are
names of runs below; it prints one JSON line with what each of them found.
"""

import contextlib
import functools
import gc
import json
import os
import sys
import tempfile

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import keras  # noqa: E402
import numpy as np  # noqa: E402

import kgrow  # noqa: E402
from kgrow.strategies import LiGO, Mango  # noqa: E402

VOCABULARY, LENGTH = 16, 8
TARGET = {"hidden_dim": 24, "intermediate_dim": 48, "num_layers": 2}
# The small weights become squares twice as wide.
DOUBLE = {"hidden_dim": 32, "intermediate_dim": 64, "num_layers": 2}
SPLIT = {
    ".*token_embedding/embeddings": (None, "model"),
    ".*(query|key|value)/kernel": ("batch", "model", None),
    ".*(query|key|value)/bias": ("model", None),
    ".*attention_output/kernel": ("model", None, "batch"),
    ".*feedforward_intermediate_dense/kernel": (None, "model"),
    ".*feedforward_intermediate_dense/bias": ("model",),
    ".*feedforward_output_dense/kernel": ("model", None),
    r".*/layer_\d+/intermediate_dense/kernel": ("batch", "model"),
    r".*/layer_\d+/intermediate_dense/bias": ("model",),
    r".*/layer_\d+/output_dense/kernel": ("model", "batch"),
    ".*(inner|wide)/kernel": ("batch", "model"),
    ".*(inner|wide)/bias": ("model",),
    ".*outer/kernel": ("model", None),
}


def model_parallel():
    mesh = keras.distribution.DeviceMesh(
        (2, 4), ["batch", "model"], keras.distribution.list_devices("cpu")
    )
    layout = keras.distribution.LayoutMap(mesh)
    for path, axes in SPLIT.items():
        layout[path] = axes
    return keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch"
    )


def data_parallel():
    return keras.distribution.DataParallel(
        devices=keras.distribution.list_devices("cpu")
    )


class GrowOnce(keras.callbacks.Callback):
    """Grows the model when the first epoch is over."""

    def __init__(self, target, strategy, **options):
        super().__init__()
        self.target, self.strategy, self.options = target, strategy, options
        self.grown, self.watch = None, None

    def on_epoch_end(self, epoch, logs=None):
        if epoch:
            return
        with Watch(self.model) as self.watch:
            self.model.grow(self.target, self.strategy, seed=0, **self.options)
        self.grown = state(self.model)


class Watch:
    """What a growth brings to the host, and what each device holds in it."""

    def __init__(self, model):
        self.model = model
        self.fetched, self.common, self.peak = 0, 0, 0

    def __enter__(self):
        self._undo = contextlib.ExitStack()
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
            self._begin()
        return self

    def __exit__(self, *error):
        self._undo.close()
        if keras.backend.backend() == "jax":
            self.after = self.pieces()

    def _begin(self):
        from unittest import mock

        from jax._src.array import ArrayImpl

        from kgrow.growth import weight_transfer
        from kgrow.growth.optimizer import grow_state

        fetch = ArrayImpl._value

        def fetched(array):
            if array.is_fully_replicated:
                self.common = max(self.common, array.size)
            elif len(array.sharding.device_set) > 1:
                self.fetched = max(self.fetched, array.size)
            return fetch.fget(array)

        watched = mock.patch.object(ArrayImpl, "_value", property(fetched))
        self._undo.enter_context(watched)
        for module in (weight_transfer, grow_state):
            give = module.give_value

            def give_and_look(variable, value, give=give):
                give(variable, value)
                self.peak = max(self.peak, live_bytes())

            self._undo.enter_context(
                mock.patch.object(module, "give_value", give_and_look)
            )
        # What was thrown away before must not go while it is measured.
        gc.collect()
        self.start, self.before = live_bytes(), self.pieces()

    def pieces(self):
        """Bytes of the model's state on a device, and of its largest piece
        and its largest variable."""
        values = [
            v.value for v in [*self.model.network.weights, *slots(self.model)]
        ]
        sizes = [piece_bytes(v) for v in values]
        return sum(sizes), max(sizes), max(v.nbytes for v in values)


def slots(model):
    return model.optimizer.variables


def piece_bytes(array):
    shape = array.sharding.shard_shape(array.shape)
    return int(np.prod(shape)) * array.dtype.itemsize


def live_bytes():
    """Bytes of all arrays on the device that has most of them."""
    import jax

    held = {}
    for array in jax.live_arrays():
        for device in array.sharding.device_set:
            held[device] = held.get(device, 0) + piece_bytes(array)
    return max(held.values())


def state(model):
    """The weights and slots of a model, on the host."""
    to_numpy = keras.ops.convert_to_numpy
    variables = [*model.network.weights, *slots(model)]
    return [np.array(to_numpy(v), "float64") for v in variables]


def tokens():
    drawn = np.random.default_rng(0).integers(0, VOCABULARY, (8, LENGTH + 1))
    return drawn[:, :-1], drawn[:, 1:]


def language_model(family="GPT2", **sizes):
    keras.utils.set_random_seed(0)
    options = dict(
        vocabulary_size=VOCABULARY,
        num_layers=1,
        num_heads=4,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=LENGTH,
        dropout=0.0,
    )
    model = getattr(kgrow.models, family)(**{**options, **sizes})
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def blocks():
    """A stack of blocks that compiles fast."""
    keras.utils.set_random_seed(0)
    model = kgrow.models.MLP(
        input_dim=4,
        output_dim=3,
        hidden_dim=16,
        intermediate_dim=32,
        num_layers=1,
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def numbers():
    x = np.random.default_rng(0).standard_normal((8, 4)).astype("float32")
    return x, x[:, :3] ** 2


def fit(grow, make=language_model, data=tokens, **options):
    model = make()
    x, y = data()
    options = {"epochs": 2, "batch_size": 4, **options}
    history = model.fit(
        x, y, shuffle=False, verbose=0, callbacks=[grow], **options
    )
    return model, history.history["loss"]


def compared(distribution, strategy, target=TARGET, options=None, **rest):
    """One run without a distribution and one under it, side by side."""
    found = {}
    for name, active in (("single", None), ("several", distribution)):
        keras.distribution.set_distribution(active)
        grow = GrowOnce(target, strategy(), **(options or {}))
        model, losses = fit(grow, **rest)
        found[name] = {"losses": losses}
        if active is None:
            alone = grow.grown
    keras.distribution.set_distribution(None)
    watch = grow.watch
    held, piece, whole = watch.after
    return found | {
        "apart": apart(alone, grow.grown),
        "misplaced": misplaced(model, distribution),
        "fetched": watch.fetched,
        "common": watch.common,
        "smallest": smallest(model),
        "peak": watch.peak - watch.start,
        "grown": held,
        "piece": max(piece, watch.before[1]),
        "whole": whole,
        "active_gates": len(model.active_gates),
    }


def apart(one, other):
    """The largest difference of two states, relative to each variable."""
    assert [a.shape for a in one] == [b.shape for b in other]
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-6))
        for a, b in zip(one, other, strict=True)
        if a.size
    )


def misplaced(model, distribution):
    """Paths of weights and slots that lie elsewhere than the layout says."""
    layouts = {}
    for variable in model.network.weights:
        layout = distribution.get_variable_layout(variable).backend_layout
        layouts[variable.path] = variable, layout
    optimizer = model.optimizer
    for name in ("momentums", "_momentums", "_velocities"):
        for slot, variable in zip(
            getattr(optimizer, name, ()),
            optimizer._trainable_variables,
            strict=False,
        ):
            layouts[slot.path] = slot, layouts[variable.path][1]
    return [
        path
        for path, (variable, layout) in layouts.items()
        if not variable.value.sharding.is_equivalent_to(
            layout, variable.value.ndim
        )
    ]


def smallest(model):
    """Entries of the smallest matrix that a network has grown."""
    return min(v.value.size for v in model.network.weights if len(v.shape) > 1)


# JAX


def net2net():
    return compared(model_parallel(), lambda: "net2net")


def gates(**rest):
    from kgrow.strategies import MSG

    # Open, and gone, before the last step.
    options = {"make": blocks, "data": numbers, **rest}
    return compared(
        model_parallel(), lambda: MSG(ramp=2), epochs=3, batch_size=8, **options
    )


def ligo():
    """The weights that the operator is applied to are learned as well; some
    lie in pieces, others are on every device."""
    return compared(
        model_parallel(),
        learner(LiGO, tune_small=True),
        DOUBLE,
        {"data": numbers()},
        make=blocks,
        data=numbers,
    )


def frozen():
    """What was there is frozen, in whole variables and in parts of some."""
    return compared(
        model_parallel(),
        lambda: "net2net",
        {"intermediate_dim": 48, "num_layers": 2},
        {"trainable": "new"},
        make=blocks,
        data=numbers,
    )


def gates_gpt2():
    return gates(make=language_model, data=tokens)


def ligo_gpt2():
    return compared(model_parallel(), learner(LiGO), DOUBLE, {"data": tokens()})


def net2net_replicated():
    return compared(data_parallel(), lambda: "net2net", batch_size=8)


def ligo_tuned():
    return compared(
        model_parallel(),
        learner(LiGO, tune_small=True),
        DOUBLE,
        {"data": tokens()},
    )


def mango():
    # Heads of four, as before: it cuts into squares.
    target = {**DOUBLE, "num_heads": 8}
    return compared(
        model_parallel(), learner(Mango), target, {"data": tokens()}
    )


def lemon_bert():
    return compared(
        model_parallel(),
        lambda: "lemon",
        make=lambda: language_model("BERT"),
    )


def msg_learned():
    from kgrow.strategies import MSG

    return compared(
        model_parallel(),
        lambda: MSG(ramp=2, initializer=learner(LiGO)()),
        DOUBLE,
        {"data": tokens()},
    )


def learner(strategy, **options):
    return lambda: strategy(
        steps=2,
        optimizer=keras.optimizers.SGD(0.01),
        verbose=0,
        **options,
    )


def plain(make=None):
    """A plain network with matrices that are large for its batches."""
    x = np.random.default_rng(0).standard_normal((8, 64)).astype("float32")
    return compared(
        model_parallel(),
        lambda: "direct",
        {"inner": 192, "wide": 384},
        make=make or plain_model,
        data=lambda: (x, x[:, :8]),
    )


def derived():
    """The same, when nobody has said what its axes are: it is traced where
    its weights lie in pieces, and not found in a cache."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KERAS_HOME"] = folder
        found = plain(derived_model)
    return found


def build_plain(inner, wide):
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(inner, activation="relu", name="inner"),
            keras.layers.Dense(wide, activation="relu", name="wide"),
            keras.layers.Dense(8, name="outer"),
        ]
    )


def plain_model():
    keras.utils.set_random_seed(0)
    axes = {
        "inner/kernel": "_ -> inner",
        "inner/bias": "-> inner",
        "wide/kernel": "inner -> wide",
        "wide/bias": "-> wide",
        "outer/kernel": "wide -> _",
        "outer/bias": "-> _",
    }
    return compiled_plain(build_plain(128, 256), axes)


def derived_model():
    keras.utils.set_random_seed(0)
    sizes = {"inner": 128, "wide": 256}
    return compiled_plain(kgrow.ModelBuilder(build_plain, sizes))


def compiled_plain(network, axes=None):
    model = kgrow.GrowableModel(network, axes)
    model.compile(keras.optimizers.Adam(1e-3, use_ema=True), "mse")
    return model


def maps():
    """Random maps, applied in pieces and by numpy; what a device holds."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from kgrow.algebra.contraction import contract
    from kgrow.algebra.linear_maps import GatherMap, MatrixMap
    from kgrow.backend import jax_sharded_maps

    rng = np.random.default_rng(0)
    # As Keras makes one.
    devices = np.array(jax.devices()).reshape(2, 4)
    mesh = jax.sharding.Mesh(devices, ("batch", "model"))

    def gather(n, m):
        return GatherMap(n, rng.integers(-1, n, m), rng.uniform(0.5, 2, m))

    def dense(n, m):
        return MatrixMap(rng.standard_normal((m, n)))

    cases = [
        # (shape, spec, [(start, stop, target, [(size, map), ...]), ...])
        ((8, 16), ("batch", "model"), [
            (0, 1, (12,), [(8, gather(8, 12))]),
            (1, 2, (24,), [(16, gather(16, 24))])]),
        ((8, 16), ("model", None), [
            (0, 1, (12,), [(8, dense(8, 12))]),
            (1, 2, (20,), [(16, dense(16, 20))])]),
        # Three heads' worth in one axis, which the pieces cut anywhere.
        ((4, 3 * 4 * 2), (None, "model"), [
            (1, 2, (3 * 8 * 3,),
             [(3, None), (4, gather(4, 8)), (2, gather(2, 3))])]),
        ((4, 3 * 4 * 2), (None, "model"), [
            (1, 2, (3 * 8 * 3,),
             [(3, None), (4, dense(4, 8)), (2, gather(2, 3))])]),
        # One map over two axes, each of which is cut.
        ((4, 8, 6), ("model", "batch", None), [
            (0, 2, (8, 12), [(32, gather(32, 96))])]),
        ((4, 8, 6), ("model", "batch", None), [
            (0, 2, (8, 12), [(32, dense(32, 96))])]),
        # The other axis has no length that the pieces divide, or is missing.
        ((7, 16), (None, "model"), [(1, 2, (24,), [(16, gather(16, 24))])]),
        ((6, 16), ("batch", "model"), [(1, 2, (24,), [(16, dense(16, 24))])]),
        ((16,), ("model",), [(0, 1, (24,), [(16, gather(16, 24))])]),
    ]  # fmt: skip
    worst = 0.0
    for shape, spec, segments in cases:
        place = NamedSharding(mesh, PartitionSpec(*spec))
        value = rng.standard_normal(shape).astype("float32")
        made = jax_sharded_maps.contract(
            jax.device_put(value, place), segments, place
        )
        assert made.sharding.is_equivalent_to(place, made.ndim)
        sizes, found, axis = [], [], 0
        target = []
        for start, stop, wanted, inside in segments:
            sizes += [*shape[axis:start], *(n for n, _ in inside)]
            found += [None] * (start - axis) + [m for _, m in inside]
            target += [*shape[axis:start], *wanted]
            axis = stop
        sizes += shape[axis:]
        found += [None] * (len(shape) - axis)
        target += shape[axis:]
        plain = contract(value.reshape(sizes), found).reshape(target)
        error = np.abs(np.asarray(made) - plain).max() / np.abs(plain).max()
        worst = max(worst, float(error))
    return {"apart": worst, **compiled(mesh, gather, dense)}


def compiled(mesh, gather, dense):
    """What the compiled programs of large maps hold, and whether any of them
    gathers."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from kgrow.backend import jax_sharded_maps

    place = NamedSharding(mesh, PartitionSpec("batch", "model"))
    value = jax.device_put(np.zeros((512, 1024), "float32"), place)
    found = {}
    for name, make in (("gather", gather), ("dense", dense)):
        segments = [
            (0, 1, (1024,), [(512, make(512, 1024))]),
            (1, 2, (2048,), [(1024, make(1024, 2048))]),
        ]
        program, tables = jax_sharded_maps.program_of(value, segments, place)
        made = program.lower(value, tables).compile()
        memory = made.memory_analysis()
        found[name] = {
            "gathers": "all-gather" in made.as_text(),
            "piece": memory.output_size_in_bytes,
            "temporary": memory.temp_size_in_bytes,
        }
    return {"programs": found}


def places():
    """What happens without, or with another, distribution."""
    found = {}
    keras.distribution.set_distribution(model_parallel())
    model = blocks()
    model.train_on_batch(*numbers())
    before = state(model)
    for name, target in (
        ("odd", {"intermediate_dim": 42}),
        ("even", {"intermediate_dim": 44}),
    ):
        try:
            model.grow(target)
            found[name] = "grown"
        except kgrow.GrowthError as error:
            found[name] = str(error)
            assert apart(before, state(model)) == 0.0
    keras.distribution.set_distribution(None)
    try:
        model.grow({"intermediate_dim": 48})
        found["nowhere"] = "grown"
    except kgrow.GrowthError as error:
        found["nowhere"] = str(error)
    return found


# TensorFlow


@functools.cache
def strategies():
    """One device, as a plain run has it, and two that mirror each other.

    Once a process: TensorFlow numbers what devices exchange by strategy, and
    a second one would meet the shapes of the first under its numbers.
    """
    import tensorflow as tf

    cpus = ["CPU:0", "CPU:1"]
    return {
        "single": tf.distribute.get_strategy(),
        "several": tf.distribute.MirroredStrategy(cpus),
    }


def mirrored(strategy=lambda: "net2net", target=TARGET, options=None, **rest):
    found, grown = {}, {}
    for name, scope in strategies().items():
        with scope.scope():
            grow = GrowOnce(target, strategy(), **(options or {}))
            model, losses = fit(grow, **rest)
        found[name] = {"losses": losses}
        grown[name] = grow.grown
    replicas = {len(w.value.values) for w in model.network.weights}
    return found | {
        "apart": apart(grown["single"], grown["several"]),
        "placed": replicas == {2},
    }


def mirrored_gates():
    from kgrow.strategies import MSG

    # What stands behind the gate is learned first.
    learned = learner(LiGO)
    return mirrored(
        lambda: MSG(ramp=2, initializer=learned()),
        DOUBLE,
        {"data": tokens()},
        epochs=3,
        batch_size=8,
    )


def mirrored_resume():
    """A file of the middle of a ramp, read by a model that is small."""
    from kgrow.strategies import MSG

    x, y = tokens()
    scope = strategies()["several"]

    def steps(model, count):
        return [
            float(model.train_on_batch(x, y, return_dict=True)["loss"])
            for _ in range(count)
        ]

    with scope.scope(), tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "middle.weights.h5")
        model = language_model()
        steps(model, 1)
        model.grow(TARGET, MSG(ramp=4), seed=0)
        steps(model, 2)
        model.save_weights(path)
        went_on = steps(model, 2)
        again = language_model()
        steps(again, 1)
        again.load_weights(path)
        active_gates = [done for _, done in again.active_gates]
        resumed = steps(again, 2)
    replicas = {len(w.value.values) for w in again.network.weights}
    return {
        "went_on": went_on,
        "resumed": resumed,
        "active_gates": active_gates,
        "placed": replicas == {2},
    }


def compiled_steps():
    """What training on a TPU asks of a step: all of it compiled by XLA,
    several in a row, every shape known, variables of the strategy's own."""
    import tensorflow as tf

    found = {}
    # What XLA compiles for CPUs runs on the first.
    for device, compiled in (("CPU:1", False), ("CPU:0", True)):
        scope = tf.distribute.OneDeviceStrategy(device)
        with scope.scope():

            def make(compiled=compiled):
                model = language_model()
                model.compile(
                    keras.optimizers.SGD(0.1, momentum=0.9),
                    model.loss,
                    jit_compile=compiled,
                    steps_per_execution=2,
                )
                return model

            model, losses = fit(
                GrowOnce(TARGET, "net2net"), make=make, batch_size=2
            )
        devices = {w.value.device for w in model.network.weights}
        placed = all(d.endswith(device) for d in devices)
        found[device] = {"losses": losses, "placed": placed}
    return found


def two_devices():
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)


if __name__ == "__main__":
    if keras.backend.backend() == "tensorflow":
        two_devices()
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
