"""The plain loop: no framework, one process, a DataLoader and SGD for every client in turn."""

import torch
from job import job_parser, to_job
from speed.recorder import Recorder
from speed.training import accuracy, batch_rng, data_loader_epochs, initial_model

from common.threads import use_one_thread

Weights = dict[str, torch.Tensor]


def main() -> None:
    """Run the job of the command line."""
    job = to_job(job_parser(__doc__).parse_args())
    use_one_thread()
    arrays, work = job.arrays, job.arrays.work
    model = initial_model(arrays)
    w_global = _copy(model)
    proof: Weights = {}
    recorder = Recorder(work, job.min_seconds)
    recorder.begin()
    while not recorder.is_enough:
        server_round = work.cohort_round(recorder.done)
        clients = arrays.cohorts[server_round - 1].tolist()
        total = sum(arrays.num_examples[client] for client in clients)
        mean = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in w_global.items()}
        for client in clients:
            x, y = arrays.client(client)
            model.load_state_dict(w_global)
            data_loader_epochs(model, x, y, work, batch_rng(server_round, client))
            for name, w_k in model.state_dict().items():
                mean[name] += w_k.double() * (len(y) / total)
        w_global = {name: w.float() for name, w in mean.items()}
        recorder.round_finished()
        if recorder.is_proof_due:
            proof = w_global
    model.load_state_dict(proof)
    weights = {name: w.numpy() for name, w in proof.items()}
    recorder.write(job.result, weights, accuracy(model, arrays))


def _copy(model: torch.nn.Module) -> Weights:
    return {name: w.clone() for name, w in model.state_dict().items()}


if __name__ == "__main__":
    main()
