"""A sequence classifier, cut into a frozen trunk and the layers that clients train."""

import copy
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from common.errors import UserInputError
from common.randomness import Purpose, torch_seeded
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.encoder import load_classifier, load_settings, load_tokenizer
from distilbert_failures.lora import add_lora
from distilbert_failures.tokens import TextBatch

# Of the encoder's layers, how many are trained; the others, and the embeddings, are frozen.
_TRAINED_LAYERS: Final = {"last_2": 2, "head": 0}
# Where encoders have their layers.
_LAYERS: Final = ("transformer.layer", "encoder.layer")
# How far apart outputs may be that are the same but for the order of sums.
_TOLERANCE: Final = 1e-4


class Trunk(nn.Module):
    """The frozen layers: token ids to hidden states [batch, length, width], in evaluation mode.

    With the whole encoder frozen, the first token's alone, [batch, 1, width]: the head reads no
    other.

    Args:
        encoder: A Hugging Face model, without the layers that are trained.
        first_token_only: Whether all its layers are here.
    """

    def __init__(self, encoder: nn.Module, first_token_only: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self._first_token_only = first_token_only
        self.eval().requires_grad_(False)

    def forward(self, batch: TextBatch) -> TextBatch:
        """Return hidden states in the place of token ids."""
        found = self.encoder(input_ids=batch.tokens, attention_mask=batch.mask)
        kept = slice(1) if self._first_token_only else slice(None)
        return TextBatch(found.last_hidden_state[:, kept], batch.mask[:, kept])


def make_tail(config: DistilBertConfig, num_classes: int) -> nn.Module:
    """Return the layers that clients train, with their initial weights: the federated model.

    It maps a batch of what the trunk returns, or of token ids where there is no trunk, to logits
    [batch, classes]. Its tensors have the names that they have in Hugging Face's model. The initial
    weights are a function of the encoder and the seed of the model.

    Args:
        config: The run's configuration.
        num_classes: Number of labels.

    Raises:
        UserInputError: There is no such encoder, or its layers cannot be told apart.
    """
    with torch_seeded(config.seed_of_model, Purpose.INITIAL_WEIGHTS):
        classifier = load_classifier(config.encoder, num_classes)
        if config.trainable == "lora":
            _add_lora(classifier, config)
    return _tail_of(classifier, config)


def make_trunk(config: DistilBertConfig, num_classes: int) -> Trunk:
    """Return the frozen layers of a configuration that has some.

    Args:
        config: The run's configuration.
        num_classes: Number of labels.

    Raises:
        UserInputError: There is no such encoder, or trunk and tail do not make the whole of it.
    """
    with torch.random.fork_rng(devices=[]):  # It draws a head, which is of no use here.
        whole = load_classifier(config.encoder, num_classes)
    trunk = _trunk_of(copy.deepcopy(whole.base_model), config)
    tail = _tail_of(copy.deepcopy(whole), config)
    if not _have_outputs_of(whole.eval(), trunk, tail.eval()):
        raise _not_split(config, "its layers need more than the hidden states of the one before")
    return trunk


def hidden_width(config: DistilBertConfig) -> int:
    """Return the length of the hidden state of a token.

    Raises:
        UserInputError: There is no such encoder.
    """
    return int(load_settings(config.encoder).hidden_size)


def require_fit(config: DistilBertConfig) -> None:
    """Refuse texts longer than the encoder has positions for, and tokens that it does not know.

    Raises:
        UserInputError: There may be such; or there is no such encoder.
    """
    positions = getattr(load_settings(config.encoder), "max_position_embeddings", config.max_length)
    tokenizer = load_tokenizer(config.encoder)
    # RoBERTa and its like count positions from behind that of the padding: their tokenizers know.
    longest = min(positions, tokenizer.model_max_length)
    known = int(load_settings(config.encoder).vocab_size)
    if len(tokenizer) > known:
        raise UserInputError(
            f"encoder={config.encoder!r} is not allowed: its tokenizer must have at most {known} "
            f"tokens, which the encoder knows, but has {len(tokenizer)}."
        )
    if config.max_length > longest:
        raise UserInputError(
            f"max_length={config.max_length} is not allowed with encoder={config.encoder!r}: it "
            f"must be at most {longest}, the tokens that it takes."
        )


def _trunk_of(encoder: nn.Module, config: DistilBertConfig) -> Trunk:
    layers = _layers(encoder, config)
    num_trained = _TRAINED_LAYERS[config.trainable]
    del layers[len(layers) - num_trained :]
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # type: ignore[assignment] # Part of the head.
    if num_trained == 0:
        _read_first_token_only(encoder)
    return Trunk(encoder, first_token_only=num_trained == 0)


def _tail_of(classifier: nn.Module, config: DistilBertConfig) -> nn.Module:
    encoder = cast(nn.Module, classifier.base_model)
    if config.trainable in _TRAINED_LAYERS:
        layers = _layers(encoder, config)
        for i in range(len(layers) - _TRAINED_LAYERS[config.trainable]):
            layers[i] = _Skipped()
        encoder.embeddings = _GivenHiddenStates()
    if config.trainable != "head":
        _read_first_token_only(encoder)
    classifier.register_forward_pre_hook(_named_inputs, with_kwargs=True)
    classifier.register_forward_hook(_logits)
    return classifier


@torch.no_grad()
def _have_outputs_of(whole: nn.Module, trunk: Trunk, tail: nn.Module) -> bool:
    """Compare the parts with the whole on two texts: encoders are of many kinds."""
    tokens, mask = torch.arange(14).reshape(2, 7), torch.arange(7) < torch.tensor([[7], [5]])
    found = tail(trunk(TextBatch(tokens, mask)))
    expected = whole(input_ids=tokens, attention_mask=mask).logits
    return torch.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE)


