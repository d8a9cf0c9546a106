"""The model: multinomial logistic regression."""

from torch import nn

from common.randomness import Purpose, torch_seeded
from new_baseline.config import NewBaselineConfig


def make_model(config: NewBaselineConfig, num_features: int, num_classes: int) -> nn.Module:
    """Build the model with its initial weights, a function of the seed alone.

    Args:
        config: The run's configuration.
        num_features: Length of an input.
        num_classes: Number of labels.

    Returns:
        A model from inputs [batch, num_features] to logits [batch, num_classes].
    """
    with torch_seeded(config.seed, Purpose.INITIAL_WEIGHTS):
        return nn.Linear(num_features, num_classes)
