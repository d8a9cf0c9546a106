"""Run a server app and a client app in this process or on Ray."""

import math
from typing import Literal

from flwr.app import Context, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from common.engine.flower import RUN_ID, SERVER_NODE_ID, become_server
from common.engine.grid import SimulationGrid
from common.engine.inline import InlineGrid


def start_workers(
    clients_per_round: int, num_cpus: float, num_gpus: float, ray_address: str
) -> None:
    """Start the workers of the Ray engine that do not run yet, before the apps are there.

    Args:
        clients_per_round: Clients that are to answer at a time, at most.
        num_cpus: CPUs that a worker reserves.
        num_gpus: GPUs that a worker reserves.
        ray_address: Empty for a Ray of our own, else the address of a cluster.

    Raises:
        UserInputError: The machine or cluster cannot hold one worker.
    """
    from common.engine.worker_pool import worker_pool

    worker_pool(num_cpus, num_gpus, ray_address).workers(clients_per_round)


def run(
    server_app: ServerApp,
    client_app: ClientApp,
    run_config: UserConfig,
    *,
    num_clients: int,
    clients_per_round: int,
    engine: Literal["inline", "ray"],
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    ray_address: str = "",
    client_timeout: float = math.inf,
) -> None:
    """Run a server app against simulated clients; both apps are those that `flwr run` takes.

    Args:
        server_app: The server's app; what it raises is raised here.
        client_app: The clients' app.
        run_config: Flat configuration that both apps find in their context.
        num_clients: Number of clients, one a partition.
        clients_per_round: Clients that are to answer at a time, at most.
        engine: "inline" runs the clients in this process, "ray" on a pool of workers.
        num_cpus: CPUs that a worker reserves.
        num_gpus: GPUs that a worker reserves.
        ray_address: Empty for a Ray of our own, else the address of a cluster.
        client_timeout: Seconds after which a client of the Ray engine is stopped, and answered for
            with an error; ``math.inf`` to wait for as long as it takes. The inline engine can stop
            no client.

    Raises:
        UserInputError: The machine or cluster cannot hold one worker.
        ClientFailedError: No machine is left that can hold a worker.
    """
    grid: SimulationGrid
    if engine == "inline":
        grid = InlineGrid(client_app, num_clients, run_config)
    else:
        # Ray takes a second to import: not for those who do without.
        from common.engine.ray_engine import RayGrid

        grid = RayGrid(
            client_app,
            num_clients,
            clients_per_round,
            run_config,
            num_cpus,
            num_gpus,
            ray_address,
            client_timeout,
        )
    become_server()
    context = Context(
        run_id=RUN_ID,
        node_id=SERVER_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=run_config,
    )
    server_app(grid, context)
