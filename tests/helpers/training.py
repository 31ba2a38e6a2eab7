"""Small models, fixed batches and exact comparisons for growth in `fit`."""

import keras
import numpy as np
from keras import optimizers

import kgrow

BACKEND = keras.backend.backend()
STEPS, BATCH, VOCABULARY, LENGTH = 3, 4, 16, 8


def mlp(seed=0, **sizes):
    """A residual MLP with dropout: random states must go on as well."""
    keras.utils.set_random_seed(seed)
    config = dict(
        input_dim=5,
        output_dim=3,
        hidden_dim=4,
        intermediate_dim=6,
        num_layers=2,
        dropout=0.1,
    )
    return kgrow.models.MLP(**{**config, **sizes})


def gpt2(seed=0, **sizes):
    """A transformer with every kind of variable: 1-D, 2-D, 3-D, tied."""
    keras.utils.set_random_seed(seed)
    config = dict(
        vocabulary_size=VOCABULARY,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=12,
        max_sequence_length=LENGTH,
        dropout=0.1,
    )
    return kgrow.models.GPT2(**{**config, **sizes})


def sequential(seed=0, units=4, dropout=0.1):
    """A user's own network with named axes, wrapped."""
    keras.utils.set_random_seed(seed)
    network = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(units, activation="tanh", name="inner"),
            keras.layers.Dropout(dropout, name="dropout"),
            keras.layers.Dense(3, name="outer"),
        ],
        name="network",
    )
    axes = {
        "inner/kernel": "_ -> units",
        "inner/bias": "-> units",
        "outer/kernel": "units -> _",
        "outer/bias": "-> _",
    }
    return kgrow.GrowableModel(network, axes)


# For each model, a larger target that its default strategy reaches exactly.
MODELS = {"mlp": mlp, "gpt2": gpt2, "sequential": sequential}
TARGETS = {
    "mlp": {"hidden_dim": 7, "intermediate_dim": 9, "num_layers": 3},
    "gpt2": {
        "hidden_dim": 16,
        "intermediate_dim": 18,
        "num_heads": 3,
        "head_dim": 6,
        "num_layers": 2,
    },
    "sequential": {"units": 7},
}


class Batches(keras.utils.PyDataset):
    """`steps` fixed batches of the task that fits a model."""

    def __init__(self, model, steps=STEPS, offset=0):
        super().__init__()
        self.batches = [batch(model, offset + i) for i in range(steps)]

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def batch(model, index):
    """Batch `index` of the task that fits a model, `(x, y)`."""
    if "vocabulary_size" in model.growth_config:
        return token_batch(index)
    return dense_batch(index)


def token_batch(index):
    rng = np.random.default_rng([1, index])
    ids = rng.integers(0, VOCABULARY, (BATCH, LENGTH + 1), dtype="int32")
    return ids[:, :-1], ids[:, 1:]


def dense_batch(index):
    rng = np.random.default_rng([1, index])
    x = rng.standard_normal((BATCH, 5)).astype("float32")
    return x, np.stack([x[:, 0] * x[:, 1], x[:, 2], abs(x[:, 3])], axis=1)


def loss_of(model):
    if "vocabulary_size" in model.growth_config:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return "mse"


def compiled(model, optimizer="adam", **arguments):
    """The model, compiled; `optimizer` may be a function of the model."""
    if callable(optimizer) and not isinstance(optimizer, optimizers.Optimizer):
        optimizer = optimizer(model)
    model.compile(optimizer, loss_of(model), **arguments)
    return model


