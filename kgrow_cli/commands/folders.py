"""Folders of safetensors on the command line: nothing here loads Keras."""

import json
from dataclasses import asdict

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow import hf
from kgrow.algebra.config_fields import text
from kgrow_cli.commands.claims_table import claims_table
from kgrow_cli.commands.fitting import print_table, print_text
from kgrow_cli.commands.model_tree import spec_facts, tree_of
from kgrow_cli.commands.strategy_choice import chosen_strategy
from kgrow_cli.commands.units import bytes_text


def refuse_options(**given):
    """Raises where an option was given that means nothing for a folder."""
    names = [f"--{name.replace('_', '-')}" for name, on in given.items() if on]
    if names:
        raise typer.BadParameter(
            "a folder of safetensors is grown without Keras and without data, "
            f"into a folder that is not there yet. Received: {', '.join(names)}"
        )


def grow_folder(path, target, strategy, output, seed):
    """Grows a folder into another one, and prints the receipt."""
    strategy = chosen_strategy(*strategy)
    with Console(stderr=True).status("growing"):
        receipt = hf.grow(path, target, strategy, out=output, seed=seed)
    print_text(Console(), str(receipt))
    print(f"written: {output}")
    return receipt


def change_vocabulary(path, tokenizer, output):
    """Writes a folder with another vocabulary, and prints the receipt."""
    with Console(stderr=True).status("reading tokens"):
        receipt = hf.change_vocabulary(path, tokenizer, output)
    print_text(Console(), str(receipt))
    print(f"written: {output}")


def inspect_folder(path, as_json):
    """Prints the facts of a folder, as a tree or as JSON."""
    source = hf.read_spec(path)
    spec, config = source.spec, source.config
    fields = {
        part.field for part in (*spec.dims.values(), *spec.stacks.values())
    }
    dtypes = sorted({t.dtype for t in source.layouts.values()})
    facts = {
        "file": str(path),
        "class": config["model_type"],
        "network": ", ".join(config.get("architectures") or ["a folder"]),
        "dtype": ", ".join(dtypes),
        "sizes": {f: config[f] for f in sorted(fields) if config.get(f)},
        **spec_facts(spec),
        "parameters": source.parameters,
    }
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        Console(highlight=False).print(tree_of(facts))


def plan_folder(path, target, strategy, seed, as_json):
    """Prints what growing a folder would do."""
    strategy = chosen_strategy(*strategy)
    plan = hf.plan_growth(path, target, strategy, seed)
    claims = [asdict(claim) for claim in plan.claims]
    if as_json:
        facts = _sides(plan)
        print(
            json.dumps(
                {
                    "file": str(path),
                    "strategy": repr(strategy),
                    **facts,
                    "claims": claims,
                },
                indent=2,
            )
        )
        return
    console = Console(highlight=False)
    print_table(console, _sizes_table(plan, strategy))
    print_table(console, claims_table(claims, plan.plan))
    kept = "what the present one does" if plan.exact else "something else"
    console.print(f"[dim]•[/] the grown model computes {kept} at first")


def _sides(plan):
    """Sizes, parameters and bytes before and after."""
    changed = {
        field: (plan.source.config.get(field), new)
        for field, new in plan.target.config.items()
        if plan.source.config.get(field) != new
    }
    sides = (plan.source.parameters, plan.target.parameters)
    nbytes = (plan.checkpoint.nbytes, plan.nbytes)
    return {
        side: {
            "sizes": {field: pair[at] for field, pair in changed.items()},
            "parameters": sides[at],
            "weight_bytes": nbytes[at],
        }
        for at, side in enumerate(("before", "after"))
    }


def _sizes_table(plan, strategy):
    sides = _sides(plan)
    before, after = sides["before"], sides["after"]
    table = Table(title=escape(f"plan: {strategy!r}"), title_justify="left")
    for column in ("", "before", "after"):
        table.add_column(
            column, justify="right" if column else "left", no_wrap=True
        )
    for field, new in after["sizes"].items():
        table.add_row(escape(field), _cell(before["sizes"][field]), _cell(new))
    table.add_section()
    for label, name, written in (
        ("parameters", "parameters", text),
        ("weights", "weight_bytes", bytes_text),
    ):
        table.add_row(label, written(before[name]), written(after[name]))
    return table


def _cell(value):
    if isinstance(value, int) and not isinstance(value, bool):
        return text(value)
    return "" if value is None else escape(str(value))
