"""An optimizer whose steps are scaled, by one factor for each variable.

What the optimizer adds to a variable is multiplied, after its moments are
updated and before averages are taken: the moments stay those of the gradients.
Decoupled weight decay comes before, and is not scaled.
"""

from keras import ops

from kgrow.backend.keras_internals import replace_methods, restore_methods

_UPDATE = "_backend_update_step"


def scale_steps(optimizer, factors):
    """Makes an optimizer scale its steps; without factors it no longer does.

    Args:
        optimizer: `keras.optimizers.Optimizer` that takes steps itself.
        factors: `{id of a variable: float}`; others are not scaled.
    """
    restore_methods(optimizer, _UPDATE)
    if not factors:
        return
    update = getattr(optimizer, _UPDATE)

    def scaled_update(grads, trainable_variables, learning_rate):
        before = [
            (v, ops.copy(v.value), factors[id(v)])
            for v in trainable_variables
            if id(v) in factors
        ]
        update(grads, trainable_variables, learning_rate)
        for variable, old, factor in before:
            way = ops.cast(factor, variable.dtype) * (variable.value - old)
            variable.assign(old + way)

    replace_methods(optimizer, **{_UPDATE: scaled_update})
