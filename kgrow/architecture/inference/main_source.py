"""A class or a function of `__main__`, as text that another process can run.

What is defined in a script or in a cell of a notebook cannot be imported
elsewhere. Its text can be sent, with that of what it uses.
"""

import ast
import functools
import importlib
import linecache
import types

from kgrow.algebra.errors import GrowthError


def definition(name, scope):
    """Python text that defines a name again.

    Args:
        name: string, of a class or a function.
        scope: dict, the variables of the module that it is defined in.

    Returns:
        string: imports, constants, functions and classes that it uses, and
        itself, which comes last.

    Raises:
        GrowthError: the text cannot be found, or it uses an object that text
            cannot tell of.

    Example:

    >>> import keras
    >>> definition("units", {"units": 8, "keras": keras})
    'units = 8'
    """
    lines, seen = [], set()
    _define(name, scope, lines, seen)
    return "\n".join(lines)


def module_of(text):
    """A module made of the text that `definition()` gave."""
    module = types.ModuleType("kgrow_main_source")
    exec(compile(text, module.__name__, "exec"), vars(module))
    return module


def _define(name, scope, lines, seen):
    """Appends the lines that define a name, after those of what it uses."""
    if name in seen or name not in scope:
        # Known by now, or one of Python's own.
        return
    seen.add(name)
    value = scope[name]
    if isinstance(value, types.ModuleType):
        lines.append(f"import {value.__name__} as {name}")
    elif isinstance(
        value, type | types.FunctionType
    ) and value.__module__ == scope.get("__name__"):
        text = _text(name, value)
        for used in _names(text):
            _define(used, scope, lines, seen)
        lines.append(text)
    elif _is_imported(value):
        where, what = value.__module__, value.__qualname__
        lines.append(f"from {where} import {what} as {name}")
    elif _is_literal(value):
        lines.append(f"{name} = {value!r}")
    else:
        raise GrowthError(
            f"{name!r} is used by what builds the network, and another "
            "process cannot be told of it by text. Make it a number, a "
            "string, an import or a function, or make it inside the function. "
            f"Received: {type(value).__name__}"
        )


def _text(name, value):
    """The lines of a class or a function, without decorators."""
    code = next(iter(_codes(value)), None)
    lines = [] if code is None else linecache.getlines(code.co_filename)
    text = "".join(lines)
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = [
        node
        for node in (ast.parse(text).body if text else [])
        if isinstance(node, kinds) and node.name == name
    ]
    if not found:
        raise GrowthError(
            f"The text of {name!r} cannot be found. Define it in a file or in "
            "a cell of a notebook, under this name. Received: "
            f"{value!r}"
        )
    return ast.get_source_segment(text, found[-1])


def _codes(value):
    if isinstance(value, type):
        for each in vars(value).values():
            yield from _codes(getattr(each, "__func__", each))
    elif isinstance(value, types.FunctionType):
        yield value.__code__


def _names(text):
    nodes = ast.walk(ast.parse(text))
    return sorted({node.id for node in nodes if isinstance(node, ast.Name)})


def _is_imported(value):
    try:
        module = importlib.import_module(value.__module__)
        parts = value.__qualname__.split(".")
        return functools.reduce(getattr, parts, module) is value
    except (AttributeError, ImportError, TypeError, ValueError):
        return False


def _is_literal(value):
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError, TypeError):
        return False
