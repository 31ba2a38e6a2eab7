"""A folder of safetensors grown into another: CPU seconds and peak memory.

    python benchmarks/folder_growth.py             # Llama 125M, 12 to 24 blocks
    python benchmarks/folder_growth.py --size 7b   # a 7B-sized folder, bfloat16

Weights are random: what is measured does not depend on them. Each growth runs
in a process of its own, whose CPU time and peak resident memory are read from
the system. Where mergekit is installed, it makes the same deeper folder by a
passthrough merge, in the same way.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

import ml_dtypes
import numpy as np
from report import Flags, publish

from kgrow.hf.shards import (
    NewTensor,
    append_array,
    divide,
    new_shard,
    write_index,
)

SIZES = {
    "125m": {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 12,
        "vocab_size": 32000,
    },
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32000,
    },
}
QUICK = {"blocks": 2}
COLUMNS = ["growth", "seconds", "CPU seconds", "peak MiB"]
GROWTHS = {
    "125m": (
        ("stack", {"num_hidden_layers": 24}),
        ("llama_pro", {"num_hidden_layers": 24}),
        ("lemon", {"hidden_size": 1024, "num_attention_heads": 16}),
    ),
    "7b": (
        ("llama_pro", {"num_hidden_layers": 40}),
        ("lemon", {"hidden_size": 5120, "num_attention_heads": 40}),
    ),
}


def shapes(config):
    """`{name: shape}` of a Llama's tensors."""
    n, ffn = config["hidden_size"], config["intermediate_size"]
    found = {"model.embed_tokens.weight": (config["vocab_size"], n)}
    for block in range(config["num_hidden_layers"]):
        at = f"model.layers.{block}."
        for part in "qkvo":
            found[f"{at}self_attn.{part}_proj.weight"] = (n, n)
        found[f"{at}mlp.gate_proj.weight"] = (ffn, n)
        found[f"{at}mlp.up_proj.weight"] = (ffn, n)
        found[f"{at}mlp.down_proj.weight"] = (n, ffn)
        found[f"{at}input_layernorm.weight"] = (n,)
        found[f"{at}post_attention_layernorm.weight"] = (n,)
    found["model.norm.weight"] = (n,)
    found["lm_head.weight"] = (config["vocab_size"], n)
    return found


def write_folder(folder, sizes, blocks=None):
    """Writes a Llama of random bfloat16 weights, one tensor at a time."""
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        **sizes,
    }
    if blocks is not None:
        config["num_hidden_layers"] = blocks
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    tensors = [NewTensor(n, "BF16", s) for n, s in shapes(config).items()]
    shards = divide(tensors)
    rng = np.random.default_rng(0)
    for name, shard in shards.items():
        with new_shard(folder / name, shard, {"format": "pt"}) as file:
            for tensor in shard:
                values = rng.standard_normal(tensor.shape, np.float32)
                append_array(file, values.astype(ml_dtypes.bfloat16))
    write_index(folder, shards)


# In a small process between: on Linux a command's peak begins with that of
# the process that started it.
_MEASURE = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(json.dumps({
    "seconds": round(time.perf_counter() - start, 2),
    "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
    "peak_mib": round(used.ru_maxrss / 1024),
}))
sys.exit(status != 0)
"""


def measure(command):
    """Runs a command: `{"seconds", "cpu_seconds", "peak_mib"}`."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def grow(folder, target, strategy, out):
    settings = [f"--set={field}={size}" for field, size in target.items()]
    return measure(
        [sys.executable, "-m", "kgrow_cli", "grow", folder, *settings]
        + ["--strategy", strategy, "-o", out]
    )


def merge(folder, blocks, out):
    """The folder stacked on itself by mergekit."""
    part = {"model": str(folder), "layer_range": [0, blocks]}
    recipe = {
        "merge_method": "passthrough",
        "dtype": "bfloat16",
        "slices": [{"sources": [part]}, {"sources": [part]}],
    }
    path = out.with_suffix(".yml")
    path.write_text(json.dumps(recipe))  # JSON is YAML
    command = [sys.executable, "-m", "mergekit.scripts.run_yaml", path, out]
    return measure([*command, "--no-copy-tokenizer"])


def _scaled(target, options):
    """The target, its depth in the proportion of the blocks there are."""
    depth = target.get("num_hidden_layers")
    if options.blocks is None or depth is None:
        return target
    usual = SIZES[options.size]["num_hidden_layers"]
    return {**target, "num_hidden_layers": depth * options.blocks // usual}


def main():
    parser = Flags(__doc__, QUICK, {size: {} for size in SIZES})
    parser.add_argument("--blocks", type=int, help="fewer blocks than usual")
    parser.add_argument("--folder", help="where to write; by default temporary")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        small = pathlib.Path(folder) / "small"
        write_folder(small, SIZES[options.size], options.blocks)
        for number, (strategy, target) in enumerate(GROWTHS[options.size]):
            out = small.parent / str(number)
            target = _scaled(target, options)
            rows[f"{strategy} {target}"] = grow(small, target, strategy, out)
            for path in out.iterdir():
                path.unlink()
        if importlib.util.find_spec("mergekit") and options.size == "125m":
            blocks = options.blocks or SIZES["125m"]["num_hidden_layers"]
            rows["mergekit passthrough"] = merge(
                small, blocks, small.parent / "merged"
            )
    publish(
        f"folder_growth_{options.size}",
        f"a Llama folder of {options.size} grown, bfloat16",
        COLUMNS,
        [[name, *row.values()] for name, row in rows.items()],
        options.results,
        options=vars(options),
    )


if __name__ == "__main__":
    main()
