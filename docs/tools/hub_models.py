"""A small configuration of each backbone and encoder of KerasHub."""

import inspect

import keras

_ENDINGS = ("Backbone", "Encoder")
# They have no network of their own.
_BASES = ("Backbone", "FeaturePyramidBackbone")

_TEXT = {
    "vocabulary_size": 50,
    "num_layers": 3,
    "num_heads": 3,
    "hidden_dim": 12,
    "intermediate_dim": 20,
}
_POSITIONS = {**_TEXT, "max_sequence_length": 11}
_VISION = {
    "num_layers": 3,
    "num_heads": 3,
    "hidden_dim": 12,
    "intermediate_dim": 20,
    "patch_size": 4,
    "image_shape": (12, 12, 3),
}
# Rotary embeddings turn pairs.
_ROTARY = {
    "vocabulary_size": 50,
    "num_layers": 3,
    "num_query_heads": 6,
    "num_key_value_heads": 3,
    "hidden_dim": 24,
    "intermediate_dim": 20,
}
_EXPERTS = {**_ROTARY, "num_experts": 4, "top_k": 2}
_CLIP_TEXT = {**_POSITIONS, "embedding_dim": 12}
_GEMMA = {**_ROTARY, "head_dim": 8}
_RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64, 12, 16, 20],
    "stackwise_num_blocks": [2, 2, 2, 2],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
    "image_shape": (32, 32, 3),
}
_MIT = {
    "layerwise_depths": [2, 2],
    "num_layers": 2,
    "layerwise_num_heads": [2, 3],
    "layerwise_sr_ratios": [2, 1],
    "max_drop_path_rate": 0.0,
    "layerwise_patch_sizes": [7, 3],
    "layerwise_strides": [4, 2],
    "image_shape": (32, 32, 3),
    "hidden_dims": [8, 12],
}
_HGNET = {
    "depths": [1, 2],
    "embedding_size": 8,
    "hidden_sizes": [16, 24],
    "stem_channels": [3, 8, 8],
    "hidden_act": "relu",
    "use_learnable_affine_block": False,
    "stackwise_stage_filters": [(8, 6, 16, 1, 2, 3), (16, 10, 24, 2, 2, 3)],
    "apply_downsample": [False, True],
    "use_lightweight_conv_block": [False, False],
    "image_shape": (32, 32, 3),
}
_T5GEMMA = {
    "vocabulary_size": 50,
    **{
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {
            "hidden_dim": 24,
            "intermediate_dim": 20,
            "num_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "head_dim": 8,
            "layer_types": ["full_attention"] * 2,
        }.items()
    },
}
_SAM_IMAGE = {
    "hidden_size": 12,
    "num_layers": 3,
    "intermediate_dim": 20,
    "num_heads": 3,
    "global_attention_layer_indices": [1],
    "image_shape": (32, 32, 3),
    "patch_size": 4,
    "num_output_channels": 8,
    "window_size": 2,
}


def _plain(config):
    return lambda models: config


def _clip(models, prefix):
    vision = getattr(models, f"{prefix}VisionEncoder")(**_VISION)
    text = getattr(models, f"{prefix}TextEncoder")(
        # A probe has 16 tokens.
        **{**_CLIP_TEXT, "max_sequence_length": 16}
    )
    config = {"vision_encoder": vision, "text_encoder": text}
    if prefix != "SigLIP":
        config["projection_dim"] = 7
    return config


def _sam(models):
    import keras_hub

    return {
        "image_encoder": models.ViTDetBackbone(**_SAM_IMAGE),
        "prompt_encoder": keras_hub.layers.SAMPromptEncoder(
            hidden_size=8,
            image_embedding_size=(8, 8),
            input_image_size=(32, 32),
            mask_in_channels=16,
        ),
        "mask_decoder": keras_hub.layers.SAMMaskDecoder(
            num_layers=2,
            hidden_size=8,
            intermediate_dim=20,
            num_heads=4,
            embedding_dim=8,
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=8,
        ),
    }


def _depth_anything(models):
    return {
        "image_encoder": models.DINOV2Backbone(
            **{**_VISION, "num_layers": 4, "image_shape": (32, 32, 3)},
            position_embedding_shape=(32, 32),
            apply_layernorm=True,
        ),
        "reassemble_factors": [4, 2, 1, 0.5],
        "neck_hidden_dims": [8, 8, 12, 12],
        "fusion_hidden_dim": 12,
        "head_hidden_dim": 8,
        "head_in_index": -1,
        "feature_keys": ["stage1", "stage2", "stage3", "stage4"],
    }


