"""pfl-research: its FedProx, simulated backend and training loop, one process, as its docs teach.

Needs ``pfl`` and torch only. What is set here and not its default: users come in the order of the
prepared cohorts, and a user's batches in the order that all systems share. pfl hands out the same
batches in every epoch; a data set of its own class, the documented way to say otherwise, reorders
the user's tensors once an epoch. Its evaluation comes in iteration 0 only, which is not counted.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from job import job_parser, to_job
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.fedprox import FedProx, FedProxParams
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from speed.arrays import Arrays
from speed.recorder import Recorder
from speed.training import accuracy, batch_rng, epoch_orders, initial_model, make_model
from speed.work import Work
from torch import Tensor, nn

from common.threads import use_one_thread

# A central iteration that never comes: the callback ends the run.
UNLIMITED = 10**9
# Larger than any user, and so a mark of evaluation.
EVALUATION_BATCH = 10**6


class Classifier(nn.Module):
    """A network with the two methods that pfl asks for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        self.train()
        return nn.functional.cross_entropy(self.network(inputs), labels)

    @torch.no_grad()
    def metrics(self, inputs: Tensor, labels: Tensor) -> dict[str, Weighted]:
        """Return what pfl reports of a user."""
        self.eval()
        correct = (self.network(inputs).argmax(dim=1) == labels).sum().item()
        return {"accuracy": Weighted(correct, len(labels))}


class ReorderedDataset(PyTorchTensorDataset):
    """A user's tensors, in a drawn order in every epoch."""

    def __init__(
        self, tensors: tuple[Tensor, Tensor], orders: Iterator[Any], **kwargs: Any
    ) -> None:
        super().__init__(tensors, **kwargs)
        self._orders = orders

    def iter(self, batch_size: int | None) -> Iterator[tuple[Tensor, ...]]:
        """Return the batches of one epoch, or everything, in any order, for evaluation."""
        if batch_size == EVALUATION_BATCH:
            return iter([self.raw_data])
        order = torch.from_numpy(next(self._orders))
        parts = [torch.split(tensor[order], batch_size) for tensor in self.raw_data]
        return zip(*parts, strict=True)


class Clock(TrainingProcessCallback):
    """Times central iterations, keeps the proof, and ends the run when it took long enough."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.proof: dict[str, Tensor] = {}

    def on_train_begin(self, *, model: PyTorchModel) -> Metrics:
        """Start the clock."""
        self.recorder.begin()
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """Note the time."""
        self.recorder.round_finished()
        if self.recorder.is_proof_due:
            state = model.pytorch_model.network.state_dict()
            self.proof = {name: w.clone() for name, w in state.items()}
        return self.recorder.is_enough, Metrics()


def users(arrays: Arrays) -> Iterator[tuple[int, int]]:
    """Yield (round, client) in the order in which the cohorts train."""
    done = 0
    while True:
        server_round = arrays.work.cohort_round(done)
        for client in arrays.cohorts[server_round - 1].tolist():
            yield server_round, client
        done += 1


def make_user(arrays: Arrays, user: tuple[int, int]) -> ReorderedDataset:
    """Return a client's examples, with the orders that they have in a round."""
    server_round, client = user
    x, y = arrays.client(client)
    orders = epoch_orders(batch_rng(server_round, client), len(y), arrays.work.num_epochs)
    return ReorderedDataset((torch.from_numpy(x), torch.from_numpy(y)), orders, user_id=str(client))


def parameters(work: Work) -> tuple[FedProxParams, NNTrainHyperParams, NNEvalHyperParams]:
    """Return a work in pfl's terms."""
    algorithm = FedProxParams(
        central_num_iterations=UNLIMITED,
        evaluation_frequency=UNLIMITED,
        train_cohort_size=work.clients_per_round,
        val_cohort_size=0,
        mu=work.mu,
    )
    train = NNTrainHyperParams(
        local_num_epochs=work.num_epochs,
        local_learning_rate=work.learning_rate,
        local_batch_size=work.batch_size,
    )
    return algorithm, train, NNEvalHyperParams(local_batch_size=EVALUATION_BATCH)


def main() -> None:
    """Run the job of the command line."""
    job = to_job(job_parser(__doc__).parse_args())
    use_one_thread()
    arrays, work = job.arrays, job.arrays.work
    network = initial_model(arrays)
    classifier = Classifier(network)
    model = PyTorchModel(
        model=classifier,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(classifier.parameters(), lr=1.0),
    )
    dataset = FederatedDataset(partial(make_user, arrays), partial(next, users(arrays)))
    backend = SimulatedBackend(dataset, val_data=dataset, postprocessors=[WeightByDatapoints()])
    clock = Clock(Recorder(work, job.min_seconds))
    algorithm, train, evaluate = parameters(work)
    FedProx().run(
        algorithm,
        backend,
        model,
        train,
        evaluate,
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    proven = make_model(work)
    proven.load_state_dict(clock.proof)
    weights = {name: w.numpy() for name, w in clock.proof.items()}
    clock.recorder.write(job.result, weights, accuracy(proven, arrays))


if __name__ == "__main__":
    main()
