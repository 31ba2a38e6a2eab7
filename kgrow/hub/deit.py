"""The data-efficient image transformer here and in KerasHub.

KerasHub's task reads the class token alone. Here an answer is the mean of two
heads, which is the same where the one has twice the weights and the other
zeros.
"""

from kgrow.hub.vit import IMAGE_FIELDS, IMAGE_FIXED, NO_DROPOUT, TOKEN_HEAD
from kgrow.hub.weight_mapping import Twin
from kgrow.hub.weight_names import block, named
from kgrow.models.deit import DeiT

_EMBEDDING = "deit_patching_and_embedding"

TWIN = Twin(
    family=DeiT,
    backbone="DeiTBackbone",
    task="DeiTImageClassifier",
    weights={
        "class_token/token": f"{_EMBEDDING}/class_token",
        "distillation_token/token": f"{_EMBEDDING}/distillation_token",
        (
            "class_token/position",
            "distillation_token/position",
            "position_embedding/embeddings",
        ): f"{_EMBEDDING}/position_embedding",
        **named(
            {
                "patch_embedding": (
                    f"{_EMBEDDING}/patch_embedding",
                    "projection",
                ),
                "layer_norm": ("deit_encoder/ln", "norm"),
                "predictions": ("predictions", "projection"),
            }
        ),
        **block(
            "deit_encoder/transformer_block_{block}",
            "mha",
            ("ln_1", "ln_2"),
            ("mlp/dense", "output_layer/output"),
        ),
    },
    head=("predictions", "distillation_predictions"),
    block=1,
    fields={
        **IMAGE_FIELDS,
        "patch_size": "patch_size",
        "intermediate_dim": "intermediate_dim",
    },
    task_fields={"num_classes": "num_classes"},
    fixed={**IMAGE_FIXED, "logits": "mean"},
    backbone_fixed={**NO_DROPOUT, "use_mha_bias": (True,)},
    task_fixed=TOKEN_HEAD,
    halves={
        f"predictions/{part}": f"distillation_predictions/{part}"
        for part in ("kernel", "bias")
    },
    square_images=True,
)
