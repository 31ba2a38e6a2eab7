"""Growing vision models at the papers' sizes: seconds, and memory.

DeiT-S to DeiT-B, CaiT-XS to CaiT-S and Swin-T to Swin-S, 224 x 224 images, each
with an AdamW that has its slots, each pair in a process of its own. Beside the
seconds of `model.grow()` stand the parameters; beside the peak of memory, the
bytes of the old and the new state together.

    KERAS_BACKEND=torch python benchmarks/vision_growth.py
"""

import json
import subprocess
import sys

import keras
from growth_cost import state_bytes
from report import Flags, publish

from kgrow import GrowthError
from kgrow.backend.memory import PeakMemory
from kgrow.models import configurations

PAIRS = {
    "DeiT-S to DeiT-B": ("deit_small", "deit_base"),
    "CaiT-XS to CaiT-S": ("cait_xs", "cait_small"),
    "Swin-T to Swin-S": ("swin_tiny", "swin_small"),
}
STRATEGIES = ("net2net", "lemon", "msg", "hypercloning")
QUICK = {"only": ["Swin-T to Swin-S"], "strategies": ["net2net"]}


def measure(pair, strategy):
    small, large = PAIRS[pair]
    model = configurations.build(small)
    model.compile(keras.optimizers.AdamW(1e-4), "mse")
    model.optimizer.build(model.trainable_variables)
    target = {
        field: value
        for field, value in configurations.configuration(large).items()
        if field in model.growth_config and value != model.growth_config[field]
    }
    before = state_bytes(model)
    try:
        with PeakMemory() as memory:
            receipt = model.grow(target, strategy, seed=0)
    except GrowthError as error:
        return {"refuses": str(error)}
    return {
        "parameters": [receipt.parameters_before, receipt.parameters_after],
        "seconds": receipt.seconds,
        "peak": (before + memory.extra_bytes) / (before + state_bytes(model)),
        "relative difference": receipt.relative_diff,
        "exact": receipt.exact,
    }


def main():
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--only", nargs="*", default=list(PAIRS))
    parser.add_argument("--strategies", nargs="*", default=list(STRATEGIES))
    parser.add_argument("--here", action="store_true")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.only[0], options.strategies[0])))
        return
    rows = []
    for pair in options.only:
        for strategy in options.strategies:
            command = [sys.executable, __file__, "--here", "--only", pair]
            command += ["--strategies", strategy]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                raise SystemExit(f"{pair} with {strategy} failed")
            found = json.loads(done.stdout.strip().splitlines()[-1])
            if "refuses" in found:
                row = [
                    pair,
                    strategy,
                    found["refuses"].split(".")[0],
                    *[""] * 4,
                ]
            else:
                old, new = found.pop("parameters")
                sizes = f"{old / 1e6:.1f} to {new / 1e6:.1f} M"
                row = [pair, strategy, sizes, *found.values()]
            rows.append(row)
            print(row, flush=True)
    publish(
        "vision_growth",
        "Vision models at the papers' sizes",
        [
            "from and to",
            "strategy",
            "parameters",
            "seconds",
            "peak over both states",
            "relative difference",
            "exact",
        ],
        rows,
        folder=options.results,
        options=vars(options),
    )


if __name__ == "__main__":
    main()
