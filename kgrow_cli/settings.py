"""Values on the command line: sizes, strategies and their arguments."""

import ast

import typer

# The default of options that may be repeated; click copies it.
NONE_GIVEN: list[str] = []


def sizes(settings, option="--set"):
    """`["num_layers=12", "depths=[2, 2]"]` as a dict.

    Raises:
        typer.BadParameter: one is not of the form FIELD=VALUE, the value is
            neither an integer nor a list of them, or a field comes twice.

    Example:

    >>> sizes(["num_layers=12", "depths=[2,2,18,2]"])
    {'num_layers': 12, 'depths': [2, 2, 18, 2]}
    """
    found = pairs(settings, option)
    for field, value in found.items():
        if not _is_size(value):
            raise typer.BadParameter(
                f"a size is an integer or a list of integers, such as "
                f"{field}=12 or '{field}=[2, 2, 18, 2]'. Received: "
                f"{field}={value!r}"
            )
    return found


def pairs(settings, option):
    """`["steps=20", "init=lemon"]` as a dict of Python values; what is no
    literal is a string.

    Example:

    >>> pairs(["steps=20", "init=lemon"], "--option")
    {'steps': 20, 'init': 'lemon'}
    """
    found = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not (name and equals and text.strip()):
            raise typer.BadParameter(
                f"{option} takes NAME=VALUE. Received: {setting!r}"
            )
        if name in found:
            raise typer.BadParameter(
                f"{option} names `{name}` twice. Received: {setting!r}"
            )
        found[name] = value(text.strip())
    return found


def value(text):
    """A literal, or the text itself.

    Example:

    >>> value("[0, 1]"), value("true"), value("net2net")
    ([0, 1], True, 'net2net')
    """
    known = {"true": True, "false": False, "none": None}
    if text.lower() in known:
        return known[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _is_size(value):
    if isinstance(value, list):
        return bool(value) and all(_is_size(entry) for entry in value)
    return isinstance(value, int) and not isinstance(value, bool)
