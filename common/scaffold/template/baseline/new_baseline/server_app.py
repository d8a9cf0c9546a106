"""The server: rounds of the strategy, the global model evaluated after each."""

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from torch import Tensor, nn

from common.engine import nodes_by_partition
from common.experiment.evaluation import evaluate
from common.experiment.federate import federate
from common.experiment.machine import check_machine
from common.experiment.recorder import Evaluation
from new_baseline.config import NewBaselineConfig
from new_baseline.dataset import Examples, FederatedDataset, load_dataset
from new_baseline.model import make_model
from new_baseline.strategy import make_strategy

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the configured experiment."""
    config = NewBaselineConfig.from_run_config(context.run_config)
    check_machine(config)
    data = load_dataset(config)
    num_examples: list[int] = data.partition.sizes.tolist()
    strategy = make_strategy(config, nodes_by_partition(grid, num_examples), num_examples)
    model = make_model(config, data.num_features, data.num_classes)
    initial_arrays = ArrayRecord(model.state_dict())
    evaluator = Evaluator(model, data, torch.device(config.server_device))
    federate(grid, strategy, config, initial_arrays, evaluator)


class Evaluator:
    """Evaluates a global model on the test set and on all clients' training examples.

    Args:
        model: Gets the weights to evaluate.
        data: The data set.
        device: Where to evaluate.
    """

    def __init__(self, model: nn.Module, data: FederatedDataset, device: torch.device) -> None:
        self._model = model.to(device)
        self._test = _tensors(data.test_set, device)
        self._train = _tensors(data.train_set, device)

    def __call__(self, arrays: ArrayRecord) -> Evaluation:
        """Return test accuracy, test loss and training loss."""
        self._model.load_state_dict(arrays.to_torch_state_dict())
        test = evaluate(self._model, *self._test)
        train = evaluate(self._model, *self._train)
        return Evaluation(test.accuracy, test.loss, train.loss)


def _tensors(examples: Examples, device: torch.device) -> tuple[Tensor, Tensor]:
    x, y = examples
    return torch.as_tensor(x, device=device), torch.as_tensor(y, device=device)
