"""Tracing a network's forward pass on shapes, with JAX."""

import keras
import numpy as np

from kgrow.architecture.inference.dimensions import new_axis
from kgrow.architecture.inference.trace_result import Facts, Operation
from kgrow.architecture.inference.tracer import Tracer
from kgrow.architecture.inference.value_ops import constant
from kgrow.architecture.inference.values import Value

# Operations that are a computation of their own.
_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_LOOPS = ("while", "scan")


def trace(network, paths, inputs):
    """What one forward pass says about a network's dimensions.

    Nothing is computed, and variables need no values.

    Args:
        network: a built Keras model, on the JAX backend.
        paths: list of the paths of its variables, in order of
            `network.variables`.
        inputs: structure of `keras.KerasTensor`s with whole shapes.

    Returns:
        `Facts`.
    """
    import jax

    trainable = network.trainable_variables
    other = network.non_trainable_variables
    names = {id(v): p for v, p in zip(network.variables, paths, strict=True)}
    shapes = [
        jax.ShapeDtypeStruct(tuple(v.shape), v.dtype)
        for v in (*trainable, *other)
    ]
    given = keras.tree.map_structure(
        lambda t: (
            t if t is None else jax.ShapeDtypeStruct(tuple(t.shape), t.dtype)
        ),
        inputs,
    )

    def call(values, given):
        mapping = list(zip((*trainable, *other), values, strict=True))
        # Not `stateless_call`, which names `training` to networks that do not.
        with keras.StatelessScope(state_mapping=mapping):
            return network(given, training=False)

    closed = jax.make_jaxpr(call)(shapes, given)
    facts = Facts()
    tracer = Tracer(facts)
    values = []
    for variable in (*trainable, *other):
        path = names[id(variable)]
        axes = [new_axis(n) for n in variable.shape]
        facts.axes[path] = axes
        values.append(Value(axes, leaves=frozenset([path]), tail=frozenset()))
    number = len(values)
    for var in closed.jaxpr.invars[number:]:
        axes = [new_axis(n, pinned="an input") for n in var.aval.shape]
        values.append(tracer.input(Value(axes, moves=True)))
    results = _run(tracer, closed.jaxpr, closed.consts, values)
    tracer.flush(results)
    facts.outputs = [r.axes for r in results]
    facts.normed = [r.norm is not None for r in results]
    facts.settle()
    return facts


def _run(tracer, jaxpr, consts, values):
    """The values that a computation puts out."""
    known = {}
    for var, const in zip(jaxpr.constvars, consts, strict=True):
        known[var] = const if isinstance(const, Value) else constant(const)
    for var, value in zip(jaxpr.invars, values, strict=True):
        known[var] = value

    def read(atom):
        if hasattr(atom, "val"):
            return constant(np.asarray(atom.val))
        return known[atom]

    for equation in jaxpr.eqns:
        inputs = [read(v) for v in equation.invars]
        results = _equation(tracer, equation, inputs)
        _log(tracer.facts, equation, inputs, results)
        for var, result in zip(equation.outvars, results, strict=True):
            known[var] = result
    return [read(v) for v in jaxpr.outvars]


def _log(facts, equation, inputs, results):
    """Writes down what is computed, in a form in which blocks compare."""
    if any(equation.params.get(key) is not None for key in _CALLS):
        return
    weights = [min(v.leaves) for v in inputs if v.is_weight]
    facts.read.update(*(v.leaves for v in inputs))
    params = {
        key: str(value)
        for key, value in equation.params.items()
        if key not in ("branches", "cond_jaxpr", "body_jaxpr")
    }
    # As text: NaN is not equal to itself.
    numbers = tuple(str(v.number) for v in inputs)
    constants = tuple(v.digest for v in inputs)
    shapes = tuple(v.aval.str_short() for v in equation.outvars)
    done = (equation.primitive.name, str(params), numbers, constants, shapes)
    made = before = 0
    for result in results:
        made |= 1 << result.origin
        before |= result.before
    path = weights[0] if weights else None
    facts.log.append(Operation(path, done, made, before))


def _equation(tracer, equation, inputs):
    name = equation.primitive.name
    shapes = [tuple(v.aval.shape) for v in equation.outvars]
    if name in _LOOPS:
        return tracer.apply(name, inputs, shapes, equation.params)
    if name == "cond":
        return _branches(tracer, equation, inputs)
    for key in _CALLS:
        inner = equation.params.get(key)
        if inner is not None:
            consts = getattr(inner, "consts", ())
            body = getattr(inner, "jaxpr", inner)
            return _run(tracer, body, consts, inputs)
    return tracer.apply(name, inputs, shapes, equation.params)


def _branches(tracer, equation, inputs):
    """What either branch says holds, and their results are one."""
    found = [
        _run(tracer, branch.jaxpr, branch.consts, inputs[1:])
        for branch in equation.params["branches"]
    ]
    results = []
    for options in zip(*found, strict=True):
        whole = options[0]
        for other in options[1:]:
            shape = tuple(equation.outvars[len(results)].aval.shape)
            (whole,) = tracer.apply("max", [whole, other], [shape], {})
        results.append(whole)
    return results
