"""Models of which entries are frozen, and optimizers as after some steps."""

import numpy as np

from helpers.training import values
from kgrow.architecture.architecture import relative_path
from kgrow.growth.optimizer.slots import find_slots, nested


def weights(model):
    """`{path: value}` of the network's weights."""
    network = model.network
    paths = [relative_path(network, w) for w in network.weights]
    return dict(zip(paths, values(network.weights), strict=True))


def frozen_values(model):
    """The values of all frozen entries."""
    now = weights(model)
    return {p: now[p][mask] for p, mask in model.architecture.frozen.items()}


def warm(model, seed=0):
    """The model, its optimizer as after some steps: every slot filled."""
    rng = np.random.default_rng(seed)
    model.optimizer.build(model.trainable_variables)
    for part in nested(model.optimizer):
        part._iterations.assign(7)
        for slot in sum(find_slots(part).values(), []):
            if slot is not None:
                slot.assign(rng.uniform(0.1, 1.0, slot.shape))
    return model
