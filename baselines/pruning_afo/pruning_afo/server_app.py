"""The server: rounds of FedAvg with compressed updates, the global model evaluated after each."""

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from torch import nn

from common.engine import nodes_by_partition
from common.experiment.evaluation import evaluate_top_k
from common.experiment.federate import federate
from common.experiment.machine import check_machine
from common.experiment.recorder import Evaluation
from pruning_afo.config import PruningConfig
from pruning_afo.dataset import FederatedImages, load_dataset
from pruning_afo.model import make_model
from pruning_afo.strategy import make_strategy

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the configured experiment."""
    config = PruningConfig.from_run_config(context.run_config)
    check_machine(config)
    data = load_dataset(config)
    num_examples: list[int] = data.partition.sizes.tolist()
    model = make_model(config, data.num_classes)
    nodes = nodes_by_partition(grid, num_examples)
    strategy = make_strategy(config, nodes, num_examples, model)
    initial_arrays = ArrayRecord(model.state_dict())
    federate(grid, strategy, config, initial_arrays, Evaluator(config, model, data))


class Evaluator:
    """Evaluates a global model on the test set.

    Args:
        config: Says where to evaluate.
        model: Gets the weights to evaluate.
        data: The data set.
    """

    def __init__(self, config: PruningConfig, model: nn.Module, data: FederatedImages) -> None:
        device = torch.device(config.server_device)
        self._model = model.to(device)
        self._test = data.test_set(device)

    def __call__(self, arrays: ArrayRecord) -> Evaluation:
        """Return accuracy and loss."""
        self._model.load_state_dict(arrays.to_torch_state_dict())
        test = evaluate_top_k(self._model, *self._test, k=1)
        return Evaluation(test.accuracy, test.loss, train_loss=None)
