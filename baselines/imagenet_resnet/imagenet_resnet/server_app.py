"""The server: rounds of FedAvg or FedProx, the global model evaluated after each."""

from dataclasses import dataclass

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from torch import nn
from torchvision.models import get_model

from common.engine import nodes_by_partition
from common.experiment.evaluation import evaluate_top_k
from common.experiment.federate import federate
from common.experiment.machine import check_machine
from common.experiment.recorder import Evaluation
from common.experiment.say import say
from imagenet_resnet.config import ImageNetConfig
from imagenet_resnet.dataset import FederatedImages, load_dataset
from imagenet_resnet.model import make_model, require_normalisable, take_over_weights
from imagenet_resnet.strategy import make_strategy
from imagenet_resnet.weights import fingerprint

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the configured experiment."""
    config = ImageNetConfig.from_run_config(context.run_config)
    check_machine(config)
    take_over_weights(get_model(config.model), config)  # Refused before images are decoded.
    data = load_dataset(config)
    num_examples: list[int] = data.partition.sizes.tolist()
    require_normalisable(config, num_examples)
    network = make_model(config, data.num_classes)
    if network.fresh:
        say(
            f"weights={config.weights!r} lack {len(network.fresh)} tensors of the trained layers, "
            f"which begin afresh, {network.fresh[0]!r} the first."
        )
    nodes = nodes_by_partition(grid, num_examples)
    strategy = make_strategy(config, nodes, num_examples, network.tail)
    initial_arrays = ArrayRecord(network.tail.state_dict())
    evaluator = Evaluator(config, network.tail, data)
    weights = "" if config.weights == "none" else fingerprint(config.weights, config.model)
    federate(grid, strategy, config, initial_arrays, evaluator, weights)


@dataclass(frozen=True)
class ImageNetEvaluation(Evaluation):
    """The global model after a round.

    Attributes:
        test_top5_accuracy: Fraction of the test images whose label is among the five likeliest.
    """

    test_top5_accuracy: float


class Evaluator:
    """Evaluates a global model on the test set and, if asked to, on all training examples.

    Args:
        config: Says where to evaluate, and whether on the training examples, too.
        model: Gets the weights to evaluate.
        data: The data set.
    """

    def __init__(self, config: ImageNetConfig, model: nn.Module, data: FederatedImages) -> None:
        device = torch.device(config.server_device)
        self._model = model.to(device)
        self._test = data.test_set(device)
        self._train = data.train_set(device) if config.evaluate_train_loss else None

    def __call__(self, arrays: ArrayRecord) -> ImageNetEvaluation:
        """Return top-1 and top-5 accuracy and the losses."""
        self._model.load_state_dict(arrays.to_torch_state_dict())
        test = evaluate_top_k(self._model, *self._test, k=5)
        train_loss = evaluate_top_k(self._model, *self._train, k=1).loss if self._train else None
        return ImageNetEvaluation(test.accuracy, test.loss, train_loss, test.top_k_accuracy)
