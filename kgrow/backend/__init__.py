"""What growth needs of the backend beyond `keras.ops`.

Three modules with the same functions, one per backend; only the one that
Keras runs on is imported.

`sync(model)`: makes the variables hold what the running step holds.
`restart(model)`: makes the next step read the variables again.
`renew(model)`: makes the next training function be traced anew, whatever it
has in common with the last.
`scope(model)`: context in which variables of the model are created.
`kept_random()`: context that leaves the backend's global random generators as
they were.
`adopt(network)`: registers variables that were given their values late.
`host(value)`: the value as a numpy array if it lies in host memory, without a
copy where possible; the tensor itself if it lies on an accelerator.
`forward(network, inputs)`: inference outputs as numpy arrays, in full
precision.
`forwarder(network)`: a function of inputs that does the same many times,
compiled once; it reads the variables anew at each call.
`double_precision()`: context in which float64 tensors exist.
`gradients(function, tensors)`: gradients of a scalar function of a list of
tensors, as numpy arrays.
`free(values)`: gives device memory back at once.
`raw(variable)`: the backend's own storage of a variable.
`peak_bytes()`: `(in use, peak)` of the device's allocator, or `None`.
"""

import keras

if keras.backend.backend() == "jax":
    from kgrow.backend.jax import (
        adopt,
        double_precision,
        forward,
        forwarder,
        free,
        gradients,
        host,
        kept_random,
        peak_bytes,
        raw,
        renew,
        restart,
        scope,
        sync,
    )
elif keras.backend.backend() == "tensorflow":
    from kgrow.backend.tensorflow import (
        adopt,
        double_precision,
        forward,
        forwarder,
        free,
        gradients,
        host,
        kept_random,
        peak_bytes,
        raw,
        renew,
        restart,
        scope,
        sync,
    )
elif keras.backend.backend() == "torch":
    from kgrow.backend.torch import (
        adopt,
        double_precision,
        forward,
        forwarder,
        free,
        gradients,
        host,
        kept_random,
        peak_bytes,
        raw,
        renew,
        restart,
        scope,
        sync,
    )
else:
    raise ImportError(
        "kgrow runs on the Keras backends 'jax', 'tensorflow' and 'torch'. "
        f"Received: {keras.backend.backend()!r}"
    )

__all__ = [
    "adopt",
    "double_precision",
    "forward",
    "forwarder",
    "free",
    "gradients",
    "host",
    "kept_random",
    "peak_bytes",
    "raw",
    "renew",
    "restart",
    "scope",
    "sync",
]
