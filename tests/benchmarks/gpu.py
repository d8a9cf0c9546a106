"""Clients per second on one GPU, by how many workers share it: `python tests/benchmarks/gpu.py`.

A ResNet-18 on inputs of CIFAR-10's shape, generated, 500 examples a client, batches of 32, one
epoch, 16 clients a round. Through ``ray`` with a whole GPU, a half, a quarter and an eighth for a
worker, hence 1, 2, 4 and 8 workers on the card; and the same clients one after another in this
process (``inline``). The first round of each starts workers and is not counted.
"""

import argparse
import sys
from typing import Literal

import torch
from gpu_app import Clock, Size, make_apps

from common.engine import run

SHARES = (1.0, 0.5, 0.25, 0.125)


def measure(
    size: Size, device: str, engine: Literal["inline", "ray"], num_cpus: float, num_gpus: float
) -> float:
    """Return the clients per second of an engine with these resources for a worker."""
    clock = Clock()
    server_app, client_app = make_apps(size, device, clock)
    run(
        server_app,
        client_app,
        {},
        num_clients=size.clients,
        clients_per_round=size.clients,
        engine=engine,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
    )
    return clock.clients_per_second(size)


def main() -> int:
    """Measure, print a table, and return the exit code: 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="try the script, tiny, without a GPU")
    options = parser.parse_args()
    if not options.cpu and not torch.cuda.is_available():
        print("There is no GPU that torch can use here; --cpu tries the script.", file=sys.stderr)
        return 2
    if options.cpu:
        size, device, place = Size(2, 1, 16, 8), "cpu", "the CPU, tiny numbers that mean nothing"
    else:
        size, device, place = Size(), "cuda", torch.cuda.get_device_name()
    print(f"ResNet-18, {size.examples} examples a client, {size.clients} clients a round; {place}")
    inline = measure(size, device, "inline", 1, 0)
    print(f"{'engine':8}{'workers':>8}{'clients/s':>12}{'times inline':>14}")
    print(f"{'inline':8}{1:8}{inline:12.2f}{1:14.2f}", flush=True)
    for share in SHARES[: 2 if options.cpu else None]:
        # The share is of a CPU where there is no card; a card's worker needs little of a CPU.
        num_cpus, num_gpus = (share, 0.0) if options.cpu else (min(share, 0.5), share)
        rate = measure(size, device, "ray", num_cpus, num_gpus)
        workers = round(1 / share)
        print(f"{'ray':8}{workers:8}{rate:12.2f}{rate / inline:14.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
