"""GPT-2 in plain PyTorch, without Keras: what others write by hand.

Pre-norm blocks, queries, keys and values from one projection,
`scaled_dot_product_attention`, the tanh GELU, and the token embedding as the
head. The same network as `kgrow.models.GPT2`, and, given its weights, the same
function.

`throughput.py` runs this in a process of its own; alone it prints the seconds
of a few rounds:

    python benchmarks/plain_gpt2.py --hidden 256 --layers 4
    python benchmarks/plain_gpt2.py --compile --dtype mixed_bfloat16
"""

import argparse
import contextlib
import json
import sys
import time

import torch
from gpt2_task import add_model_flags, random_tokens
from torch import nn
from torch.nn import functional

EPSILON = 1e-5  # of norms
# What Keras' AdamW has by default, and this one has not.
OPTIMIZER = {"weight_decay": 0.004, "eps": 1e-7}


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, hidden, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(hidden, EPSILON)
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.feedforward_norm = nn.LayerNorm(hidden, EPSILON)
        self.widen = nn.Linear(hidden, 4 * hidden)
        self.narrow = nn.Linear(4 * hidden, hidden)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        batch, length, hidden = x.shape
        packed = self.query_key_value(self.attention_norm(x))
        packed = packed.view(batch, length, 3, self.heads, -1)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
        )
        found = found.transpose(1, 2).reshape(batch, length, hidden)
        x = x + self.drop(self.attention_output(found))
        inner = self.widen(self.feedforward_norm(x))
        inner = functional.gelu(inner, approximate="tanh")
        return x + self.drop(self.narrow(inner))


class PlainGPT2(nn.Module):
    """Token ids `(batch, length)` to logits `(batch, length, vocabulary)`.

    Args:
        vocabulary: int.
        layers: int.
        heads: int.
        hidden: int.
        length: int, positions.
        dropout: float.
    """

    def __init__(self, vocabulary, layers, heads, hidden, length, dropout=0.0):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, hidden)
        self.positions = nn.Embedding(length, hidden)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(hidden, heads, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden, EPSILON)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, token_ids):
        x = self.tokens(token_ids) + self.positions.weight[: token_ids.shape[1]]
        x = self.drop(x)
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.tokens.weight)

    def set_weights(self, weights):
        """Takes over the weights of a Keras network.

        Args:
            weights: `{path: array}`, the paths below the network, as
                `"transformer_layer_0/self_attention/query/kernel"`.

        Raises:
            KeyError: there is a weight more or less than there should be.
        """
        weights = dict(weights)
        mine = {
            "token_embedding/embeddings": self.tokens.weight,
            "position_embedding/embeddings": self.positions.weight,
            "layer_norm/gamma": self.norm.weight,
            "layer_norm/beta": self.norm.bias,
        }
        for number, block in enumerate(self.blocks):
            at = f"transformer_layer_{number}"
            rows = block.query_key_value.weight.chunk(3)
            biases = block.query_key_value.bias.chunk(3)
            for part, row, bias in zip(
                ("query", "key", "value"), rows, biases, strict=True
            ):
                mine[f"{at}/self_attention/{part}/kernel"] = row
                mine[f"{at}/self_attention/{part}/bias"] = bias
            for name, layer in (
                ("self_attention/attention_output", block.attention_output),
                ("feedforward_intermediate_dense", block.widen),
                ("feedforward_output_dense", block.narrow),
            ):
                mine[f"{at}/{name}/kernel"] = layer.weight
                mine[f"{at}/{name}/bias"] = layer.bias
            for name, norm in (
                ("self_attention_layer_norm", block.attention_norm),
                ("feedforward_layer_norm", block.feedforward_norm),
            ):
                mine[f"{at}/{name}/gamma"] = norm.weight
                mine[f"{at}/{name}/beta"] = norm.bias
        if set(mine) != set(weights):
            raise KeyError(sorted(set(mine) ^ set(weights)))
        with torch.no_grad():
            for path, tensor in mine.items():
                value = torch.tensor(weights[path], dtype=tensor.dtype)
                if path.endswith("/kernel"):
                    # Keras writes the side that is read first, and heads and
                    # their entries as two axes.
                    rows = tensor.shape[1]
                    value = value.reshape(rows, -1).T
                tensor.copy_(value.reshape(tensor.shape))


class Trainer:
    """Trains a `PlainGPT2` on the same few batches again and again.

    Args:
        options: parsed flags.
    """

    def __init__(self, options):
        torch.manual_seed(options.seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cuda":
            # As Keras' backends do: float32 means float32 unless asked for.
            torch.set_float32_matmul_precision("highest")
        model = PlainGPT2(
            options.vocabulary_size,
            options.layers,
            options.heads,
            options.hidden,
            options.length,
            options.dropout,
        ).to(self.device)
        self.parameters = sum(p.numel() for p in model.parameters())
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=1e-4,
            fused=self.device == "cuda",
            **OPTIMIZER,
        )
        self.model = torch.compile(model) if options.compile else model
        self.mixed = options.dtype == "mixed_bfloat16"
        self.batches = [
            torch.from_numpy(batch.astype("int64")).to(self.device)
            for batch in random_tokens(options)
        ]

    def step(self, batch):
        context = contextlib.nullcontext()
        if self.mixed:
            context = torch.autocast(self.device, torch.bfloat16)
        with context:
            logits = self.model(batch[:, :-1])
        loss = functional.cross_entropy(
            logits.float().flatten(0, 1), batch[:, 1:].flatten()
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss

    def round(self):
        """Seconds of one pass over the batches."""
        start = time.perf_counter()
        for batch in self.batches:
            loss = self.step(batch)
        loss.item()  # waits for the device
        return time.perf_counter() - start


def serve(trainer, options):
    """A round for every line that is read, its seconds as a line."""
    trainer.round()  # compiling, and what is done only once
    device = trainer.device
    if device == "cuda":
        device = torch.cuda.get_device_name()
    print(
        json.dumps(
            {
                "parameters": trainer.parameters,
                "device": device,
                "torch": torch.__version__,
                "compiled": options.compile,
                "threads": torch.get_num_threads(),
            }
        ),
        flush=True,
    )
    for _ in sys.stdin:
        print(json.dumps(trainer.round()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_flags(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--serve", action="store_true", help="a round for each line read"
    )
    options = parser.parse_args()
    trainer = Trainer(options)
    if options.serve:
        serve(trainer, options)
        return
    trainer.round()
    tokens = options.steps * options.batch * options.length
    for number in range(options.rounds):
        seconds = trainer.round()
        print(
            f"round {number}: {seconds:.3f} s, {tokens / seconds:,.0f} "
            f"tokens/s, {trainer.device}"
        )


if __name__ == "__main__":
    main()
