"""The two arms of the paper's comparison."""

from collections.abc import Callable, Sequence
from functools import partial

from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx
from fedprox.config import FedProxConfig


def make_strategy(
    config: FedProxConfig, nodes: Sequence[int], num_examples: Sequence[int]
) -> FedAvg:
    """Return the configured strategy.

    Args:
        config: The run's configuration.
        nodes: Flower node id of every client.
        num_examples: n_k of every client.
    """
    make: Callable[..., FedAvg] = FedAvg
    if config.algorithm == "fedprox":
        make = partial(
            FedProx, mu=config.mu, batch_size=config.batch_size, adaptive_mu=config.adaptive_mu
        )
    return make(
        nodes,
        num_examples,
        clients_per_round=config.clients_per_round,
        num_epochs=config.num_epochs,
        stragglers_fraction=config.stragglers_fraction,
        seed=config.seed,
        on_client_failure=config.on_client_failure,
    )
