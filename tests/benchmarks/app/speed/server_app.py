"""The server: rounds of our FedProx, timed here, so that no engine's start-up counts."""

from pathlib import Path

from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from common.engine import nodes_by_partition
from common.strategy.fedprox import FedProx
from common.threads import use_one_thread
from speed.arrays import Arrays, load_arrays
from speed.recorder import Recorder
from speed.training import accuracy, make_model
from speed.work import SEED

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one round to warm up, then passes over the rounds, and write the result file."""
    use_one_thread()
    config = context.run_config
    arrays = load_arrays(str(config["arrays"]), str(config["work"]))
    work = arrays.work
    strategy = FedProx(
        nodes=nodes_by_partition(grid, arrays.num_examples),
        num_examples=arrays.num_examples,
        clients_per_round=work.clients_per_round,
        num_epochs=work.num_epochs,
        stragglers_fraction=0.0,
        seed=SEED,
        mu=work.mu,
        batch_size=work.batch_size,
    )
    recorder = Recorder(work, float(config["min_seconds"]))
    proof = ArrayRecord()

    def after_round(server_round: int, w_global: ArrayRecord) -> None:
        nonlocal proof
        if server_round == 0:  # Flower calls this before round 1, too.
            recorder.begin()
            return
        recorder.round_finished()
        _check_cohort(strategy, arrays, server_round)
        if recorder.is_proof_due:
            proof = w_global
        recorder.begin()

    w_global = ArrayRecord({k: Array(v) for k, v in arrays.initial_weights().items()})
    num_rounds = 1
    while not recorder.is_enough:
        result = strategy.start(
            grid, w_global, num_rounds, timeout=float("inf"), evaluate_fn=after_round
        )
        w_global, num_rounds = result.arrays, work.num_rounds
    weights = {name: array.numpy() for name, array in proof.items()}
    recorder.write(Path(str(config["result"])), weights, _accuracy(arrays, proof))


def _check_cohort(strategy: FedProx, arrays: Arrays, server_round: int) -> None:
    """Make sure that the clients of a round are those that the peers train."""
    clients = strategy.traffic.clients
    if clients != arrays.cohorts[server_round - 1].tolist():
        raise RuntimeError(f"Round {server_round} trained other clients than prepared: {clients}.")


def _accuracy(arrays: Arrays, w_global: ArrayRecord) -> float | None:
    if not arrays.work.trains:
        return None
    model = make_model(arrays.work)
    model.load_state_dict(w_global.to_torch_state_dict())
    return accuracy(model, arrays)