def _layers(encoder: nn.Module, config: DistilBertConfig) -> nn.ModuleList:
    """Return the layers of an encoder, in forward order."""
    layers = _find_layers(encoder)
    if layers is None or not hasattr(encoder, "embeddings"):
        raise _not_split(config, "its layers are not where DistilBERT or BERT has them")
    if len(layers) <= _TRAINED_LAYERS[config.trainable]:
        num_layers = f"{len(layers)} layer{'s' * (len(layers) > 1)}"
        raise _not_split(config, f"it has {num_layers}", "head, all or lora")
    return layers


def _find_layers(encoder: nn.Module) -> nn.ModuleList | None:
    for name in _LAYERS:
        try:
            layers = encoder.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(layers, nn.ModuleList):
            return layers
    return None


def _read_first_token_only(encoder: nn.Module) -> None:
    """Spare the last layer what the head does not read, where it is of a kind that can be."""
    # Here, for transformers' models take ten seconds to import: bad input is refused before.
    from distilbert_failures.first_token import read_first_token_only

    layers = _find_layers(encoder)
    if layers is not None:
        read_first_token_only(layers[-1])


def _not_split(
    config: DistilBertConfig, reason: str, allowed: str = "all or lora"
) -> UserInputError:
    return UserInputError(
        f"trainable={config.trainable!r} is not allowed with encoder={config.encoder!r}: it must "
        f"be {allowed}, for {reason}."
    )


def _add_lora(classifier: nn.Module, config: DistilBertConfig) -> None:
    encoder = classifier.base_model_prefix
    head = [name for name, child in classifier.named_children() if name != encoder]
    if getattr(classifier.get_submodule(str(encoder)), "pooler", None) is not None:
        head.append(f"{encoder}.pooler")
    add_lora(
        classifier,
        config.lora_rank,
        config.lora_alpha,
        config.lora_dropout,
        config.lora_target_modules,
        config.lora_aggregation,
        head,
    )


def _named_inputs(
    classifier: nn.Module, batch: tuple[Any, ...], keys: dict[str, Any]
) -> tuple[tuple[()], dict[str, Any]]:
    """Turn a batch into the arguments that Hugging Face's models take."""
    (of_texts,) = batch
    key = "inputs_embeds" if of_texts.tokens.is_floating_point() else "input_ids"
    return (), {key: of_texts.tokens, "attention_mask": of_texts.mask}


def _logits(classifier: nn.Module, inputs: object, output: Any) -> Tensor:
    logits: Tensor = output.logits
    return logits


class _GivenHiddenStates(nn.Module):
    """Takes the place of the embeddings where hidden states are the input."""

    def forward(
        self,
        input_ids: None = None,
        inputs_embeds: Tensor | None = None,
        *unused: object,
        **also_unused: object,
    ) -> Tensor | None:
        return inputs_embeds


class _Skipped(nn.Module):
    """Takes the place of a layer that is in the trunk; the others keep their names."""

    def forward(self, hidden_states: Tensor, *unused: object, **also_unused: object) -> Tensor:
        return hidden_states
