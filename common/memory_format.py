"""How the weights of convolutions lie in memory."""

import torch
from torch import nn


def use_channels_last(model: nn.Module) -> None:
    """Bring a model on the CPU into the memory format that its convolutions are fastest in.

    Shapes, and what is sent, stay as they were, and weights that are loaded later take the format.
    A model without convolutions has nothing to bring.
    """
    if all(parameter.device.type == "cpu" for parameter in model.parameters()):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
