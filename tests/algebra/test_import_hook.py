"""`import kgrow` is light, and Keras finds its classes all the same."""

import subprocess
import sys

import keras
import pytest

FRAMEWORKS = "{'keras', 'torch', 'tensorflow', 'jax'} & set(sys.modules)"


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend"
)
def test_the_light_half_imports_no_framework():
    code = (
        "import sys, kgrow, kgrow.hf, kgrow.strategies\n"
        "kgrow.claims, kgrow.Plan, kgrow.strategies.get('lemon')\n"
        f"print(*{FRAMEWORKS})"
    )
    assert run(code) == []


# One import of Keras a process: one case of each kind.
@pytest.mark.sample
@pytest.mark.parametrize(
    "first",
    [
        "import kgrow, keras",
        "from kgrow.architecture import architecture; import keras",
    ],
)
@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend"
)
def test_keras_finds_the_classes_whoever_comes_first(first):
    code = (
        f"{first}\n"
        "for name in ('GPT2', 'LEMON', 'Ramp', 'GrowableModel'):\n"
        "    cls = keras.saving.get_registered_object('kgrow>' + name)\n"
        "    print(cls.__name__)\n"
    )
    assert run(code) == ["GPT2", "LEMON", "Ramp", "GrowableModel"]
