"""Named configurations: what the tables say, and what the models weigh."""

import math

import pytest

import kgrow
from kgrow import GrowthError
from kgrow.backend.lazy_variables import without_values
from kgrow.models import configurations
from kgrow.models.configurations import build, configuration, names

pytestmark = pytest.mark.once

# Numbers of trainable parameters, as published: of BertForMaskedLM, of
# KerasHub's RoBERTa with the head, of GPT-2, and of timm's models at 224.
_ROBERTA_HEAD = 768 * 768 + 768 + 2 * 768 + 50265
PUBLISHED = {
    "bert_base": 109_514_298,
    "bert_large": 335_174_458,
    "roberta_base": 124_052_736 + _ROBERTA_HEAD,
    "gpt2_base": 124_439_808,
    "gpt2_medium": 354_823_168,
    "deit_tiny_a": 5_717_416,
    "deit_small": 22_050_664,
    "deit_base": 86_567_656,
    "cait_small": 46_916_200,
    "swin_tiny": 28_288_354,
    "swin_small": 49_606_258,
}
# Where papers round: in millions, and how far that may be off.
ROUNDED = {"cait_xs": (26.6, 0.05), "deit_base": (86, 0.6)}


def parameters(model):
    return sum(math.prod(w.shape) for w in model.network.trainable_variables)


@pytest.mark.sample
@pytest.mark.parametrize("name", names())
def test_a_named_model_has_as_many_parameters_as_published(name):
    with without_values():
        model = build(name)
    count = parameters(model)
    if name in PUBLISHED:
        assert count == PUBLISHED[name]
    if name in ROUNDED:
        millions, off = ROUNDED[name]
        assert abs(count / 1e6 - millions) <= off
    fields = configuration(name)
    assert type(model).__name__ == fields.pop("family")
    config = model.get_config()
    assert {f: config[f] for f in fields} == fields


@pytest.mark.slow
def test_small_models_grow_into_large_ones():
    """Every pair that the papers grow is a growth of one family."""
    pairs = [
        ("bert_small", "bert_base"),
        ("bert_small_12", "bert_base"),
        ("bert_base", "bert_large"),
        ("roberta_small", "roberta_base"),
        ("gpt2_small", "gpt2_base"),
        ("gpt2_base", "gpt2_medium"),
        ("deit_tiny_a", "deit_small"),
        ("deit_tiny_b", "deit_small"),
        ("deit_tiny_c", "deit_small"),
        ("deit_small", "deit_base"),
        ("cait_xs", "cait_small"),
        ("swin_tiny", "swin_small"),
    ]
    assert {name for pair in pairs for name in pair} == set(names())
    for small, large in pairs:
        with without_values():
            model = build(small)
            target = build(large).growth_config
        assert configuration(small)["family"] == configuration(large)["family"]
        # Raises if a size were smaller than it is.
        assert model.architecture.check(target) == target


def test_fields_are_plain_data_and_the_caller_s_own():
    fields = configuration("swin_tiny")
    fields["depths"][2] = 18
    assert configuration("swin_tiny")["depths"] == [2, 2, 6, 2]
    assert configuration("swin_small")["depths"] == fields["depths"]
    for name in names():
        assert all(
            isinstance(value, (int, str, list))
            for value in configuration(name).values()
        )


def test_fields_can_be_others():
    model = build(
        "gpt2_base",
        num_layers=1,
        hidden_dim=24,
        intermediate_dim=48,
        vocabulary_size=50,
        dropout=0.0,
        dtype="mixed_bfloat16",
        name="mine",
    )
    assert model.name == "mine"
    assert model.dtype_policy.name == "mixed_bfloat16"
    assert model.growth_config["num_heads"] == 12
    assert model.growth_config["head_dim"] == 2


def test_what_there_is_not():
    with pytest.raises(GrowthError, match="Did you mean .*'bert_base'"):
        configuration("bert-base")
    with pytest.raises(GrowthError, match="Received: 7"):
        build(7)
    with pytest.raises(GrowthError, match="Did you mean .*'num_layers'"):
        build("gpt2_base", num_layer=3)


def test_names_are_no_families():
    assert not set(kgrow.models.__all__) & {"build", "configuration", "names"}
    assert kgrow.models.configurations is configurations
