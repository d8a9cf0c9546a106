"""`flwr run` gives the numbers of our own engines, to the last bit."""

import pytest
from flower_runs import run_by_flower, superlink_that_finds
from flwr.clientapp import ClientApp
from pruning_afo.client_app import app as pruning_client
from pruning_afo.config import PruningConfig
from pruning_afo.replication import REPLICATION
from run_folders import read_outcome, read_rounds

from common.engine.flwr_run import FAILED, flwr_run
from common.errors import ClientFailedError
from common.protocol import TrainInstruction

pytestmark = pytest.mark.slow

SMALL = {
    "width": 2,
    "num_clients": 3,
    "clients_per_round": 2,
    "num_rounds": 3,
    "batch_size": 16,
    "seed": 5,
}
FEEDBACK = {
    "sparsifier": "top_k", "density": 0.05, "quantiser": "int8", "int8_rounding": "stochastic",
    "error_feedback": True, "residual_momentum": 0.9,
}  # fmt: skip


@pytest.fixture(scope="module")
def superlink(cifar10_folder):
    with superlink_that_finds(cifar10_folder / "data", cifar10_folder / "cache") as superlink:
        yield superlink


@pytest.mark.parametrize(
    "keys", [FEEDBACK, {"pruning": "one_shot", "quantiser": "int8"}], ids=["feedback", "pruning"]
)
def test_flwr_run_agrees_with_inline(
    superlink, tiny_cifar10_at_hand, pruning_defaults, run, tmp_path, keys
):
    """Residuals are kept by Flower's own engine, too."""
    values = SMALL | keys
    by_flower = run_by_flower(REPLICATION.folder, values, superlink, tmp_path / "flwr_run")
    inline = {"engine": "inline", "output_dir": str(tmp_path / "inline")}
    run(PruningConfig.parse(pruning_defaults | values | inline))
    assert by_flower == read_outcome(tmp_path / "inline")


def refused_by_flower(superlink, folder, capture, **keys):
    """Run with error feedback into a folder; return all that was printed."""
    values = SMALL | FEEDBACK | keys | {"output_dir": str(folder)}
    assert flwr_run(REPLICATION.folder, values, 3, superlink=superlink) == FAILED
    return capture.readouterr().out


def test_a_run_with_residuals_begins_in_a_new_folder(
    superlink, tiny_cifar10_at_hand, pruning_defaults, run, tmp_path, capfd
):
    """Flower's engine keeps the clients' states to itself, so none can go on."""

    @(app := ClientApp()).train()
    def train(message, context):
        if TrainInstruction.of(message).server_round == 2:
            raise RuntimeError("stopped")
        return pruning_client(message, context)

    folder = tmp_path / "run"
    values = pruning_defaults | SMALL | FEEDBACK | {"output_dir": str(folder)}
    with pytest.raises(ClientFailedError):
        run(PruningConfig.parse(values | {"engine": "inline"}), app)
    assert len(read_rounds(folder)) == 1
    said = refused_by_flower(superlink, folder, capfd)
    assert "it must be a new folder, for clients of this algorithm keep state" in said
    assert len(read_rounds(folder)) == 1


def test_a_client_with_a_residual_cannot_be_left_out(superlink, tmp_path, capfd):
    said = refused_by_flower(superlink, tmp_path / "run", capfd, on_client_failure="leave_out")
    assert "on_client_failure='leave_out' is not allowed under `flwr run` with an algo" in said
