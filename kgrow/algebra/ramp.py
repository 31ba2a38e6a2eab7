"""How fast what a growth added is let in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

from kgrow.algebra.deserialization import object_of, registered_function
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.lazy_keras import keras, ops, serializable
from kgrow.algebra.scalar_checks import check_count


def _cosine(t: Any) -> Any:
    cosine: Any = ops.cos(t * math.pi)
    return 0.5 - 0.5 * cosine


_SHAPES: dict[str, Callable[[Any], Any]] = {
    "linear": lambda t: t,
    "cosine": _cosine,
    "smoothstep": lambda t: t * t * (3.0 - 2.0 * t),
    "quadratic": lambda t: t * t,
    "sqrt": lambda t: ops.sqrt(t),
}


@serializable
class Ramp:
    """Opens a gate from 0 to 1 within a number of training steps.

    Args:
        steps: int, training batches from the growth until the gate is fully
            open; the step right after the growth sees 0. With 0 there is no
            gate: what is new takes part at once.
        shape: string, the way from 0 to 1: `"linear"` (the paper's),
            `"cosine"`, `"smoothstep"`, `"quadratic"` or `"sqrt"`; or a
            monotone function of a scalar tensor in `[0, 1]` with values 0 at
            0 and 1 at 1, registered with Keras if the model is to be saved.

    Raises:
        GrowthError: `steps` is no integer of at least 0, `shape` is unknown,
            or does not rise from 0 to 1.

    Example:

    >>> ramp = Ramp(100)
    >>> [float(ramp(keras.ops.convert_to_tensor(t))) for t in (0, 25, 100, 999)]
    [0.0, 0.25, 1.0, 1.0]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Sec. 3.1 and the
      strength phi of Sec. 3.2.1, which is `steps`.
    """

    def __init__(
        self, steps: int, shape: str | Callable[[Any], Any] = "linear"
    ) -> None:
        steps = check_count("steps", steps, 0)
        if not callable(shape) and shape not in _SHAPES:
            raise GrowthError(
                f"`shape` must be one of {tuple(_SHAPES)} or a function. "
                f"Received: shape={shape!r}"
            )
        self.steps = steps
        self.shape = shape
        if callable(shape):
            self._check_shape(shape)

    def __call__(self, step):
        """How far the gate is open.

        Args:
            step: integer scalar tensor, the batches trained since the growth.

        Returns:
            float32 scalar tensor in `[0, 1]`.
        """
        if self.steps == 0:
            return ops.ones((), "float32")
        # Ends on 1 to the bit: the quotient of two equal numbers is.
        done: Any = ops.minimum(ops.cast(step, "float32"), float(self.steps))
        shape = self.shape
        if isinstance(shape, str):
            shape = _SHAPES[shape]
        opened = ops.clip(shape(done / float(self.steps)), 0.0, 1.0)
        return ops.where(done >= self.steps, ops.ones_like(opened), opened)

    def _check_shape(self, shape):
        places = [i / 16 for i in range(17)]
        found = [
            float(shape(ops.convert_to_tensor(t, "float32"))) for t in places
        ]
        rises = all(a <= b for a, b in zip(found, found[1:], strict=False))
        if abs(found[0]) > 1e-6 or abs(found[-1] - 1) > 1e-6 or not rises:
            raise GrowthError(
                "The `shape` of a ramp rises from 0 at 0 to 1 at 1. Received: "
                f"{self.shape!r}, which has the values {found}"
            )

    @classmethod
    def get(cls, identifier: Any) -> Ramp:
        """A ramp from a number of steps, a config or a ramp.

        Example:

        >>> Ramp.get(500), Ramp.get(Ramp(3).get_config())
        (Ramp(500), Ramp(3))
        >>> Ramp.get(keras.saving.serialize_keras_object(Ramp(3)))
        Ramp(3)
        """
        if isinstance(identifier, cls):
            return identifier
        if isinstance(identifier, dict):
            if "class_name" in identifier:
                return object_of(identifier, cls, "a ramp")
            if not {"steps"} <= set(identifier) <= {"steps", "shape"}:
                raise GrowthError(
                    "The config of a ramp has `steps`, and perhaps `shape`. "
                    f"Received: {identifier!r}"
                )
            return cls.from_config(identifier)
        return cls(identifier)

    def get_config(self) -> dict[str, Any]:
        shape = self.shape
        if callable(shape):
            shape = keras.saving.serialize_keras_object(shape)
        return {"steps": self.steps, "shape": shape}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        config = dict(config)
        if isinstance(config.get("shape"), dict):
            config["shape"] = registered_function(
                config["shape"], "the shape of a ramp"
            )
        return cls(**config)

    def __repr__(self):
        if self.shape == "linear":
            return f"Ramp({self.steps})"
        return f"Ramp({self.steps}, shape={self.shape!r})"

    def __eq__(self, other):
        return type(self) is type(other) and (
            self.get_config() == other.get_config()
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]
