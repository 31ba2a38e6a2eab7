"""`derive()`: which axes each variable of any network has."""

import contextlib

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.inference import cache
from kgrow.architecture.inference.subprocess import derive_remotely
from kgrow.architecture.inference.verification import verify
from kgrow.architecture.recipes import ClassRecipe, recipe_of


def derive(network, inputs=None, check=True):
    """Reads what can grow off a network's own computation.

    One forward pass is traced on shapes, with JAX; nothing is computed and no
    weights are allocated. What is added up is one dimension, what is
    contracted has a producer and a consumer, a reshape splits an axis into a
    product, a norm shows in the sums it takes, and what is indexed, sliced or
    met by a constant that varies cannot move. Then config fields are changed
    one at a time, to see which dimension each moves, and which adds blocks.
    The result is kept in Keras' folder and found again there. Under
    TensorFlow and torch a second process does the tracing.

    Args:
        network: a `keras.Model` whose `get_config()` has its sizes as fields,
            a task of KerasHub, or a `ModelBuilder`.
        inputs: optional structure of `keras.KerasTensor`s with whole shapes,
            if the network does not say what it takes.
        check: bool. Whether the result is tried out on a shallow copy of the
            network with random weights: all dimensions are permuted at once,
            and the output must be the same; and blocks that add nothing are
            put in.

    Returns:
        `AxisMap`

    Raises:
        GrowthError: the network cannot be made or traced, or the check fails.

    Example:

    >>> import kgrow
    >>> network = kgrow.models.GPT2(vocabulary_size=32, num_layers=2,
    ...     num_heads=2, hidden_dim=8, intermediate_dim=16,
    ...     max_sequence_length=8).network
    >>> axes = kgrow.derive(network, check=False)
    >>> block = "transformer_layer_{transformer_layer}"
    >>> str(axes.rules[f"{block}/feedforward_intermediate_dense/kernel"])
    'hidden -> ffn'
    """
    recipe = network if hasattr(network, "make") else recipe_of(network)
    if recipe is None:
        raise GrowthError(
            "A Functional or Sequential model has its sizes in its layers, and "
            "no field to change them by. Write a function that builds it, "
            "kgrow.ModelBuilder(build, {'units': 64}), or pass "
            f"`axes=kgrow.AxisMap(...)`. Received: {network!r}"
        )
    if isinstance(recipe, ClassRecipe) and not recipe.has_fields:
        raise GrowthError(
            f"`{recipe.network_class.__name__}.get_config()` must return the "
            "arguments of its constructor, the sizes among them. Received: "
            f"{recipe.config}"
        )
    source = _source(recipe)
    key = cache.key_of({**source, "inputs": str(inputs)})
    kept = cache.load(key) or {}
    if "axes" not in kept or (check and not kept["checked"]):
        with _undistributed():
            config = kept.get("axes") or _derived(recipe, inputs)
            axes = AxisMap.from_config(config)
            if check:
                axes = verify(recipe, axes, inputs)
        kept = {"axes": axes.get_config(), "checked": bool(check)}
        if source["module"] != "__main__":
            cache.save(key, kept)
    return AxisMap.from_config(kept["axes"])


def _source(recipe):
    try:
        return recipe.source()
    except GrowthError:
        if keras.backend.backend() != "jax":
            raise
        # An argument that no file holds; the result is kept nowhere.
        return {"module": "__main__"}


def _derived(recipe, inputs):
    if keras.backend.backend() != "jax":
        return derive_remotely(recipe, inputs)
    from kgrow.architecture.inference.analysis import analyse

    return analyse(recipe, inputs).get_config()


@contextlib.contextmanager
def _undistributed():
    """Context without the active distribution: networks are tried out at odd
    sizes, which no mesh divides."""
    active = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(active)
