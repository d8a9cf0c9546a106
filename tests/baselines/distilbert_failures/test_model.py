import copy

import pytest
import torch
from distilbert_failures import model
from distilbert_failures.encoder import load_classifier
from distilbert_failures.model import hidden_width, make_tail, make_trunk, require_fit
from distilbert_failures.tokens import TextBatch
from refusal import refusal
from tiny_encoders import BERT, DISTILBERT, ROBERTA, SHALLOW

from common.randomness import Purpose, torch_seeded

ENCODERS = [DISTILBERT, BERT, ROBERTA]
LENGTHS = torch.tensor([[12], [3], [1], [7]])


@pytest.fixture
def batch():
    tokens = torch.randint(5, 50, (4, 12), generator=torch.Generator().manual_seed(0))
    return TextBatch(tokens, torch.arange(12) < LENGTHS)


def whole(config):
    """Return Hugging Face's model with the initial head of a configuration."""
    with torch_seeded(config.seed_of_model, Purpose.INITIAL_WEIGHTS):
        return load_classifier(config.encoder, 4).eval()


def logits(classifier, batch):
    return classifier(input_ids=batch.tokens, attention_mask=batch.mask).logits


def trained(network):
    return {name: w for name, w in network.named_parameters() if w.requires_grad}


@pytest.mark.parametrize("trainable", ["last_2", "head"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_trunk_and_tail_are_the_whole(make_config, batch, encoder, trainable):
    config = make_config(encoder=encoder, trainable=trainable)
    trunk, tail, expected = make_trunk(config, 4), make_tail(config, 4).eval(), whole(config)
    hidden = trunk(batch)
    assert hidden.tokens.shape == (4, 1 if trainable == "head" else 12, hidden_width(config))
    assert hidden.mask.shape == hidden.tokens.shape[:2]
    assert not hidden.tokens.requires_grad
    found, of_whole = tail(hidden), logits(expected, batch)
    torch.testing.assert_close(found, of_whole, rtol=1e-5, atol=1e-6)
    # As are the gradients of what is trained.
    of_tail, of_whole = (
        torch.autograd.grad(output.square().sum(), [*parameters.values()])
        for output, parameters in (
            (found, trained(tail)),
            (of_whole, {name: expected.get_parameter(name) for name in trained(tail)}),
        )
    )
    for gradient, expected_gradient in zip(of_tail, of_whole, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trainable", ["all", "lora"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_without_a_trunk_the_tail_is_the_whole(make_config, batch, encoder, trainable):
    """LoRA's adapters begin as 0."""
    config = make_config(encoder=encoder, trainable=trainable)
    tail = make_tail(config, 4).eval()
    torch.testing.assert_close(tail(batch), logits(whole(config), batch), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", [DISTILBERT, BERT])
def test_what_fills_a_batch_up_does_not_matter(make_config, batch, encoder):
    config = make_config(encoder=encoder)
    trunk, tail = make_trunk(config, 4), make_tail(config, 4).eval()
    other = TextBatch(torch.where(batch.mask, batch.tokens, 7), batch.mask)
    torch.testing.assert_close(tail(trunk(other)), tail(trunk(batch)), rtol=1e-5, atol=1e-6)
    alone = TextBatch(batch.tokens[1:2, :3], batch.mask[1:2, :3])
    torch.testing.assert_close(tail(trunk(alone)), tail(trunk(batch))[1:2], rtol=1e-5, atol=1e-6)


@pytest.fixture
def distilbert_base(monkeypatch):
    """Make every encoder distilbert-base-uncased, without memory for its numbers."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    with torch.device("meta"):
        classifier = DistilBertForSequenceClassification(DistilBertConfig(num_labels=4))
    monkeypatch.setattr(model, "load_classifier", lambda name, num_classes: copy.copy(classifier))
    return classifier


@pytest.mark.parametrize(
    ("trainable", "children"),
    [
        ("all", ("distilbert.", "pre_classifier.", "classifier.")),
        (
            "last_2",
            (
                *("distilbert.transformer.layer.4.", "distilbert.transformer.layer.5."),
                *("pre_classifier.", "classifier."),
            ),
        ),
        ("head", ("pre_classifier.", "classifier.")),
    ],
)
def test_of_distilbert_base_is_trained_what_the_study_trains(
    make_config, distilbert_base, trainable, children
):
    """Names are Hugging Face's own, and so are the 66,956,548 parameters."""
    shapes = {name: w.shape for name, w in distilbert_base.named_parameters()}
    assert sum(shape.numel() for shape in shapes.values()) == 66_956_548
    found = trained(make_tail(make_config(trainable=trainable), 4))
    assert {name: w.shape for name, w in found.items()} == {
        name: shape for name, shape in shapes.items() if name.startswith(children)
    }
    numbers = {"all": 66_956_548, "last_2": 14_769_412, "head": 593_668}
    assert sum(w.numel() for w in found.values()) == numbers[trainable]


@pytest.mark.parametrize("trainable", ["last_2", "head"])
def test_the_tail_has_no_frozen_tensor(make_config, trainable):
    """What is in the trunk is not held twice."""
    tail = make_tail(make_config(trainable=trainable), 4)
    assert {*tail.state_dict()} == {*trained(tail)}


@pytest.mark.parametrize("trainable", ["last_2", "lora"])
def test_initial_weights_are_those_of_the_encoder_and_the_models_seed(make_config, trainable):
    def initial(**keys):
        return make_tail(make_config(trainable=trainable, **keys), 4).state_dict()

    first = initial(model_seed=1)
    for same in ({"model_seed": 1}, {"seed": 1}, {"model_seed": 1, "seed": 5, "sampling_seed": 2}):
        again = initial(**same)
        assert all(torch.equal(again[key], w) for key, w in first.items())
    other = initial(model_seed=2)
    drawn = {key for key, w in first.items() if not torch.equal(other[key], w)}
    heads = {"pre_classifier.weight", "classifier.weight"}
    adapters = {key for key in first if "lora_A" in key}
    assert len(adapters) == (8 if trainable == "lora" else 0)
    assert drawn == heads | adapters


def test_global_draws_are_left_as_they_were(make_config):
    state = torch.get_rng_state()
    make_tail(make_config(), 4)
    make_trunk(make_config(), 4)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", [make_tail, make_trunk])
def test_there_must_be_layers_to_freeze(make_config, make):
    make(make_config(encoder=SHALLOW, trainable="head"), 4)
    assert refusal(make, make_config(encoder=SHALLOW), 4) == (
        "trainable='last_2' is not allowed with encoder='two-layers': it must be head, all or "
        "lora, for it has 2 layers."
    )


def test_layers_must_be_found_to_be_split(make_config, batch, monkeypatch):
    monkeypatch.setattr(model, "_LAYERS", ())
    assert refusal(make_tail, make_config(), 4) == (
        f"trainable='last_2' is not allowed with encoder='{DISTILBERT}': it must be all or lora, "
        "for its layers are not where DistilBERT or BERT has them."
    )
    config = make_config(trainable="all")
    tail = make_tail(config, 4).eval()
    torch.testing.assert_close(tail(batch), logits(whole(config), batch), rtol=1e-5, atol=1e-6)


def test_an_encoder_that_does_more_than_its_layers_is_not_split(make_config, monkeypatch):
    """Such as a last normalisation, which trunk and tail would do both."""

    def load_other(name, num_classes):
        classifier = load_classifier(name, num_classes)

        def double(encoder, inputs, output):
            output.last_hidden_state = 2 * output.last_hidden_state
            return output

        classifier.base_model.register_forward_hook(double)
        return classifier

    monkeypatch.setattr(model, "load_classifier", load_other)
    assert refusal(make_trunk, make_config(), 4) == (
        f"trainable='last_2' is not allowed with encoder='{DISTILBERT}': it must be all or lora, "
        "for its layers need more than the hidden states of the one before."
    )


def test_texts_must_fit_the_encoders_positions(make_config):
    require_fit(make_config(max_length=64))
    assert refusal(require_fit, make_config(max_length=65)) == (
        f"max_length=65 is not allowed with encoder='{DISTILBERT}': it must be at most 64, the "
        "tokens that it takes."
    )
