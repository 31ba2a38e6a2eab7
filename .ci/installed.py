"""Tries an installed kgrow: grows a model, saves it, runs the command.

python .ci/installed.py VERSION
"""

import pathlib
import subprocess
import sys

import keras
import numpy as np

import kgrow


def main(version):
    home = pathlib.Path(kgrow.__file__).resolve()
    assert home.is_relative_to(pathlib.Path(sys.prefix).resolve()), home
    assert kgrow.__version__ == version, kgrow.__version__
    grow_and_save()
    run_command(version)


def grow_and_save():
    model = kgrow.models.MLP(
        input_dim=4,
        output_dim=2,
        hidden_dim=8,
        intermediate_dim=16,
        num_layers=1,
    )
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 4)), rng.normal(size=(32, 2))
    model.fit(x, y, verbose=0)
    receipt = model.grow({"hidden_dim": 16, "num_layers": 2}, data=(x, y))
    print(receipt)
    assert receipt.exact
    model.fit(x, y, verbose=0)
    model.save("grown.keras")
    again = keras.models.load_model("grown.keras")
    np.testing.assert_array_equal(
        again.predict(x, verbose=0), model.predict(x, verbose=0)
    )


def run_command(version):
    """The console script, and commands that read data files of the wheel."""
    command = pathlib.Path(sys.executable).with_name("kgrow")
    printed = subprocess.run(
        [command, "--version"], check=True, capture_output=True, text=True
    )
    assert printed.stdout == f"kgrow {version}\n", printed.stdout
    subprocess.run([command, "inspect", "grown.keras"], check=True)
    sizes = {"hidden_dim": 4096, "num_layers": 8, "intermediate_dim": 16384}
    assert kgrow.advise(sizes, {"num_layers": 32}, tokens=100e9).grow


if __name__ == "__main__":
    main(*sys.argv[1:])
