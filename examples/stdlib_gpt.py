"""Grows a byte-level GPT inside one `fit`, then asks whether it paid.

The same as the command `kgrow demo`; see `kgrow_cli/commands/demo.py`.

    make demo                             # 3 to 5 minutes on two cores
    make demo ARGS="--scale 4"            # four times the steps
    make demo ARGS="--width hypercloning --depth middle --seed 1"
"""

import sys

from kgrow_cli.app import main

if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])
