"""`kgrow inspect`: what a model is made of."""

import json

from rich.console import Console

from kgrow.architecture.architecture import count_parameters
from kgrow.backend.flops import forward_flops, training_flops
from kgrow_cli.commands.inputs import as_symbols, described, make_inputs
from kgrow_cli.commands.model_files import read_model
from kgrow_cli.commands.model_tree import spec_facts, tree_of


def inspect_model(path, batch, length, imports, as_json):
    """Prints the facts of the model in a file, as a tree or as JSON."""
    console = Console(highlight=False)
    with Console(stderr=True).status("reading the model"):
        model = read_model(path, imports)
        facts = facts_of(model, batch, length)
    facts = {"file": str(path), **facts}
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        console.print(tree_of(facts))


def facts_of(model, batch=1, length=None):
    """The output of `inspect` for a `GrowableModel`, as plain data."""
    spec, network = model.architecture.spec, model.network
    inputs = make_inputs(network, spec, batch, length)
    symbols = as_symbols(inputs)
    return {
        "class": type(model).__name__,
        "network": type(network).__name__,
        "dtype": network.dtype_policy.name,
        "sizes": model.growth_config,
        **spec_facts(spec),
        "parameters": count_parameters(network),
        "inputs": described(inputs),
        "forward_flops": forward_flops(network, symbols),
        "training_flops": training_flops(network, symbols),
        "growths": len(model.growth_history),
        "active_gates": len(model.active_gates),
    }
