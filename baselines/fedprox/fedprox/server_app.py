"""The server: rounds of FedAvg or FedProx, the global model evaluated after each."""

from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from numpy.typing import NDArray
from torch import Tensor, nn

from common.engine import nodes_by_partition
from common.experiment.evaluation import evaluate
from common.experiment.federate import federate
from common.experiment.machine import check_machine
from common.experiment.recorder import Evaluation
from fedprox.config import FedProxConfig
from fedprox.dataset import FederatedDataset, load_dataset
from fedprox.dissimilarity import dissimilarity
from fedprox.model import make_model
from fedprox.strategy import make_strategy

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the configured experiment."""
    config = FedProxConfig.from_run_config(context.run_config)
    check_machine(config)
    data = load_dataset(config)
    num_examples: list[int] = data.partition.sizes.tolist()
    strategy = make_strategy(config, nodes_by_partition(grid, num_examples), num_examples)
    model = make_model(config, data.num_features, data.num_classes)
    initial_arrays = ArrayRecord(model.state_dict())
    evaluator = Evaluator(config, model, data)
    federate(grid, strategy, config, initial_arrays, evaluator)


@dataclass(frozen=True)
class FedProxEvaluation(Evaluation):
    """The global model after a round.

    Attributes:
        dissimilarity: Variance of the local gradients over all clients; None where it is not asked
            for.
    """

    dissimilarity: float | None


class Evaluator:
    """Evaluates a global model on the test set and on all clients' training examples.

    Args:
        config: Says where to evaluate, and whether on the training examples, too, and each
            client's.
        model: Gets the weights to evaluate.
        data: The data set.
    """

    def __init__(self, config: FedProxConfig, model: nn.Module, data: FederatedDataset) -> None:
        device = torch.device(config.server_device)
        self._model = model.to(device)
        self._test = _tensors(data.test_set, device)
        self._train = _tensors(data.train_set, device) if config.evaluate_train_loss else None
        self._clients: list[tuple[Tensor, Tensor]] | None = None
        if config.evaluate_dissimilarity:
            self._clients = [_tensors(client, device) for client in data.clients]

    def __call__(self, arrays: ArrayRecord) -> FedProxEvaluation:
        """Return test accuracy, test loss, f(w) and the dissimilarity of the clients at w."""
        self._model.load_state_dict(arrays.to_torch_state_dict())
        test = evaluate(self._model, *self._test)
        train_loss = evaluate(self._model, *self._train).loss if self._train else None
        differ = dissimilarity(self._model, self._clients) if self._clients else None
        return FedProxEvaluation(test.accuracy, test.loss, train_loss, differ)


def _tensors(
    examples: tuple[NDArray[np.float32], NDArray[np.int64]], device: torch.device
) -> tuple[Tensor, Tensor]:
    x, y = examples
    return torch.as_tensor(x, device=device), torch.as_tensor(y, device=device)
