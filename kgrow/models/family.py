"""A family: a growable model that builds its own network."""

import inspect

from kgrow.algebra.errors import GrowthError
from kgrow.growth.growable_model import GrowableModel
from kgrow.models.network import Network


class Family(GrowableModel):
    """Base class of families, the growable models that are made of sizes.

    A subclass names the class of its network in `network_class`, and a small
    model to try it on in `example`. Its constructor takes the arguments of the
    network, but for `gates`, and then `name` and `dtype`; the docstring says
    what they mean.

    Attributes:
        network_class: subclass of `Network`.
        axes: `AxisMap`, that of the network's class.
        example: `Example`.
        kind: string, the kind of its inputs, see `register()`.

    Raises:
        GrowthError: an argument is out of range.
        TypeError: an argument is missing or unknown.

    Example:

    >>> import inspect, kgrow
    >>> issubclass(kgrow.models.MLP, Family)
    True
    >>> [*inspect.signature(kgrow.models.MLP).parameters][-3:]
    ['dropout', 'name', 'dtype']
    """

    network_class = None
    axes = None
    example = None
    kind = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.network_class is None:
            return
        if not issubclass(cls.network_class, Network):
            raise GrowthError(
                f"`{cls.__name__}.network_class` must be a subclass of "
                f"`Network`. Received: network_class={cls.network_class!r}"
            )
        cls.axes = cls.network_class.axes
        if "__init__" not in vars(cls):
            cls.__init__ = _constructor(cls.network_class)

    def __init__(self, name=None, dtype=None, **config):
        network = self.network_class(name="network", dtype=dtype, **config)
        super().__init__(network, network.make_axes(), name=name)

    @classmethod
    def small(cls, **overrides):
        """The small model of `example`.

        Args:
            **overrides: constructor arguments that are to be others.

        Example:

        >>> import kgrow
        >>> kgrow.models.GPT2.small(num_layers=1).growth_config["num_layers"]
        1
        """
        return cls(**{**cls.example.sizes, **overrides})

    def get_config(self):
        config = self.network.get_config()
        config.pop("trainable")
        return {**config, "name": self.name}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        gates = config.pop("gates", ())
        model = cls(**config)
        model.network.gates.set_active_gates(gates)
        return model


def _constructor(network_class):
    """`__init__` of a family, with the arguments of its network."""
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature(
        [
            inspect.Parameter("self", keyword),
            *network_class.field_parameters(),
            inspect.Parameter("name", keyword, default=None),
            inspect.Parameter("dtype", keyword, default=None),
        ]
    )

    def __init__(self, *args, **kwargs):
        try:
            arguments = signature.bind(self, *args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}(): {error}") from None
        Family.__init__(**arguments)

    __init__.__signature__ = signature
    return __init__
