"""The gates of a network: which units and blocks take part, and how far."""

import keras
import numpy as np
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.gate import Gate


@keras.saving.register_keras_serializable("kgrow")
class Gates(keras.layers.Layer):
    """Computes the masks of units and blocks that a growth has added.

    One step counter a growth, a non-trainable variable, is advanced inside
    the compiled training step; from it follow the masks of all dimensions and
    blocks that this growth has added. Nothing is sent to or from the device.
    While no gate is open there are no masks and no variables, and layers that
    take them compute what the stock layers do.

    Args:
        sizes: dict from names of dimensions to their sizes, and of stacks to
            their numbers of blocks.
        active_gates: list of `Gate`s, or of their configs.
        **kwargs: of `keras.layers.Layer`, such as `name`.

    Call arguments:
        inputs: optional tensor, not read; a functional model needs one to
            hold the layer.
        training: bool or `None`. In training the counters advance.

    Returns:
        dict with the mask of every dimension, of shape `(size,)`, and of
        every stack, of shape `(blocks,)`, or `None` for those without a gate.

    Raises:
        GrowthError: a gate names a dimension that there is not, or ends
            beyond it.

    Example:

    >>> from kgrow.algebra.ramp import Ramp
    >>> gates = Gates({"ffn": 4}, [Gate(Ramp(2), {"ffn": (3, 4)})])
    >>> [gates(training=True)["ffn"].tolist() for _ in range(3)]
    [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0]]
    >>> Gates({"ffn": 4})()
    {'ffn': None}

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Sec. 3.1. The
      public code has one gate for the whole network and opens it from the
      host; here every growth has its own.
    """

    def __init__(self, sizes, active_gates=(), **kwargs):
        super().__init__(**kwargs)
        self.sizes = dict(sizes)
        self.active_gates = []
        self._counters = []
        self.built = True
        self.set_active_gates(active_gates)

    def build(self, input_shape=None):
        del input_shape
        self.built = True

    def call(self, inputs=None, training=None):
        del inputs
        opened = self._advance(training)
        return {name: self._mask(name, opened) for name in self.sizes}

    def set_sizes(self, sizes):
        """Sets the sizes, in a network that knows them once it is built.

        Args:
            sizes: dict, as that of the constructor. There may be no gates yet.
        """
        self.sizes = dict(sizes)

    def set_active_gates(self, active_gates, steps=None):
        """Replaces all gates, and the counters with them.

        Args:
            active_gates: list of `Gate`s, or of their configs.
            steps: optional list of their counters' values.
        """
        active_gates = [
            o if isinstance(o, Gate) else Gate.from_config(o)
            for o in active_gates
        ]
        for gate in active_gates:
            self._check(gate)
        self._tracker.unlock()
        for counter in self._counters:
            self._untrack_variable(counter)
        self.active_gates = active_gates
        self._counters = [
            self._counter(i, 0 if steps is None else steps[i])
            for i in range(len(active_gates))
        ]
        self._tracker.lock()

    def remember(self):
        """Makes a function that puts the present gates back, and their
        counters, the same variables."""
        active_gates, counters = self.active_gates, self._counters

        def rewind():
            locked = self._tracker.locked
            self._tracker.unlock()
            for variable in [*self.variables]:
                self._untrack_variable(variable)
            for counter in counters:
                self._track_variable(counter)
            self.active_gates, self._counters = active_gates, counters
            if locked:
                self._tracker.lock()

        return rewind

    @property
    def counters(self):
        """The counters, one an opening."""
        return list(self._counters)

    def steps(self):
        """The counters' values, as ints: one look at the device."""
        return [int(ops.convert_to_numpy(c)) for c in self._counters]

    def get_config(self):
        return {
            **super().get_config(),
            "sizes": self.sizes,
            "active_gates": [o.get_config() for o in self.active_gates],
        }

    def compute_output_spec(self, inputs=None, training=None):
        return {
            name: keras.KerasTensor((size,), dtype="float32")
            if self._openings_of(name)
            else None
            for name, size in self.sizes.items()
        }

    def _counter(self, number, value):
        return self.add_weight(
            name=f"steps_{number}",
            shape=(),
            dtype="int32",
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
            # Every replica counts the same batches.
            aggregation="only_first_replica",
        )

    def _advance(self, training):
        """How far each gate is open in this step; counts it in training."""
        opened = []
        for gate, counter in zip(
            self.active_gates, self._counters, strict=True
        ):
            opened.append(gate.ramp(counter.value))
            if training:
                counter.assign_add(1)
        return opened

    def _openings_of(self, name):
        return [o for o in self.active_gates if name in (*o.units, *o.blocks)]

    def _mask(self, name, opened):
        size = self.sizes[name]
        mask, settled = None, np.ones(size, "float32")
        for gate, value in zip(self.active_gates, opened, strict=True):
            members = np.zeros(size, "float32")
            if name in gate.units:
                members[slice(*gate.units[name])] = 1
            elif name in gate.blocks:
                members[list(gate.blocks[name])] = 1
            else:
                continue
            settled -= members
            part = value * ops.convert_to_tensor(members)
            mask = part if mask is None else mask + part
        # Sums of zeros and ones, so that an open gate is 1 to the bit.
        return mask if mask is None else mask + ops.convert_to_tensor(settled)

    def _check(self, gate):
        for name in (*gate.units, *gate.blocks):
            if name not in self.sizes:
                raise GrowthError(
                    "The network has no gate for this dimension. Received: "
                    f"{name!r}; gates: {sorted(self.sizes)}"
                )
            size = self.sizes[name]
            last = max(
                gate.size(name) or 0,
                *(b + 1 for b in gate.blocks.get(name, ())),
                0,
            )
            if last > size:
                raise GrowthError(
                    f"A gate along {name!r} ends beyond its size {size}. "
                    f"Received: {gate.get_config()}"
                )
