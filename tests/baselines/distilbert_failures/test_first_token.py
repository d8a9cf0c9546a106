import copy

import pytest
import torch
from distilbert_failures.first_token import read_first_token_only
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

BERT_SIZES = {
    "vocab_size": 30,
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "initializer_range": 0.3,
}
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])


def distilbert(attention_dropout, dropout, attention):
    sizes = {"vocab_size": 30, "n_layers": 2, "dim": 16, "n_heads": 4, "hidden_dim": 24}
    return DistilBertModel(
        DistilBertConfig(
            **sizes,
            initializer_range=0.3,
            attention_dropout=attention_dropout,
            dropout=dropout,
            attn_implementation=attention,
        )
    )


def bert(attention_dropout, dropout, attention):
    config = BertConfig(
        **BERT_SIZES,
        attention_probs_dropout_prob=attention_dropout,
        hidden_dropout_prob=dropout,
        attn_implementation=attention,
    )
    return BertModel(config, add_pooling_layer=False)


ENCODERS = {"distilbert": (distilbert, "transformer.layer"), "bert": (bert, "encoder.layer")}


def make(name, attention_dropout=0.0, dropout=0.0, attention="sdpa"):
    """Return an encoder as it is, and one of which the last layer reads the first token only."""
    build, layers = ENCODERS[name]
    torch.manual_seed(0)
    full = build(attention_dropout, dropout, attention)
    for w in full.parameters():
        if w.dim() == 1:
            nn.init.normal_(w, mean=0.2)
    short = copy.deepcopy(full)
    assert read_first_token_only(short.get_submodule(layers)[-1])
    return full, short


def first_token(encoder, mask, tokens):
    return encoder(input_ids=tokens, attention_mask=mask).last_hidden_state[:, :1]


@pytest.fixture(autouse=True)
def _own_draws():
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def tokens():
    return torch.randint(0, 30, MASK.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("mask", [MASK, torch.ones_like(MASK), None], ids=["some", "all", "none"])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", ENCODERS)
def test_outputs_and_gradients_are_those_of_the_whole_layer(name, train, mask, attention, tokens):
    """Of every parameter, through the layer before, too."""
    full, short = (encoder.train(train) for encoder in make(name, attention=attention))
    expected, found = first_token(full, mask, tokens), first_token(short, mask, tokens)
    assert found.shape == (3, 1, 16)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    weights = torch.randn(found.shape)
    expected_gradients, gradients = (
        torch.autograd.grad((output * weights).sum(), [*encoder.parameters()])
        for output, encoder in ((expected, full), (found, short))
    )
    largest = max(gradient.abs().max() for gradient in expected_gradients)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(
            gradient / largest, expected_gradient / largest, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_else_is_returned(name, tokens):
    _, short = make(name)
    assert short(input_ids=tokens, attention_mask=MASK).last_hidden_state.shape == (3, 1, 16)


@pytest.mark.parametrize("dropouts", [(0.5, 0.0), (0.0, 0.5)], ids=["attention", "hidden"])
@pytest.mark.parametrize("name", ENCODERS)
def test_dropout_is_for_training(name, dropouts, tokens):
    full, short = make(name, *dropouts)
    short.train()
    assert not torch.equal(first_token(short, MASK, tokens), first_token(short, MASK, tokens))
    short.eval()
    full.eval()
    torch.testing.assert_close(first_token(short, MASK, tokens), first_token(full, MASK, tokens))


@pytest.mark.parametrize("name", ENCODERS)
def test_tensors_keep_their_names(name):
    full, short = make(name)
    assert [*short.state_dict()] == [*full.state_dict()]


def test_a_layer_of_another_kind_stays_as_it_is():
    layer = RobertaModel(RobertaConfig(**BERT_SIZES)).encoder.layer[-1]
    for other in (layer, nn.Linear(2, 2)):
        kind = type(other)
        assert read_first_token_only(other) is False
        assert type(other) is kind