def _deeplab(models):
    return {
        "image_encoder": models.ResNetBackbone(**_RESNET),
        "spatial_pyramid_pooling_key": "P4",
        "low_level_feature_key": "P2",
        "upsampling_size": 4,
        "dilation_rates": [2, 3],
        "projection_filters": 8,
        "image_shape": (32, 32, 3),
    }


def _retinanet(models):
    return {
        "image_encoder": models.ResNetBackbone(
            **{**_RESNET, "image_shape": (64, 64, 3)}
        ),
        "min_level": 3,
        "max_level": 5,
        "use_p5": False,
        "image_shape": (64, 64, 3),
    }


def _blip2_vision(models):
    return {
        "image_size": 12,
        "patch_size": 4,
        "num_layers": 3,
        "num_heads": 3,
        "hidden_dim": 12,
        "intermediate_dim": 20,
        "use_patch_bias": True,
        "use_class_token": True,
        "use_mha_bias": True,
        "use_mlp_bias": True,
        "dropout_rate": 0.0,
        "layer_norm_epsilon": 1e-6,
        "initializer_range": 0.02,
    }


def _blip2(models):
    return {
        "vision_encoder": None,
        "qformer": None,
        # A probe has 16 tokens.
        "language_model": models.OPTBackbone(
            **{**_POSITIONS, "max_sequence_length": 16}
        ),
    }


def _parseq(models):
    return {
        "image_encoder": models.ViTBackbone(
            image_shape=(8, 16, 3),
            patch_size=(4, 8),
            num_layers=2,
            num_heads=3,
            hidden_dim=12,
            mlp_dim=20,
            use_class_token=False,
        ),
        "vocabulary_size": 20,
        "max_label_length": 5,
        "decoder_hidden_dim": 12,
        "num_decoder_layers": 1,
        "num_decoder_heads": 3,
        "decoder_mlp_dim": 20,
    }


def _segformer(models):
    return {
        "image_encoder": models.MiTBackbone(**_MIT),
        "projection_filters": 8,
    }


_GEMMA3N = {
    "text_vocab_size": 50,
    "text_hidden_size": 24,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "intermediate_size": [20, 20],
    "hidden_activation": "gelu_approximate",
    "layer_types": ["full_attention"] * 2,
    "sliding_window": 4,
    "rope_theta": 10000.0,
    "max_position_embeddings": 16,
    "vocab_size_per_layer_input": 50,
    "hidden_size_per_layer_input": 5,
    "altup_num_inputs": 2,
    "laurel_rank": 7,
}
_MOBILENET_V5 = {
    "stackwise_block_types": [["er"], ["uir", "uir"]],
    "stackwise_num_blocks": [1, 2],
    "stackwise_num_filters": [[8], [12, 12]],
    "stackwise_strides": [[2], [2, 1]],
    "stackwise_act_layers": [["relu"], ["relu", "relu"]],
    "stackwise_exp_ratios": [[4.0], [6.0, 6.0]],
    "stackwise_se_ratios": [[0.0], [0.0, 0.0]],
    "stackwise_dw_kernel_sizes": [[0], [5, 5]],
    "stackwise_dw_start_kernel_sizes": [[0], [0, 0]],
    "stackwise_dw_end_kernel_sizes": [[0], [0, 0]],
    "stackwise_exp_kernel_sizes": [[3], [0, 0]],
    "stackwise_pw_kernel_sizes": [[1], [0, 0]],
    "stackwise_num_heads": [[0], [0, 0]],
    "stackwise_key_dims": [[0], [0, 0]],
    "stackwise_value_dims": [[0], [0, 0]],
    "stackwise_kv_strides": [[0], [0, 0]],
    "stackwise_use_cpe": [[False], [False, False]],
    "use_msfa": False,
    "image_shape": (32, 32, 3),
}
_MOBILENET = {
    "stackwise_expansion": [[16, 24], [32, 40]],
    "stackwise_num_blocks": [2, 2],
    "stackwise_num_filters": [[8, 8], [16, 16]],
    "stackwise_kernel_size": [[3, 3], [5, 5]],
    "stackwise_num_strides": [[2, 1], [2, 1]],
    "stackwise_se_ratio": [[None, None], [0.25, 0.25]],
    "stackwise_activation": [["relu", "relu"], ["hard_swish", "hard_swish"]],
    "stackwise_padding": [[1, 1], [2, 2]],
    "output_num_filters": 24,
    "input_num_filters": 8,
    "depthwise_filters": 8,
    "depthwise_stride": 2,
    "depthwise_residual": False,
    "last_layer_filter": 24,
    "squeeze_and_excite": 0.5,
    "image_shape": (64, 64, 3),
}
_EFFICIENTNET = {
    "stackwise_kernel_sizes": [3, 3],
    "stackwise_num_repeats": [2, 2],
    "stackwise_input_filters": [8, 8],
    "stackwise_output_filters": [8, 16],
    "stackwise_expansion_ratios": [1, 4],
    "stackwise_squeeze_and_excite_ratios": [0.0, 0.25],
    "stackwise_strides": [1, 2],
    "stackwise_block_types": ["fused", "unfused"],
    "stackwise_width_coefficients": [1.0, 1.0],
    "stackwise_depth_coefficients": [1.0, 1.0],
    "stackwise_force_input_filters": [0, 0],
    "stackwise_nores_option": [False, False],
    "num_features": 24,
    "input_shape": (32, 32, 3),
}
_SMOLLM3 = {
    "vocabulary_size": 50,
    "hidden_dim": 24,
    "intermediate_dim": 20,
    "num_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rope_layer_enabled_list": [True] * 6,
    "layer_types": ["full_attention"] * 6,
    "mlp_bias": False,
    "layer_norm_epsilon": 1e-5,
    "max_position_embeddings": 32,
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
}
_QWEN3_5 = {
    **_GEMMA,
    "layer_types": ["linear_attention", "full_attention"] * 3,
    "num_layers": 4,
    "partial_rotary_factor": 0.5,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 6,
    "linear_conv_kernel_dim": 3,
}

