"""A model's weights as a list of arrays that remembers the model's sizes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plain_data import short
from kgrow.growth.running_loops import check_loops
from kgrow.growth.saving import growth_state
from kgrow.growth.saving.rollback import all_or_nothing
from kgrow.growth.saving.size_limits import Extent
from kgrow.growth.saving.state_schema import pack, unpack

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


class WeightsList(list):
    """The arrays of `get_weights()`, with the sizes of their model.

    Args:
        arrays: list of numpy arrays.
        growth_state: bytes, see `state_schema.pack()`.
    """

    def __init__(
        self,
        arrays: Iterable[np.ndarray] = (),
        growth_state: bytes | None = None,
    ) -> None:
        super().__init__(arrays)
        self.growth_state = growth_state


class SizedWeights(keras.Model):
    """The part of `GrowableModel` that gets and sets weights as a list.

    Keras' callbacks keep such a list to restore it:
    `EarlyStopping(restore_best_weights=True)` does, and the best epoch may
    lie before a growth.
    """

    def get_weights(self) -> WeightsList:
        """The weights as a list of numpy arrays, which remembers the sizes;
        see `keras.Model.get_weights()`."""
        arrays = super().get_weights()
        # Callbacks keep their present state when the weights are restored.
        model = cast("GrowableModel", self)
        state = {**growth_state.state_of(model), "callbacks": {}}
        return WeightsList(arrays, pack(state).tobytes())

    def set_weights(self, weights: Any) -> None:
        """Sets the weights; see `keras.Model.set_weights()`.

        Args:
            weights: list of arrays. What `get_weights()` returned before a
                growth takes the model back to the sizes that it had: the
                receipts of later growths go, and the optimizer's slots begin
                anew.

        Raises:
            GrowthError: the arrays are of other sizes, and of a plain list,
                which does not say of which. On any error nothing has changed.

        Example:

        >>> import kgrow
        >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
        ...     intermediate_dim=8, num_layers=1)
        >>> weights = model.get_weights()
        >>> receipt = model.grow({"num_layers": 2})
        >>> model.set_weights(weights)
        >>> model.growth_config["num_layers"]
        1
        """
        shapes = [tuple(variable.shape) for variable in self.weights]
        if not isinstance(weights, (list, tuple)):
            raise GrowthError(
                "`weights` is a list of arrays, as `get_weights()` returns it. "
                f"Received: {short(weights)} (of type "
                f"{type(weights).__name__})"
            )
        given = [_shape(array) for array in weights]
        if given == shapes:
            super().set_weights(weights)
            return
        state = getattr(weights, "growth_state", None)
        if state is None:
            raise GrowthError(
                "The weights are of other sizes than the model. The list that "
                "`get_weights()` returned takes a model back to the sizes that "
                "it had; a list made of its arrays does not know them. "
                f"Received: {len(given)} arrays of shapes {given[:4]} ...; "
                f"the model has {len(shapes)}, {shapes[:4]} ..."
            )
        model = cast("GrowableModel", self)
        check_loops(model)
        saved = unpack(np.frombuffer(state, np.uint8))
        saved["callbacks"] = model.callback_state
        extent = Extent(len(weights), sum(np.size(array) for array in weights))
        with all_or_nothing(model):
            growth_state.become(model, saved, lambda: extent)
            super().set_weights(list(weights))


def _shape(array):
    """The shape of what may be no array, `None` for lists of unlike lists."""
    try:
        return tuple(np.shape(array))
    except ValueError:
        return None
