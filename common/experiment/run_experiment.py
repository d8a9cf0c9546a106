"""Run a checked configuration: what the command line does, for scripts and notebooks, too."""

from typing import TypedDict

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from common import engine
from common.experiment.config import ExperimentConfig


class Workers(TypedDict):
    """What the Ray engine must know of a configuration to start its workers.

    Attributes:
        clients_per_round: K; more workers than that have nothing to do.
        num_cpus: CPU cores that a worker reserves.
        num_gpus: GPUs that a worker reserves.
        ray_address: Empty for a Ray of the run's own.
    """

    clients_per_round: int
    num_cpus: float
    num_gpus: float
    ray_address: str


def workers_of(config: ExperimentConfig) -> Workers:
    """Return what decides on the workers of a run."""
    return {
        "clients_per_round": config.clients_per_round,
        "num_cpus": config.client_resources.num_cpus,
        "num_gpus": config.client_resources.num_gpus,
        "ray_address": config.ray_address,
    }


def run_experiment(config: ExperimentConfig, server_app: ServerApp, client_app: ClientApp) -> None:
    """Run a baseline's two apps on the engine that the configuration names.

    Args:
        config: The run's configuration.
        server_app: The baseline's server app; what it raises is raised here.
        client_app: The baseline's client app.

    Raises:
        UserInputError: The configuration cannot be run here.
        ClientFailedError: A client raised.
    """
    engine.run(
        server_app,
        client_app,
        config.to_run_config(),
        num_clients=config.num_clients,
        engine=config.engine,
        client_timeout=config.client_timeout,
        **workers_of(config),
    )
