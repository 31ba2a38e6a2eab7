"""`kgrow strip`: the plain network inside a grown model."""

from rich.console import Console

from kgrow.architecture.architecture import count_parameters
from kgrow_cli.commands.model_files import check_output, read_model, replacing


def strip_model(path, output, force=False, force_open_gates=False, imports=()):
    """Writes the network of the model in a file, without gates."""
    output = check_output(output, force)
    with Console(stderr=True).status("reading the model") as status:
        model = read_model(path, imports)
        if force_open_gates:
            model.force_open_gates()
        network = model.strip()
        status.update("writing")
        with replacing(output) as beside:
            network.save(beside)
    print(
        f"written: {output}, {type(network).__name__} of "
        f"{count_parameters(network):,} parameters"
    )
