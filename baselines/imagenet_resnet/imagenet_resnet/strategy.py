"""The strategy of a run: FedAvg or FedProx, the mean of the models, the server optimiser."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from torch import nn

from common.strategy.aggregate import Aggregation
from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx
from common.strategy.mu_schedule import MuSchedule
from common.strategy.server_optimizer import make_server_optimizer
from imagenet_resnet.config import ImageNetConfig

# What a client says of its own model where it is asked to evaluate it.
CLIENT_ACCURACY: Final = "test-accuracy"
# Nobody straggles in this benchmark.
_STRAGGLERS_FRACTION: Final = 0.0


def make_strategy(
    config: ImageNetConfig, nodes: Sequence[int], num_examples: Sequence[int], model: nn.Module
) -> FedAvg:
    """Return the configured strategy.

    Args:
        config: The run's configuration.
        nodes: Flower node id of every client.
        num_examples: n_k of every client.
        model: The federated model, which tells parameters from buffers.
    """
    make: Callable[..., FedAvg] = FedAvg
    if config.algorithm == "fedprox":
        mu = MuSchedule(config.mu_schedule, config.mu, config.mu_final, config.num_rounds)
        make = partial(FedProx, mu=mu, batch_size=config.batch_size, adaptive_mu=config.adaptive_mu)
    return make(
        nodes,
        num_examples,
        clients_per_round=config.clients_per_round,
        num_epochs=config.num_epochs,
        stragglers_fraction=_STRAGGLERS_FRACTION,
        seed=config.seed,
        on_client_failure=config.on_client_failure,
        aggregation=_aggregation(config, model),
        measure_drift=config.measure_drift,
        client_metrics=[CLIENT_ACCURACY] if config.evaluate_clients else [],
    )


def _aggregation(config: ImageNetConfig, model: nn.Module) -> Aggregation:
    parameters = {name: w.detach().numpy() for name, w in model.named_parameters()}
    return Aggregation(
        parameters=list(parameters),
        weighting=config.weighting,
        buffers=config.buffers,
        server_optimizer=make_server_optimizer(
            config.server_optimizer,
            parameters,
            server_learning_rate=config.server_learning_rate,
            beta_1=config.beta_1,
            beta_2=config.beta_2,
            tau=config.tau,
            bias_correction=False,
        ),
    )
