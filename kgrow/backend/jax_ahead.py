"""Steps compiled ahead on JAX: the executable takes state and batch.

What is compiled knows no variables: state goes in and comes out, so that a
program that was traced on one model runs for another whose state is laid out
alike.
"""

import contextlib

import jax
import keras
from jax.experimental.compilation_cache import compilation_cache

from kgrow.backend import jax_lowering
from kgrow.backend.ahead_program import AheadProgram

# Settings that a user may change for one thread by a context.
_CONTEXTS = {
    "jax_enable_x64": jax.enable_x64,
    "jax_default_matmul_precision": jax.default_matmul_precision,
    "jax_default_device": jax.default_device,
}


def trace_settings():
    """dict of all of JAX's settings in this thread."""
    found = {
        name: getattr(jax.config, name, None) for name in jax.config.values
    }
    return found | {name: getattr(jax.config, name) for name in _CONTEXTS}


@contextlib.contextmanager
def with_settings(settings):
    """Context with another thread's settings; see `Backend`."""
    with contextlib.ExitStack() as stack:
        for name, context in _CONTEXTS.items():
            if getattr(jax.config, name) != settings[name]:
                stack.enter_context(context(settings[name]))
        yield


def keep_programs(folder):
    """Keeps programs on the disk; see `Backend`."""
    for name, value in {
        "jax_compilation_cache_dir": str(folder),
        # However small: a growth has many.
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        jax.config.update(name, value)
    # JAX looks for a folder once, when it compiles first.
    compilation_cache.reset_cache()


def compile_ahead(model, kind, batch):
    """The compiled step of a model; see `Backend.compile_ahead()`."""
    distribution = keras.distribution.distribution()
    lowered, _, _ = jax_lowering.lower_step(model, kind, batch, distribution)
    program = lowered.compile()
    memory = program.memory_analysis()
    size = memory and memory.generated_code_size_in_bytes
    return AheadProgram(program, size)


def with_programs(model, function, calls):
    """Runs programs in the place of Keras' function; see `Backend`."""
    executions = model.steps_per_execution

    def step(state, data):
        program = calls.find(data, None)
        if program is not None:
            try:
                return program.run(state, data)
            except (TypeError, ValueError) as error:
                # Arguments are checked before anything runs.
                calls.refuse(data, error)
        return function(state, iter((data,)))

    def run(state, iterator):
        outputs, state = step(state, next(iterator))
        for _ in range(executions - 1):
            try:
                data = next(iterator)
            except StopIteration:
                break
            outputs, state = step(state, data)
        return outputs, state

    return run
