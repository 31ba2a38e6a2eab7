"""`kgrow grow`: a saved model made larger and saved again."""

from rich.console import Console

from kgrow.algebra.errors import GrowthError
from kgrow_cli.commands.data_option import read_data, read_loss
from kgrow_cli.commands.fitting import print_text
from kgrow_cli.commands.model_files import check_output, read_model, replacing
from kgrow_cli.commands.strategy_choice import chosen_strategy
from kgrow_cli.settings import value


def grow_model(
    path,
    target,
    strategy,
    output,
    *,
    data=None,
    loss=None,
    optimizer_state="carry",
    trainable=None,
    seed=0,
    force=False,
    imports=(),
):
    """Grows the model in a file, writes another, and prints the receipt."""
    output = check_output(output, force)
    strategy = chosen_strategy(*strategy)
    if strategy.needs_data and data is None:
        raise GrowthError(
            f"The strategy {strategy!r} learns, and needs data: --data "
            "ARRAYS.npz, with the arrays x and y, or --data stdlib."
        )
    with Console(stderr=True).status("reading the model") as status:
        model = read_model(path, imports)
        if loss is not None:
            model.compile(
                optimizer=getattr(model, "optimizer", None) or "adam",
                loss=read_loss(loss),
            )
        data = read_data(data, model)
        status.update("growing")
        if strategy.needs_data:
            # The bar of its own `fit` is the progress.
            status.stop()
        receipt = model.grow(
            target,
            strategy,
            data=data,
            optimizer_state=optimizer_state,
            trainable=None if trainable is None else value(trainable),
            seed=seed,
        )
        status.start()
        status.update("writing")
        with replacing(output) as beside:
            model.save(beside)
    print_text(Console(), str(receipt))
    print(f"written: {output}")
    return receipt