CONFIGS = {
    "AlbertBackbone": _plain({**_POSITIONS, "embedding_dim": 8}),
    "BLIP2Backbone": _blip2,
    "BLIP2VisionEncoder": _blip2_vision,
    "BartBackbone": _plain(_POSITIONS),
    "BertBackbone": _plain(_POSITIONS),
    "BloomBackbone": _plain({**_TEXT, "num_heads": 4, "hidden_dim": 24}),
    "CLIPBackbone": lambda models: _clip(models, "CLIP"),
    "CLIPTextEncoder": _plain(_CLIP_TEXT),
    "CLIPVisionEncoder": _plain(_VISION),
    "CSPNetBackbone": _plain(
        {
            "stem_filters": 8,
            "stem_kernel_size": 3,
            "stem_strides": 1,
            "stackwise_depth": [1, 2],
            "stackwise_strides": [1, 2],
            "stackwise_num_filters": [8, 12],
            "block_type": "dark_block",
            "stage_type": "dark",
            "image_shape": (32, 32, 3),
        }
    ),
    "DINOV2Backbone": _plain(
        {
            **_VISION,
            "position_embedding_shape": (12, 12),
            "num_register_tokens": 2,
        }
    ),
    "DINOV3Backbone": _plain({**_VISION, "hidden_dim": 24}),
    "DebertaV3Backbone": _plain({**_POSITIONS, "bucket_size": 4}),
    "DeepLabV3Backbone": _deeplab,
    "DeiTBackbone": _plain(_VISION),
    "DenseNetBackbone": _plain(
        {
            "stackwise_num_repeats": [2, 2],
            "growth_rate": 4,
            "image_shape": (32, 32, 3),
        }
    ),
    "DepthAnythingBackbone": _depth_anything,
    "DistilBertBackbone": _plain(_POSITIONS),
    "ESMBackbone": _plain({**_POSITIONS, "hidden_dim": 24}),
    "EdRecBackbone": _plain(
        {
            "vocab_size": 50,
            "num_layers_enc": 2,
            "num_layers_dec": 2,
            "hidden_dim": 12,
            "intermediate_dim": 20,
            "num_heads": 3,
        }
    ),
    "EfficientNetBackbone": _plain(_EFFICIENTNET),
    "ElectraBackbone": _plain(
        {
            "vocab_size": 50,
            "embedding_dim": 8,
            **{k: v for k, v in _POSITIONS.items() if k != "vocabulary_size"},
        }
    ),
    "FNetBackbone": _plain(
        {k: v for k, v in _POSITIONS.items() if k != "num_heads"}
    ),
    "FalconBackbone": _plain(
        {
            "vocabulary_size": 50,
            "num_layers": 3,
            "num_attention_heads": 4,
            "hidden_dim": 24,
            "intermediate_dim": 96,
        }
    ),
    "GPT2Backbone": _plain(_POSITIONS),
    "GPTNeoXBackbone": _plain(
        {**_POSITIONS, "hidden_dim": 24, "rotary_percentage": 0.5}
    ),
    "Gemma3Backbone": _plain({**_GEMMA, "image_size": 16}),
    "Gemma3VisionEncoder": _plain(
        {
            "image_size": 16,
            "patch_size": 4,
            "num_heads": 3,
            "hidden_dim": 12,
            "num_layers": 3,
            "intermediate_dim": 20,
            "output_dim": 10,
            "pool_size": 2,
        }
    ),
    "Gemma3nBackbone": _plain(_GEMMA3N),
    "Gemma4AudioEncoder": _plain(
        {
            "input_feat_size": 16,
            "hidden_size": 12,
            "num_heads": 3,
            "num_layers": 2,
            "chunk_size": 4,
            "context_left": 5,
            "sscp_conv_channels": (8, 4),
            "output_proj_dims": 10,
            "output_dim": 14,
        }
    ),
    "Gemma4Backbone": _plain({**_GEMMA, "image_size": 16}),
    "Gemma4VisionEncoder": _plain(
        {
            "image_size": 16,
            "patch_size": 4,
            "num_heads": 3,
            "hidden_dim": 24,
            "num_layers": 3,
            "intermediate_dim": 20,
            "head_dim": 8,
            "output_dim": 10,
            "num_key_value_heads": 3,
            "pool_size": 2,
            "position_embedding_size": 16,
        }
    ),
    "GemmaBackbone": _plain(_GEMMA),
    "GptOssBackbone": _plain({**_EXPERTS, "head_dim": 8}),
    "HGNetV2Backbone": _plain(_HGNET),
    "Llama3Backbone": _plain(_ROTARY),
    "LlamaBackbone": _plain(_ROTARY),
    "MetaCLIP2Backbone": lambda models: _clip(models, "MetaCLIP2"),
    "MetaCLIP2TextEncoder": _plain(_CLIP_TEXT),
    "MetaCLIP2VisionEncoder": _plain(_VISION),
    "MiTBackbone": _plain(_MIT),
    "MistralBackbone": _plain(_ROTARY),
    "MixtralBackbone": _plain(_EXPERTS),
    "MobileNetBackbone": _plain(_MOBILENET),
    "MobileNetV5Backbone": _plain(_MOBILENET_V5),
    "MoonshineBackbone": _plain(
        {
            "vocabulary_size": 50,
            "filter_dim": 24,
            "encoder_num_layers": 2,
            "decoder_num_layers": 2,
            "hidden_dim": 24,
            "intermediate_dim": 20,
            "encoder_num_heads": 3,
            "decoder_num_heads": 3,
        }
    ),
    "OPTBackbone": _plain(_POSITIONS),
    "PARSeqBackbone": _parseq,
    "PaliGemmaBackbone": _plain(
        {
            **_GEMMA,
            "image_size": 16,
            "vit_patch_size": 4,
            "vit_num_heads": 3,
            "vit_hidden_dim": 12,
            "vit_num_layers": 2,
            "vit_intermediate_dim": 28,
        }
    ),
    "Phi3Backbone": _plain({**_ROTARY, "max_sequence_length": 16}),
    "QwenBackbone": _plain(_ROTARY),
    "Qwen3Backbone": _plain(_GEMMA),
    "Qwen3MoeBackbone": _plain(
        {**_EXPERTS, "head_dim": 8, "moe_intermediate_dim": 14}
    ),
    "Qwen3_5Backbone": _plain(_QWEN3_5),
    "QwenMoeBackbone": _plain(
        {
            **_EXPERTS,
            "moe_intermediate_dim": 14,
            "shared_expert_intermediate_dim": 10,
        }
    ),
    "RWKV7Backbone": _plain(
        {
            "hidden_size": 24,
            "head_size": 8,
            "num_layers": 3,
            "vocabulary_size": 50,
            "intermediate_dim": 20,
            "gate_lora": 5,
            "mv_lora": 6,
            "aaa_lora": 7,
            "decay_lora": 9,
        }
    ),
    "ResNetBackbone": _plain(_RESNET),
    "RetinaNetBackbone": _retinanet,
    "RobertaBackbone": _plain(_POSITIONS),
    "RoformerV2Backbone": _plain({**_TEXT, "head_size": 8, "hidden_dim": 24}),
    "SAMBackbone": _sam,
    "SegFormerBackbone": _segformer,
    "SigLIPBackbone": lambda models: _clip(models, "SigLIP"),
    "SigLIPTextEncoder": _plain(_CLIP_TEXT),
    "SigLIPVisionEncoder": _plain(_VISION),
    "SmolLM3Backbone": _plain(_SMOLLM3),
    "SwinTransformerBackbone": _plain(
        {
            "image_shape": (32, 32, 3),
            "patch_size": 4,
            "embed_dim": 12,
            "depths": (2, 4),
            "num_heads": (3, 6),
            "window_size": 4,
        }
    ),
    "T5Backbone": _plain({**_TEXT, "key_value_dim": 4}),
    "T5GemmaBackbone": _plain(_T5GEMMA),
    "T5Gemma2Backbone": _plain(_T5GEMMA),
    "VGGBackbone": _plain(
        {
            "stackwise_num_repeats": [2, 2],
            "stackwise_num_filters": [8, 12],
            "image_shape": (16, 16, 3),
        }
    ),
    "ViTBackbone": _plain(
        {
            "mlp_dim": 20,
            **{k: v for k, v in _VISION.items() if k != "intermediate_dim"},
        }
    ),
    "ViTDetBackbone": _plain(_SAM_IMAGE),
    "VideoPrismBackbone": _plain(
        {
            "num_frames": 2,
            "patch_size": 4,
            "hidden_dim": 12,
            "intermediate_dim": 20,
            "num_heads": 3,
            "num_spatial_layers": 2,
            "num_temporal_layers": 2,
            "num_auxiliary_layers": 0,
            "image_shape": (12, 12, 3),
        }
    ),
    "WhisperBackbone": _plain(
        {
            **_TEXT,
            "num_mels": 10,
            "max_encoder_sequence_length": 12,
            "max_decoder_sequence_length": 11,
        }
    ),
    "XLMRobertaBackbone": _plain(_POSITIONS),
    "XLNetBackbone": _plain(_TEXT),
    "XceptionBackbone": _plain(
        {
            "stackwise_conv_filters": [[8, 12], [12, 16], [20, 20]],
            "stackwise_pooling": [True, True, False],
            "image_shape": (32, 32, 3),
        }
    ),
}

