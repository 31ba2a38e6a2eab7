"""Estimate the cost of a network of given sizes without building its
weights."""

from dataclasses import dataclass

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.architecture import count_parameters
from kgrow.backend.flops import forward_flops, training_flops
from kgrow.backend.lazy_variables import without_values
from kgrow.backend.random import private_random


@dataclass(frozen=True)
class Cost:
    """Size and price of one network, for one batch.

    Args:
        parameters: Integer. Weights that are trained or could be.
        batch: Integer. Examples in the batch.
        tokens: Integer. Tokens in the batch, or examples where there are none.
        forward: Integer. FLOPs of one pass without training.
        training: Integer. FLOPs of one training step.

    Example:

    >>> Cost(10, batch=2, tokens=8, forward=160, training=480).per_token
    60.0
    """

    parameters: int
    batch: int
    tokens: int
    forward: int
    training: int

    @property
    def per_token(self):
        """FLOPs of training on one token, or one example."""
        return self.training / self.tokens


def cost(model, config=None, batch=1, length=None):
    """Parameters and FLOPs of a model, of the sizes it has or of others.

    Counted on shapes: embeddings, attention and heads as they are, with no
    formula for any of them, and no weight allocated. See `kgrow.backend.flops`
    for what counts.

    Args:
        model: A `GrowableModel`, a built Keras model, or a family such as
            `kgrow.models.GPT2`, of which nothing needs to exist.
        config: Optional dict: all fields of a family; of a growable model,
            those whose sizes differ, larger or smaller.
        batch: Integer, examples in a batch.
        length: Optional integer, tokens in a sequence. By default as many as
            the network has positions for. Not for inputs of fixed shape.

    Returns:
        `Cost`.

    Raises:
        GrowthError: the config has unknown fields, or the network does not say
            what it takes.

    Example:

    >>> import kgrow
    >>> sizes = dict(vocabulary_size=64, num_layers=2, num_heads=2,
    ...     hidden_dim=32, intermediate_dim=128, max_sequence_length=16)
    >>> found = cost(kgrow.models.GPT2, sizes, batch=4)
    >>> found.tokens, found.training
    (64, 11010048)
    """
    network = _network(model, config)
    inputs = inputs_of(network, batch, length)
    return Cost(
        parameters=count_parameters(network),
        batch=batch,
        tokens=count_tokens(inputs),
        forward=forward_flops(network, inputs),
        training=training_flops(network, inputs),
    )


def count_tokens(inputs):
    """Tokens in a batch: the entries of its first integer matrix, or its
    examples if there is none.

    Args:
        inputs: Tensors, or `keras.KerasTensor`s, in any structure.

    Example:

    >>> count_tokens(keras.KerasTensor((4, 16), "int32"))
    64
    >>> count_tokens(keras.KerasTensor((4, 8, 8, 3), "float32"))
    4
    """
    if isinstance(inputs, dict) and "token_ids" in inputs:
        inputs = inputs["token_ids"]
    tensors = keras.tree.flatten(inputs)
    for tensor in tensors:
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if len(tensor.shape) == 2 and "int" in dtype:
            return int(tensor.shape[0]) * int(tensor.shape[1])
    return int(tensors[0].shape[0])


def inputs_of(network, batch, length=None):
    """The inputs of a network, as `keras.KerasTensor`s in its own structure.

    Args:
        network: A built network.
        batch: Integer.
        length: As in `cost`.

    Raises:
        GrowthError: the network does not say.

    Example:

    >>> network = keras.Sequential([keras.Input((None,)),
    ...     keras.layers.Embedding(8, 4)])
    >>> inputs_of(network, 2, 16).shape
    (2, 16)
    """
    if hasattr(network, "example_inputs"):
        return _of_example(network, batch, length)
    if isinstance(network, keras.Sequential):
        declared = network.inputs[0] if network.inputs else None
    else:
        declared = getattr(network, "_inputs_struct", None)
    if declared is None:
        raise GrowthError(
            f"The network {network.name!r} does not say what inputs it takes. "
            "Count with `kgrow.backend.flops.training_flops`. "
            f"Received: a {type(network).__name__}"
        )
    lengths = [None in t.shape[1:] for t in keras.tree.flatten(declared)]
    _check_length(network, length, any(lengths))

    def filled(tensor):
        shape = [length if size is None else size for size in tensor.shape[1:]]
        return keras.KerasTensor((batch, *shape), tensor.dtype)

    return keras.tree.map_structure(filled, declared)


def _of_example(network, batch, length):
    example = network.example_inputs(1)
    main = example["token_ids"] if isinstance(example, dict) else example
    sequences = main.ndim == 2 and main.dtype.kind == "i"
    if length is None and sequences:
        length = getattr(network, "max_sequence_length", None)
    _check_length(network, length, sequences)

    def filled(array):
        shape = array.shape[1:]
        if sequences:
            # Positions to predict stay the part of the sequence they are.
            shape = (max(1, round(array.shape[1] * length / main.shape[1])),)
        return keras.KerasTensor((batch, *shape), str(array.dtype))

    return keras.tree.map_structure(filled, example)


def _check_length(network, length, needed):
    if needed and length is None:
        raise GrowthError(
            f"The network {network.name!r} takes sequences of any length. Say "
            "how long they are. Received: length=None"
        )
    if length is not None and not needed:
        raise GrowthError(
            f"The inputs of the network {network.name!r} have no open length. "
            f"Leave it out. Received: length={length}"
        )
    limit = getattr(network, "max_sequence_length", None)
    if needed and limit is not None and length > limit:
        raise GrowthError(
            f"The network {network.name!r} has positions for {limit} tokens. "
            f"Received: length={length}"
        )


def _network(model, config):
    """The network whose cost is asked for, without values where it is new."""
    if isinstance(model, type) and hasattr(model, "network_class"):
        with without_values(), private_random(0):
            return model.network_class(name="network", **(config or {}))
    architecture = getattr(model, "architecture", None)
    if architecture is None:
        if config:
            raise GrowthError(
                "Only families and growable models can be made at other sizes "
                "than they have. Wrap the model: kgrow.GrowableModel(model). "
                f"Received: config={config!r} with a {type(model).__name__}"
            )
        return model
    if not config:
        return model.network
    known = architecture.config
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise GrowthError(
            f"The model has no sizes {unknown}. Received: config={config!r}. "
            f"There are: {known}"
        )
    with backend.scope(model), private_random(0):
        return architecture.build({**known, **config})[0]