class At(keras.callbacks.Callback):
    """Calls `action(model)` at places in a run.

    Args:
        places: dict from `("batch", i)`, counted over the whole run, and
            `("epoch", i)` to functions of the model.
    """

    def __init__(self, places):
        super().__init__()
        self.places = dict(places)
        self.seen = 0
        self.last = -1

    def on_train_batch_end(self, batch, logs=None):
        # With several steps per execution, `batch` jumps.
        steps = batch - self.last if batch > self.last else batch + 1
        self.last = batch
        self.seen += steps
        for index in range(self.seen - steps, self.seen):
            self.places.get(("batch", index), _nothing)(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.last = -1
        self.places.get(("epoch", epoch), _nothing)(self.model)


def _nothing(model):
    del model


def train(
    model, places=(), epochs=2, callbacks=(), steps=STEPS, offset=0, **arguments
):
    """Fits on the fixed batches, in their order unless told otherwise."""
    return model.fit(
        Batches(model, steps, offset),
        epochs=epochs,
        callbacks=[At(places), *callbacks],
        **{"verbose": 0, "shuffle": False, **arguments},
    )


def values(variables):
    """Copies of variables, as they are stored: `[array, ...]`."""
    return [
        np.array(keras.ops.convert_to_numpy(v.value), copy=True)
        for v in variables
    ]


def state(model):
    """Everything that the rest of a run depends on, `{name: array}`."""
    found = {}
    for i, (v, value) in enumerate(
        zip(model.variables, values(model.variables), strict=True)
    ):
        found[f"model {i} {v.name}"] = value
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        variables = optimizer.variables
        for i, value in enumerate(values(variables)):
            found[f"optimizer {i}"] = value
    return found


def assert_same_state(left, right):
    """Two models, or two states of one, are equal bit for bit."""
    left = left if isinstance(left, dict) else state(left)
    right = right if isinstance(right, dict) else state(right)
    assert list(left) == list(right), sorted(set(left) ^ set(right))
    different = [
        name
        for name, value in left.items()
        if value.dtype != right[name].dtype
        or value.shape != right[name].shape
        or value.tobytes() != right[name].tobytes()
    ]
    assert not different, different


def copy_state(source, target):
    """Gives a model of the same sizes another one's whole state."""
    pairs = list(zip(source.variables, target.variables, strict=True))
    if source.optimizer.built:
        target.optimizer.build(target.trainable_variables)
        pairs += zip(
            source.optimizer.variables, target.optimizer.variables, strict=True
        )
    for old, new in pairs:
        new.assign(keras.ops.copy(old.value))


def is_finite(model):
    return all(
        np.isfinite(np.asarray(value, "float64")).all()
        for value in state(model).values()
    )


class Foreign(optimizers.Optimizer):
    """An optimizer that kgrow knows nothing of: momentum over root mean
    square, with an average of the weights and one of the signs of updates."""

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.pull, self.power, self.trend = self.add_optimizer_variables(
            variables, ["pull", "power", "trend"]
        )
        self.home = self.add_optimizer_variables(variables, "home")
        for home, variable in zip(self.home, variables, strict=True):
            home.assign(keras.ops.copy(variable.value))

    def update_step(self, gradient, variable, learning_rate):
        i = self._get_variable_index(variable)
        pull, power, trend, home = (
            slots[i] for slots in (self.pull, self.power, self.trend, self.home)
        )
        rate = keras.ops.cast(learning_rate, variable.dtype)
        gradient = keras.ops.cast(gradient, variable.dtype)
        self.assign(pull, 0.9 * pull + 0.1 * gradient)
        self.assign(power, 0.99 * power + 0.01 * keras.ops.square(gradient))
        step = pull / (keras.ops.sqrt(power) + 1e-20)
        self.assign(trend, 0.9 * trend + 0.1 * step)
        self.assign_sub(variable, rate * step)
        self.assign(home, 0.9 * home + 0.1 * variable)


def _excluding(model, rate, **what):
    optimizer = optimizers.AdamW(rate, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(**what)
    return optimizer


def _map(rate):
    return optimizers.OptimizerMap(
        optimizers.SGD(rate, momentum=0.9),
        {".*kernel": optimizers.Adam(rate)},
    )


def _new_one_each(rate):
    """As in Keras' documentation: every variable gets an optimizer."""
    return lambda variable: (
        optimizers.Adam(rate)
        if "kernel" in variable.path
        else optimizers.SGD(rate, momentum=0.9)
    )


def _schedule(rate):
    return optimizers.schedules.CosineDecay(
        rate / 2, 20, warmup_target=rate, warmup_steps=3
    )


# Functions of (model, learning rate). `Class variant`: every optimizer that
# Keras ships, and everything that the base class adds to one.
OPTIMIZERS = {
    "Adam": lambda m, r: optimizers.Adam(r),
    "Adam amsgrad": lambda m, r: optimizers.Adam(r, amsgrad=True),
    "AdamW": lambda m, r: optimizers.AdamW(r),
    "AdamW names excluded": lambda m, r: _excluding(m, r, var_names=["bias"]),
    "AdamW variables excluded": lambda m, r: _excluding(
        m, r, var_list=m.trainable_variables[::2]
    ),
    "Nadam": lambda m, r: optimizers.Nadam(r),
    "Adamax": lambda m, r: optimizers.Adamax(r),
    "Lamb": lambda m, r: optimizers.Lamb(r),
    "Lion": lambda m, r: optimizers.Lion(r),
    "SGD": lambda m, r: optimizers.SGD(r),
    "SGD nesterov": lambda m, r: optimizers.SGD(r, momentum=0.9, nesterov=True),
    "RMSprop": lambda m, r: optimizers.RMSprop(r),
    "RMSprop momentum": lambda m, r: optimizers.RMSprop(r, momentum=0.9),
    "RMSprop centered": lambda m, r: optimizers.RMSprop(r, centered=True),
    "Adagrad": lambda m, r: optimizers.Adagrad(r),
    "Adadelta": lambda m, r: optimizers.Adadelta(r),
    "Adafactor": lambda m, r: optimizers.Adafactor(r),
    "Ftrl": lambda m, r: optimizers.Ftrl(r),
    "Muon": lambda m, r: optimizers.Muon(r, exclude_layers=["output_dense"]),
    "ScheduleFreeAdamW": lambda m, r: optimizers.ScheduleFreeAdamW(r),
    "Foreign": lambda m, r: Foreign(r),
    "LossScaleOptimizer": lambda m, r: optimizers.LossScaleOptimizer(
        optimizers.Adam(r), dynamic_growth_steps=2
    ),
    "MultiOptimizer map": lambda m, r: optimizers.MultiOptimizer(_map(r)),
    "MultiOptimizer function": lambda m, r: optimizers.MultiOptimizer(
        _new_one_each(r)
    ),
    "Adam ema": lambda m, r: optimizers.Adam(
        r, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=4
    ),
    "Adam accumulating": lambda m, r: optimizers.Adam(
        r, gradient_accumulation_steps=2
    ),
    "Adam schedule": lambda m, r: optimizers.Adam(_schedule(r)),
    "Adam decay": lambda m, r: optimizers.Adam(r, weight_decay=0.1),
    "Adam clipnorm": lambda m, r: optimizers.Adam(r, clipnorm=0.1),
    "Adam global clipnorm": lambda m, r: optimizers.Adam(
        r, global_clipnorm=0.1
    ),
}


def with_optimizer(model, name, rate=0.01, **arguments):
    """The model, compiled with an optimizer of the registry."""
    return compiled(model, OPTIMIZERS[name](model, rate), **arguments)
