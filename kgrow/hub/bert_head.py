"""BERT with the head that KerasHub gives it."""

import keras

from kgrow.models.bert import BERT, BERTNetwork

# That of KerasHub's `MaskedLMHead`, which `BertMaskedLM` does not set.
EPSILON = 1e-5


@keras.saving.register_keras_serializable("kgrow")
class HubBERTNetwork(BERTNetwork):
    """`BERTNetwork`, but for the epsilon of the norm in its head.

    Example:

    >>> network = HubBERTNetwork(vocabulary_size=11, num_layers=1,
    ...     num_heads=2, hidden_dim=4, intermediate_dim=6)
    >>> network.mlm_layer_norm.epsilon, network.embeddings_layer_norm.epsilon
    (1e-05, 1e-12)
    """

    def _norm(self, name):
        norm = super()._norm(name)
        if name == "mlm_layer_norm":
            norm.epsilon = EPSILON
        return norm


@keras.saving.register_keras_serializable("kgrow")
class HubBERT(BERT):
    """`kgrow.models.BERT` as KerasHub's `BertMaskedLM` computes it.

    BERT adds 1e-12 to the variance in every norm. KerasHub's `BertMaskedLM`
    does so in the encoder, and adds 1e-5 in the norm of its head. Weights
    cannot make up for that, so that this is a class of its own. It takes the
    arguments of `kgrow.models.BERT` and grows as that one does.

    Example:

    >>> model = HubBERT(vocabulary_size=11, num_layers=1, num_heads=2,
    ...     hidden_dim=4, intermediate_dim=6)
    >>> model.grow({"hidden_dim": 8}, seed=0).exact
    True

    Reference:

    - Devlin et al., "BERT" (1810.04805), and KerasHub's `MaskedLMHead`.
    """

    network_class = HubBERTNetwork
