"""Small folders of safetensors, made without a framework."""

import json

import ml_dtypes
import numpy as np
import pytest

from kgrow.hf.shards import NewTensor, append_array, divide, new_shard
from kgrow.hf.shards import write_index as write_shard_index
from kgrow.hf.stored_tensor import DTYPES

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 16,
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.02,
}


def llama_shapes(config):
    """`{name: shape}` of a Llama's tensors."""
    n, ffn = config["hidden_size"], config["intermediate_size"]
    head = n // config["num_attention_heads"]
    kv = config["num_key_value_heads"] * head
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], n)}
    for block in range(config["num_hidden_layers"]):
        at = f"model.layers.{block}."
        shapes |= {
            at + "self_attn.q_proj.weight": (n, n),
            at + "self_attn.k_proj.weight": (kv, n),
            at + "self_attn.v_proj.weight": (kv, n),
            at + "self_attn.o_proj.weight": (n, n),
            at + "mlp.gate_proj.weight": (ffn, n),
            at + "mlp.up_proj.weight": (ffn, n),
            at + "mlp.down_proj.weight": (n, ffn),
            at + "input_layernorm.weight": (n,),
            at + "post_attention_layernorm.weight": (n,),
        }
    shapes["model.norm.weight"] = (n,)
    shapes["lm_head.weight"] = (config["vocab_size"], n)
    return shapes


def write_llama(folder, dtype="F32", limit=1 << 30, seed=0, **config):
    """Writes a Llama of random weights; returns `{name: array}`."""
    config = {**LLAMA, **config}
    rng = np.random.default_rng(seed)
    arrays = {
        name: rng.standard_normal(shape).astype(DTYPES[dtype])
        for name, shape in llama_shapes(config).items()
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    (folder / "pytorch_model.bin").write_bytes(b"old weights")
    write_arrays(folder, arrays, dtype, limit)
    return arrays


def write_arrays(folder, arrays, dtype="F32", limit=1 << 30):
    """Writes arrays as safetensors, in shards of at most `limit` bytes."""
    tensors = [NewTensor(n, dtype, a.shape) for n, a in arrays.items()]
    shards = divide(tensors, limit)
    for name, shard in shards.items():
        with new_shard(folder / name, shard, {"format": "pt"}) as file:
            for tensor in shard:
                append_array(file, arrays[tensor.name])
    write_shard_index(folder, shards)


def read_arrays(checkpoint):
    """`{name: float32 array}` of an opened folder."""
    return {
        name: tensor.read().astype(np.float32)
        for name, tensor in checkpoint.tensors.items()
    }


BFLOAT16 = ml_dtypes.bfloat16


def write_tokenizer(folder, tokens):
    """A tokenizer of single characters."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
