"""What growth needs of the backend beyond `keras.ops`.

A module per backend, of which only the one that Keras runs on is imported. What
concerns arrays in pieces and several processes is in `jax`, and for the others,
where there are none, in `unsharded`.

`sync(model)`: makes the variables hold what the running step holds.
`reload_state(model)`: makes the next step read the variables again.
`retrace(model)`: makes the next training function be traced anew, whatever it
has in common with the last.
`scope(model)`: context in which variables of the model are created.
`kept_random()`: context that leaves the backend's global random generators as
they were.
`random_states()`: states of these generators, a list of arrays of bytes, and
`set_random_states(states)`, which puts them back.
`register_parameters(network)`: registers variables that were given their
values late.
`to_numpy_if_cpu(value)`: the value as a numpy array if it lies in host
memory, without a copy where possible; the tensor itself if it lies on an
accelerator, or in pieces on several devices. `is_spread(value)`: whether an
array lies on several devices, as only JAX's do. `pieces` is the module of what
can be done with one, or `None`. `place_of(variable)`: where the active
distribution puts a variable, or `None`. `with_sharding_constraint(value,
variable)`: a tensor of a traced step, laid out as the distribution lays out the
variable. `as_batch(value)`: the tensor of a batch that every process has whole,
laid out as the distribution lays out batches, or on every device where it
cannot be divided. `whole_data()`: context in which every process trains on all
of the data that it is given, none of it left to others. `processes()`: how many
processes train together.
`gathered(words)`: unsigned 32-bit numbers of every process, `(processes,
words)`.
`snapshot(variables)`: makes a function that gives variables the values back
that they have now.
`forward(network, inputs)`: inference outputs as numpy arrays, in full
precision.
`forwarder(network)`: a function of inputs that does the same many times,
compiled once; it reads the variables anew at each call.
`double_precision()`: context in which float64 tensors exist.
`exact_products()`: context in which products of matrices are computed in the
precision of their dtype, whatever the backend or the user has set. It binds
what is traced or run inside it.
`flash_attention(requested)`: the `flash_attention` to give a Keras layer where
`requested` was asked for: what the platform computes correctly.
`gradients(function, tensors)`: gradients of a scalar function of a list of
tensors, as numpy arrays.
`delete_buffers(values)`: gives device memory back at once.
`storage(variable)`: the backend's own storage of a variable.
`peak_bytes()`: `(in use, peak)` of the device's allocator, or `None`.
"""

import keras

if keras.backend.backend() == "jax":
    from kgrow.backend import jax_sharded as pieces
    from kgrow.backend.jax import (
        as_batch,
        delete_buffers,
        double_precision,
        exact_products,
        flash_attention,
        forward,
        forwarder,
        gathered,
        gradients,
        is_spread,
        kept_random,
        peak_bytes,
        place_of,
        processes,
        random_states,
        register_parameters,
        reload_state,
        retrace,
        scope,
        set_random_states,
        snapshot,
        storage,
        sync,
        to_numpy_if_cpu,
        whole_data,
        with_sharding_constraint,
    )
elif keras.backend.backend() == "tensorflow":
    from kgrow.backend.tensorflow import (
        delete_buffers,
        double_precision,
        exact_products,
        forward,
        forwarder,
        gradients,
        kept_random,
        peak_bytes,
        random_states,
        register_parameters,
        reload_state,
        retrace,
        scope,
        set_random_states,
        snapshot,
        storage,
        sync,
        to_numpy_if_cpu,
    )
elif keras.backend.backend() == "torch":
    from kgrow.backend.torch import (
        delete_buffers,
        double_precision,
        exact_products,
        forward,
        forwarder,
        gradients,
        kept_random,
        peak_bytes,
        random_states,
        register_parameters,
        reload_state,
        retrace,
        scope,
        set_random_states,
        snapshot,
        storage,
        sync,
        to_numpy_if_cpu,
    )
else:
    raise ImportError(
        "kgrow runs on the Keras backends 'jax', 'tensorflow' and 'torch'. "
        f"Received: {keras.backend.backend()!r}"
    )

if keras.backend.backend() != "jax":
    from kgrow.backend.unsharded import (
        as_batch,
        flash_attention,
        gathered,
        is_spread,
        place_of,
        processes,
        whole_data,
        with_sharding_constraint,
    )

    pieces = None

__all__ = [
    "register_parameters",
    "as_batch",
    "with_sharding_constraint",
    "double_precision",
    "exact_products",
    "flash_attention",
    "forward",
    "forwarder",
    "delete_buffers",
    "gathered",
    "gradients",
    "snapshot",
    "to_numpy_if_cpu",
    "is_spread",
    "kept_random",
    "peak_bytes",
    "pieces",
    "place_of",
    "processes",
    "random_states",
    "storage",
    "retrace",
    "reload_state",
    "scope",
    "set_random_states",
    "sync",
    "whole_data",
]
