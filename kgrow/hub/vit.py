"""The Vision Transformer here and in KerasHub."""

from kgrow.hub.weight_mapping import Twin
from kgrow.hub.weight_names import block, named
from kgrow.models.vit import ViT

IMAGE_FIELDS = {
    name: name
    for name in ("num_layers", "num_heads", "hidden_dim", "layer_norm_epsilon")
}
# KerasHub applies dropout in other places: twice in ViT's feedforward network,
# and not after DeiT's attention.
IMAGE_FIXED = {"layer_drop": 0.0, "dropout": 0.0}
NO_DROPOUT = {"dropout_rate": (0.0,), "attention_dropout": (0.0,)}
TOKEN_HEAD = {
    "pooling": ("token",),
    "activation": (None, "linear"),
    "dropout": (0.0,),
}

_EMBEDDING = "vit_patching_and_embedding"

TWIN = Twin(
    family=ViT,
    backbone="ViTBackbone",
    task="ViTImageClassifier",
    weights={
        "class_token/token": f"{_EMBEDDING}/class_token",
        ("class_token/position", "position_embedding/embeddings"): (
            f"{_EMBEDDING}/position_embedding/embeddings"
        ),
        **named(
            {
                "patch_embedding": (
                    f"{_EMBEDDING}/patch_embedding",
                    "projection",
                ),
                "layer_norm": ("vit_encoder/ln", "norm"),
                "predictions": ("predictions", "projection"),
            }
        ),
        **block(
            "vit_encoder/transformer_block_{block}",
            "mha",
            ("ln_1", "ln_2"),
            ("mlp/dense_1", "mlp/dense_2"),
        ),
    },
    head=("predictions",),
    block=1,
    fields={
        **IMAGE_FIELDS,
        "patch_size": "patch_size",
        "intermediate_dim": "mlp_dim",
    },
    task_fields={"num_classes": "num_classes"},
    fixed=IMAGE_FIXED,
    backbone_fixed={
        **NO_DROPOUT,
        "use_mha_bias": (True,),
        "use_mlp_bias": (True,),
        "use_class_token": (True,),
        "use_patch_bias": (True,),
    },
    task_fixed={**TOKEN_HEAD, "intermediate_dim": (None,)},
    square_images=True,
)