# Why a class is not tried.
NOT_TRIED = {
    "BASNetBackbone": "its decoder is made for an encoder of 64 filters",
    "DFineBackbone": "takes minutes, and picks queries by their scores",
    "FluxBackbone": "too large to build in a table's time",
    "Qwen3_5MoeBackbone": "takes minutes; its blocks are those of Qwen3_5",
    "SAM3PromptableConceptBackbone": "six networks in one, none of them small",
    "StableDiffusion3Backbone": "four networks in one, none of them small",
}


# What takes inputs of certain sizes alone, and does not say so: for all its
# inputs, or for some of them by name.
SIZES = {
    "MoonshineBackbone": {
        "encoder_input_values": (2000, 1),
        "encoder_padding_mask": (2000,),
    },
    "PARSeqBackbone": 6,
    "SAMBackbone": {"masks": (1, 32, 32, 1)},
    "SigLIPBackbone": 16,
    "SigLIPTextEncoder": 11,
}
_OPEN_SIZE = 7


def hub_inputs(name, network):
    """What a network takes, if it does not say it itself, or `None`."""
    sizes = SIZES.get(name)
    if sizes is None:
        return None
    by_name = sizes if isinstance(sizes, dict) else {}
    default = _OPEN_SIZE if by_name else sizes

    def whole(tensor):
        shape = by_name.get(tensor.name, tensor.shape[1:])
        shape = [default if n is None else n for n in shape]
        return keras.KerasTensor((2, *shape), tensor.dtype)

    return keras.tree.map_structure(whole, network._inputs_struct)


def hub_classes():
    """`{name: (class, name that the table has it under)}`.

    Names that end in `Backbone` or `Encoder`, less the base classes. Two names
    of one class share a row.
    """
    import keras_hub

    found = {}
    for name in sorted(vars(keras_hub.models)):
        cls = getattr(keras_hub.models, name)
        if not name.endswith(_ENDINGS) or name in _BASES:
            continue
        if inspect.isclass(cls):
            found[name] = (cls, cls.__name__)
    return found


def small_network(name):
    """A small network of a class, by its name."""
    import keras_hub

    models = keras_hub.models
    return getattr(models, name)(**CONFIGS[name](models))
