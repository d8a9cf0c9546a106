"""The type that a network computes in."""

from collections.abc import Mapping
from typing import Final

import torch

from common.client.work import Precision

_TYPES: Final[Mapping[Precision, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return a context in which layers compute in a precision, but where PyTorch knows better.

    Weights stay float32, and so do sums that would suffer, such as those of a softmax.

    Args:
        device: The model's.
        precision: What to compute in; float32 leaves everything as it is.
    """
    return torch.autocast(device.type, _TYPES[precision], enabled=precision != "float32")
