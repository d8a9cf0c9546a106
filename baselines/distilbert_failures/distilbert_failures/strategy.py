"""The strategy of a run: FedAvg, FedProx or SCAFFOLD, the mean of the models, the optimiser."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from torch import nn

from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx
from common.strategy.scaffold import Scaffold
from common.strategy.server_optimizer import make_server_optimizer
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.lora import make_aggregation

# What a client says of its local epochs, and of its own model where it is asked to evaluate it.
CLIENT_TRAIN_LOSS: Final = "train-loss"
CLIENT_ACCURACY: Final = "test-accuracy"
# Nobody straggles in this study.
_STRAGGLERS_FRACTION: Final = 0.0


def make_strategy(
    config: DistilBertConfig, nodes: Sequence[int], num_examples: Sequence[int], model: nn.Module
) -> FedAvg:
    """Return the configured strategy.

    Args:
        config: The run's configuration.
        nodes: Flower node id of every client.
        num_examples: n_k of every client.
        model: The federated model, which tells what is trained, and what travels.
    """
    trained = {name: w.detach().numpy() for name, w in model.named_parameters() if w.requires_grad}
    server_optimizer = make_server_optimizer(
        config.server_optimizer,
        trained,
        server_learning_rate=config.server_learning_rate,
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        tau=config.tau,
        bias_correction=False,
    )
    algorithms: dict[str, Callable[..., FedAvg]] = {
        "fedavg": FedAvg,
        "fedprox": partial(FedProx, mu=config.mu, batch_size=config.batch_size),
        "scaffold": partial(Scaffold, w_0=trained),
    }
    return algorithms[config.algorithm](
        nodes,
        num_examples,
        clients_per_round=config.clients_per_round,
        num_epochs=config.num_epochs,
        stragglers_fraction=_STRAGGLERS_FRACTION,
        seed=config.seed_of_sampling,
        on_client_failure=config.on_client_failure,
        aggregation=make_aggregation(model, config.weighting, server_optimizer),
        measure_drift=config.measure_divergence,
        measure_divergence=config.measure_divergence,
        client_metrics=[
            *([CLIENT_TRAIN_LOSS] if config.num_epochs > 0 else []),
            *([CLIENT_ACCURACY] if config.evaluate_clients else []),
        ],
    )
