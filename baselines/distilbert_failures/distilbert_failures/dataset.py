"""Texts, or what the frozen layers make of their tokens, split over clients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.data import load_texts
from common.errors import UserInputError
from common.features import Floats, FrozenLayers, cached_features
from common.inputs import Inputs
from common.partition import Partition, label_counts, label_schemes, realise, score_ranges
from common.randomness import Purpose, generator
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.encoder import fingerprint, load_tokenizer
from distilbert_failures.model import Trunk, hidden_width, make_trunk
from distilbert_failures.text_scores import Scores, score_quartiles, style_scores, token_scores
from distilbert_failures.tokens import ThroughFrozenLayers, TokenInputs, TokenizedTexts, tokenize

Labels = NDArray[np.int64]

# Part of the cache's key: to be counted up when the same tokens and layers get other features.
_FEATURES: Final = 1
# Texts that a thread takes at once, to run those of a length together, few at a time.
_CHUNK: Final = 512
_BATCH: Final = 32


@dataclass(frozen=True)
class Texts:
    """The texts of a split, ready to be read.

    Attributes:
        tokens: Their tokens.
        labels: int64 [texts].
        rows: Row by row what is read: the ids of ``tokens`` or the frozen layers' features.
        offsets: Where texts begin in ``rows``, int64 [texts + 1].
        trunk: Returns the frozen layers that ids have yet to pass, on a device; None if there are
            none, or features are read.
    """

    tokens: TokenizedTexts
    labels: Labels
    rows: NDArray[Any]
    offsets: NDArray[np.int64]
    trunk: Callable[[torch.device], Trunk] | None

    def inputs(self, texts: NDArray[np.int64], device: torch.device) -> Inputs:
        """Return what a model takes of some texts."""
        read = TokenInputs(self.rows, self.offsets, texts, device)
        return read if self.trunk is None else ThroughFrozenLayers(self.trunk(device), read)


@dataclass(frozen=True)
class FederatedTexts:
    """A data set and who owns which training text.

    Attributes:
        train: The training texts.
        test: The test texts.
        partition: The clients' training texts.
        class_names: Name of each label.
        score_quartiles: Of a partition by score, the quarter of the texts that each training text
            is in, 0 to 3; None of others.
    """

    train: Texts
    test: Texts
    partition: Partition
    class_names: tuple[str, ...]
    score_quartiles: NDArray[np.int64] | None

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.class_names)

    @property
    def label_counts(self) -> NDArray[np.int64]:
        """Texts of each label for each client, shape [clients, classes]."""
        return label_counts(self.partition, self.train.labels, self.num_classes)

    def client(self, client: int, device: torch.device) -> tuple[Inputs, Labels]:
        """Return a client's inputs and labels.

        Args:
            client: Partition id.
            device: The model's.
        """
        texts = self.partition.client(client)
        return self.train.inputs(texts, device), self.train.labels[texts]

    def train_set(self, device: torch.device) -> tuple[Inputs, Tensor]:
        """Return the inputs and labels of all clients together, to evaluate on."""
        return _by_length(self.train, np.sort(self.partition.indices), device)

    def test_set(self, device: torch.device) -> tuple[Inputs, Tensor]:
        """Return the test inputs and labels."""
        return _by_length(self.test, np.arange(len(self.test.labels)), device)


def load_dataset(config: DistilBertConfig) -> FederatedTexts:
    """Return the data of a configuration, tokenised and partitioned; later calls are free.

    Frozen layers are run once over all texts, on ``server_device``, which may take minutes.

    Raises:
        UserInputError: Data set or encoder cannot be had, or the data cannot be partitioned so.
    """
    return _load(_only(config, (*_ABOUT_TEXTS, *_ABOUT_PARTITION)))


# The keys that data depend on. Runs of a sweep that differ in others only share them.
_ABOUT_TEXTS: Final = (
    *("dataset", "num_train_texts", "num_test_texts", "max_length", "encoder", "trainable"),
    *("cache_frozen_layers", "server_device"),
)
_ABOUT_PARTITION: Final = (
    *("partition", "dirichlet_alpha", "min_partition_share", "style", "token_statistic"),
    *("num_clients", "seed", "partition_seed"),
)


def _only(config: DistilBertConfig, keys: Sequence[str]) -> DistilBertConfig:
    """Return a configuration that has these keys alone: to ask it for another is an error."""
    return DistilBertConfig.model_construct(**{key: getattr(config, key) for key in keys})


@dataclass(frozen=True)
class _TokenizedSplits:
    """A data set without its clients."""

    texts: tuple[str, ...]
    train: Texts
    test: Texts
    class_names: tuple[str, ...]


@lru_cache(maxsize=1)
def _load(config: DistilBertConfig) -> FederatedTexts:
    splits = _tokenized(_only(config, _ABOUT_TEXTS))
    scores = _scores(config, splits.texts)
    return FederatedTexts(
        train=splits.train,
        test=splits.test,
        partition=_partition(config, splits.train.labels, scores),
        class_names=splits.class_names,
        score_quartiles=None if scores is None else score_quartiles(scores),
    )


def _scores(config: DistilBertConfig, texts: Sequence[str]) -> Scores | None:
    """Return what texts are sorted by; None where they are not."""
    if config.partition == "style_skew":
        return style_scores(texts, config.style)
    if config.partition == "token_skew":
        return token_scores(texts, config.token_statistic)
    return None


@lru_cache(maxsize=1)
def _tokenized(config: DistilBertConfig) -> _TokenizedSplits:
    data = load_texts(config.dataset)
    tokenizer = load_tokenizer(config.encoder)
    num_train = _number_of("num_train_texts", config.num_train_texts, len(data.x_train))
    num_test = _number_of("num_test_texts", config.num_test_texts, len(data.x_test))

    def split(name: str, texts: Sequence[str], labels: Labels) -> Texts:
        tokens = tokenize(tokenizer, texts, config.max_length)
        key = f"{data.fingerprint}-{name}_{len(texts)}-cut_{config.max_length}"
        return _with_features(config, tokens, labels, key, data.num_classes)

    texts = data.x_train[:num_train]
    return _TokenizedSplits(
        texts=texts,
        train=split("train", texts, data.y_train[:num_train]),
        test=split("test", data.x_test[:num_test], data.y_test[:num_test]),
        class_names=data.class_names,
    )


def _number_of(key: str, wanted: int, available: int) -> int:
    if wanted > available:
        raise UserInputError(
            f"{key}={wanted} is not allowed: it must be at most {available}, or 0 for all of them."
        )
    return wanted or available


def _with_features(
    config: DistilBertConfig, tokens: TokenizedTexts, labels: Labels, key: str, num_classes: int
) -> Texts:
    """Return texts as the model takes them, with the frozen layers' features if there are any."""
    if config.trainable not in ("last_2", "head"):
        return Texts(tokens, labels, tokens.ids, tokens.offsets, None)
    if not config.cache_frozen_layers:
        about_trunk = _only(config, ("encoder", "trainable"))
        trunk = partial(_resident_trunk, about_trunk, num_classes)
        return Texts(tokens, labels, tokens.ids, tokens.offsets, trunk)
    device = torch.device(config.server_device)
    # Of a frozen encoder the first token's hidden state is kept alone.
    of_first_token = config.trainable == "head"
    offsets = np.arange(len(tokens) + 1) if of_first_token else tokens.offsets

    def make_frozen_layers() -> FrozenLayers:
        trunk = make_trunk(config, num_classes).to(device)
        of_all = TokenInputs(tokens.ids, tokens.offsets, np.arange(len(tokens)), device)
        return lambda texts: _rows_of_texts(trunk, of_all, texts, tokens.lengths)

    features = cached_features(
        make_frozen_layers,
        f"features_{_FEATURES}-{fingerprint(config.encoder)}-before_{config.trainable}-{key}-"
        f"{device.type}-torch_{torch.__version__}",
        num_examples=len(tokens),
        num_rows=int(offsets[-1]),
        row_shape=(hidden_width(config),),
        chunk=_CHUNK,
    )
    return Texts(tokens, labels, features, offsets, None)


