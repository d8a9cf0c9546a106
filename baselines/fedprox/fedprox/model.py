"""The two models: multinomial logistic regression, and the CNN of McMahan et al. 2017."""

from torch import nn

from common.randomness import Purpose, torch_seeded
from fedprox.config import FedProxConfig


class LogisticRegression(nn.Linear):
    """Softmax over one linear layer, the paper's convex model.

    Initialised as in the authors' code: Glorot-uniform weights, biases zero.
    """

    def reset_parameters(self) -> None:
        """Draw the initial weights."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)


class CNN(nn.Sequential):
    """Two 5 x 5 convolutions and two dense layers, 1,663,370 parameters.

    McMahan et al. 2017 (arXiv 1602.05629), section 3. Takes flattened 28 x 28 images. ReLU and
    maximum commute: a quarter of the work after the pooling.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, 32, kernel_size=5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 512),
            nn.ReLU(),
            nn.Linear(512, num_classes),
        )


def make_model(config: FedProxConfig, num_features: int, num_classes: int) -> nn.Module:
    """Build the configured model with its initial weights, a function of the seed alone.

    Args:
        config: The run's configuration.
        num_features: Length of an input.
        num_classes: Number of labels.

    Returns:
        A model from inputs [batch, num_features] to logits [batch, num_classes].
    """
    with torch_seeded(config.seed, Purpose.INITIAL_WEIGHTS):
        if config.model == "logistic":
            return LogisticRegression(num_features, num_classes)
        return CNN(num_classes)
