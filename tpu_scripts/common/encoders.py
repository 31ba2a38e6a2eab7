"""Encoders to fine-tune: of KerasHub, or of a run that grew.

Either way what comes out is a backbone of KerasHub and its tokenizer, and
heads are KerasHub's own.
"""

import dataclasses
import pathlib

import keras

import kgrow
from kgrow.algebra.errors import GrowthError


@dataclasses.dataclass
class Encoder:
    """A backbone, and what turns text into its tokens.

    Args:
        backbone: `BertBackbone` or `RobertaBackbone` of KerasHub.
        tokenizer: tokenizer of KerasHub.
        history: list of `Receipt`s, of the growths it comes from.
    """

    backbone: object
    tokenizer: object
    history: list

    @property
    def kind(self):
        """`"Bert"` or `"Roberta"`."""
        return type(self.backbone).__name__.removesuffix("Backbone")


def load(name, tokenizer=None, dropout=None):
    """Reads an encoder.

    Args:
        name: a preset of KerasHub; or of a run that grew, its checkpoints'
            folder or a `.keras` file.
        tokenizer: a preset of KerasHub, or a file with one token of a
            WordPiece vocabulary a line; of a preset, its own if left out.
        dropout: optional float, another one than it was trained with.

    Raises:
        GrowthError: there is no such encoder, a tokenizer is missing, or has
            more tokens than the encoder knows.
    """
    import keras_hub

    history = []
    try:
        if str(name).endswith(".keras") or _is_folder(name):
            model = keras.saving.load_model(name, compile=False)
            history = model.growth_history
            if dropout is not None:
                model.set_training_options(dropout=dropout)
            model.remove_open_gates()
            backbone = kgrow.hub.to_hub(model, task=False)
        else:
            more = {} if dropout is None else {"dropout": dropout}
            backbone = keras_hub.models.Backbone.from_preset(name, **more)
            tokenizer = tokenizer or name
    except GrowthError:
        raise
    except Exception as error:
        raise GrowthError(
            "An encoder is a preset of KerasHub, a folder of checkpoints or a "
            f".keras file. Received: encoder={name!r}, {error}"
        ) from error
    if type(backbone).__name__ not in ("BertBackbone", "RobertaBackbone"):
        raise GrowthError(
            "Fine-tuned are BERT and RoBERTa. Received: "
            f"encoder={name!r}, a {type(backbone).__name__}"
        )
    tokens = _tokenizer(tokenizer)
    if tokens.vocabulary_size() > backbone.vocabulary_size:
        raise GrowthError(
            f"The tokenizer has {tokens.vocabulary_size()} tokens, and the "
            f"encoder knows {backbone.vocabulary_size}. Received: "
            f"tokenizer={tokenizer!r}"
        )
    return Encoder(backbone, tokens, history)


def _tokenizer(name):
    import keras_hub

    if name is None:
        raise GrowthError(
            "Say which tokenizer the encoder was trained with: `--tokenizer`, "
            "a preset of KerasHub or a file with a vocabulary. Received: "
            "tokenizer=None"
        )
    if pathlib.Path(name).is_file():
        return keras_hub.tokenizers.BertTokenizer(
            vocabulary=str(name), lowercase=True
        )
    try:
        return keras_hub.tokenizers.Tokenizer.from_preset(name)
    except Exception as error:
        raise GrowthError(
            "A tokenizer is a preset of KerasHub, or a file with a "
            f"vocabulary. Received: tokenizer={name!r}, {error}"
        ) from error


def _is_folder(name):
    from keras.src.saving.orbax_util import is_orbax_checkpoint

    return is_orbax_checkpoint(str(name))
