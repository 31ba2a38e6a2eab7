"""What a family is: a growable model that builds its own network."""

from kgrow.growth.growable_model import GrowableModel


class Family(GrowableModel):
    """Base class of growable models that are written down by their fields.

    A subclass names the network's class in `network_class` and its axes in
    `axes`; its constructor arguments are the network's config fields.
    """

    network_class = None
    axes = None

    def __init__(self, name=None, dtype=None, **config):
        network = self.network_class(name="network", dtype=dtype, **config)
        super().__init__(network, self.make_axes(network), name=name)

    @classmethod
    def make_axes(cls, network):
        """`AxisMap` of a network: `axes`, unless fields decide more than
        sizes, such as the number of stages."""
        del network
        return cls.axes

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
