"""Pre-trained weights: torchvision's by name, or a file."""

import hashlib
import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model_weights

from common.errors import UserInputError

State = dict[str, Tensor]


def find_weights(name: str, model: str) -> Path | None:
    """Return the file that a value of ``weights`` means; None for a name of torchvision's.

    Args:
        name: Value of the key ``weights``, not "none".
        model: Value of the key ``model``.

    Raises:
        UserInputError: It is neither.
    """
    names = [member.name for member in get_model_weights(model)]
    if name in names:
        return None
    root = os.environ.get("FLOWERBED_DATA")
    places = [Path(name), *([Path(root) / "weights" / name] if root else [])]
    for place in places:
        try:
            if place.expanduser().is_file():
                return place.expanduser()
        except (OSError, RuntimeError, ValueError):  # A name too long, the home of nobody.
            continue
    raise UserInputError(
        f"weights={name!r} is not allowed: it must be none, one of {', '.join(names)} or a file, "
        "here or in $FLOWERBED_DATA/weights (FLOWERBED_DATA is "
        f"{repr(root) if root else 'not set'})."
    )


def fingerprint(name: str, model: str) -> str:
    """Identify weights by their content, or by torchvision's name, which stands for one content.

    Returns:
        16 hexadecimal digits of a file's hash, or the name.

    Raises:
        UserInputError: There are no such weights.
    """
    file = find_weights(name, model)
    return name if file is None else hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def load_weights(name: str, model: str) -> State:
    """Return the tensors of a file, or of weights that torchvision has, or downloads.

    Args:
        name: Value of the key ``weights``, not "none".
        model: Value of the key ``model``.

    Raises:
        UserInputError: There are none of that name, or they cannot be read.
    """
    file = find_weights(name, model)
    try:
        if file is None:
            state = get_model_weights(model)[name].get_state_dict(check_hash=True)
        elif file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # Readers of foreign files raise errors of many kinds.
        how = "downloaded" if file is None else "read as a state dict of tensors"
        # PyTorch goes on with advice that would run code of the file.
        first_sentence = str(error).partition("\n")[0].partition(". ")[0]
        why = f"{type(error).__name__}: {first_sentence:.100}".rstrip(" .:")
        raise UserInputError(
            f"weights={name!r} is not allowed: it must be possible for them to be {how} ({why})."
        ) from None
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in state.items()
    ):
        raise UserInputError(
            f"weights={name!r} is not allowed: it must hold a state dict, tensors by name."
        )
    return dict(state)


def fill(network: nn.Module, state: State, name: str, ignored: str = "") -> list[str]:
    """Overwrite the tensors of a network with those of a state dict that has them, in place.

    Args:
        network: Of torchvision's architecture.
        state: What :func:`load_weights` returned; may lack tensors, but have no others.
        name: Value of the key ``weights``, for errors.
        ignored: Tensors whose names begin so stay as they are, if it is not empty.

    Returns:
        Names of the network's tensors that the state dict lacks, which stay as they are.
        BatchNorm's counters of batches are not among them, for weights older than PyTorch 0.4.1
        have none, as torchvision's.

    Raises:
        UserInputError: A tensor of the state dict is not one of the network's, or has another
            shape, or holds a number that is not finite.
    """
    own = network.state_dict()
    wanted = {key for key in own if not (ignored and key.startswith(ignored))}
    for key, tensor in state.items():
        if ignored and key.startswith(ignored):
            continue
        if key not in own:
            raise _of_another(name, f"its {key!r:.80} is not a tensor of this network")
        if tensor.shape != own[key].shape:
            found, expected = list(tensor.shape), list(own[key].shape)
            raise _of_another(name, f"its {key!r} has shape {found}, not {expected}")
        if not torch.isfinite(tensor).all():
            raise _of_another(name, f"its {key!r} holds a number that is not finite")
        own[key].copy_(tensor)
    lacking = wanted - state.keys()
    return sorted(key for key in lacking if not key.endswith(".num_batches_tracked"))


def _of_another(name: str, reason: str) -> UserInputError:
    return UserInputError(
        f"weights={name!r} is not allowed: it must be weights of the configured model, but "
        f"{reason}."
    )
