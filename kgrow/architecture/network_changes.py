"""Is a network still the one whose axes were read?"""

from kgrow.algebra.errors import GrowthError

_NAMED = 3


def check_unchanged(architecture, action):
    """Refuses a network that was changed since its axes were read.

    Args:
        architecture: `Architecture`.
        action: string, what cannot be done, as a sentence begins: "Growing".

    Raises:
        GrowthError: variables were added, removed or replaced by others, by
            LoRA, quantisation or a user.
    """
    network, spec = architecture.network, architecture.spec
    now = {path: tuple(shape) for path, shape in architecture.variables()}
    known = {path: v.shape for path, v in spec.variables.items()}
    if now == known and not _quantised(network):
        return
    raise GrowthError(
        f"{action} is not possible: {_cause(network, now, known)}"
    )


def _cause(network, now, known):
    layers = network._flatten_layers()
    adapted = [x.name for x in layers if getattr(x, "lora_enabled", False)]
    if adapted:
        return (
            f"LoRA is enabled on {_some(adapted)}, and a plan knows the axes "
            "of the weights only. Merge or disable LoRA first: "
            "`network.save_weights()` writes merged kernels, which a network "
            "without LoRA loads, and that can be wrapped."
        )
    if _quantised(network):
        return (
            f"the layers {_some(_quantised(network))} are quantised, and "
            "quantised weights neither grow nor load again into a growable "
            "model. Grow before you quantise, and save the plain network: "
            "`model.strip().save(path)`."
        )
    added = sorted(set(now) - set(known))
    removed = sorted(set(known) - set(now))
    changed = sorted(p for p in set(now) & set(known) if now[p] != known[p])
    parts = [
        f"{what} {_some(paths)}"
        for what, paths in (
            ("added were", added),
            ("removed were", removed),
            ("of another shape are", changed),
        )
        if paths
    ]
    return (
        "the network's variables have changed since it was wrapped: "
        f"{'; '.join(parts)}. Wrap it again: `kgrow.GrowableModel(network)`."
    )


def _quantised(network):
    return [
        layer.name
        for layer in network._flatten_layers()
        if getattr(layer, "quantization_mode", None) is not None
    ]


def _some(names):
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more