# The server and this process's clients may have a device each.
@lru_cache(maxsize=2)
def _resident_trunk(config: DistilBertConfig, num_classes: int, device: torch.device) -> Trunk:
    return make_trunk(config, num_classes).to(device)


def _rows_of_texts(
    trunk: Trunk,
    inputs: TokenInputs,
    texts: Tensor,
    lengths: NDArray[np.int64],
) -> Floats:
    """Return the hidden states of some texts, one text behind the other, a row a token."""
    rows: dict[int, Floats] = {}
    by_length = texts[torch.from_numpy(np.argsort(lengths[texts.numpy()], kind="stable"))]
    for batch in torch.split(by_length, _BATCH):
        hidden = trunk(inputs.take(batch)).tokens.cpu().numpy()
        for text, of_text in zip(batch.tolist(), hidden, strict=True):
            rows[text] = of_text[: lengths[text]]
    return np.concatenate([rows[text] for text in texts.tolist()])


def _by_length(
    texts: Texts, chosen: NDArray[np.int64], device: torch.device
) -> tuple[Inputs, Tensor]:
    """Return texts in the order of their lengths: little is filled up in a batch of them."""
    ordered = chosen[np.argsort(texts.tokens.lengths[chosen], kind="stable")]
    return texts.inputs(ordered, device), torch.tensor(texts.labels[ordered], device=device)


def _partition(config: DistilBertConfig, labels: Labels, scores: Scores | None) -> Partition:
    num_clients = config.num_clients
    least = int(config.min_partition_share * len(labels) / num_clients)
    rng = generator(config.seed_of_partition, Purpose.PARTITION)
    schemes = label_schemes(labels, num_clients, config.dirichlet_alpha, least, rng)
    if scores is not None:
        schemes = {config.partition: lambda: score_ranges(scores, num_clients)}
    return realise(config.partition, schemes)
