"""The signatures of families, which take the arguments of their networks.

Pages are made from the sources, where the constructor of a family is not
written a second time.
"""

import griffe


class FamilySignatures(griffe.Extension):
    """Gives each family a constructor with its network's arguments."""

    def on_package(self, *, pkg, **kwargs):
        del kwargs
        models = pkg.modules.get("models")
        for module in models.modules.values() if models else ():
            for cls in module.classes.values():
                _add_constructor(cls)


def _add_constructor(cls):
    """Does so if a class of the sources names its network."""
    network = cls.members.get("network_class")
    if network is None or str(network.value) == "None":
        return
    kind = griffe.ParameterKind.positional_or_keyword
    arguments = cls.module[str(network.value)]["__init__"].parameters
    parameters = [p for p in arguments if p.kind is kind and p.name != "gates"]
    parameters += [
        griffe.Parameter(name, kind=kind, default="None")
        for name in ("name", "dtype")
    ]
    constructor = griffe.Function(
        "__init__", parameters=griffe.Parameters(*parameters)
    )
    cls.set_member("__init__", constructor)
