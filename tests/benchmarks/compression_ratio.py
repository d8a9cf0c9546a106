"""What real updates of ResNet-18 weigh when they are compressed, beside the entropy bound.

    python tests/benchmarks/compression_ratio.py [--steps 40] [--rounds 1 4] [--store]

Trains ResNet-18 on CIFAR-10 ($FLOWERBED_DATA) as the clients of `pruning_afo` do, in bfloat16 and
with fewer steps a round, and averages them. Of the first client's update w_k - w_t in some rounds,
the positions of the entries that top-k sends are weighed in each coding and in the one that is
cheapest for each tensor, and the whole payload with values of float32 and int8. With ``--store``
the weights are kept as what `python -m pruning_afo.report` makes a table of.
"""

import argparse
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from pruning_afo.compression_table import CHEAPEST, Weight, store, tables
from pruning_afo.config import PruningConfig
from pruning_afo.dataset import load_dataset
from pruning_afo.model import make_model
from pruning_afo.replication import REPLICATION
from torch import Tensor, nn

from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.compression import wire
from common.compression.compressor import make_compressor
from common.compression.entropy import index_bound, information_bound
from common.compression.index_coding import IndexCoding, Positions
from common.compression.options import QuantiserName, SparsifierName
from common.compression.sparse import SparseTensor, Tensors
from common.experiment.cli import compose_config
from common.randomness import Purpose, generator
from common.threads import use_one_thread

SPARSIFIERS: tuple[SparsifierName, ...] = ("top_k", "global_top_k")
QUANTISERS: tuple[QuantiserName, ...] = ("float32", "int8")
DENSITIES = (0.1, 0.01, 0.001)
CODINGS = [coding for coding in IndexCoding if coding != IndexCoding.DENSE]


def updates(config: PruningConfig, rounds: list[int]) -> Iterator[tuple[int, Tensors]]:
    """Train, and yield the first client's update in these rounds."""
    device = torch.device("cpu")
    data = load_dataset(config)
    model = make_model(config, data.num_classes)
    work = LocalWork(
        config.num_epochs,
        config.batch_size,
        config.learning_rate,
        mu=0.0,
        precision=config.precision,
        batches=config.batches_per_epoch,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    for server_round in range(1, max(rounds) + 1):
        w_global = _copy(model.state_dict())
        models = []
        # Of the last round, nobody asks for the average.
        for client in range(config.num_clients if server_round < max(rounds) else 1):
            model.load_state_dict(w_global)
            x, y = data.client(
                client, device, _rng(config, Purpose.AUGMENTATION, client, server_round)
            )
            rng = _rng(config, Purpose.BATCH_ORDER, client, server_round)
            training = train_locally(model, x, y, work, rng)
            print(
                f"round {server_round}, client {client}: loss {training.train_loss:.2f}", flush=True
            )
            models.append(_copy(model.state_dict()))
        if server_round in rounds:
            yield server_round, _update(model, models[0], w_global)
        model.load_state_dict(
            {
                key: torch.stack([w[key].double() for w in models]).mean(dim=0).to(of.dtype)
                for key, of in w_global.items()
            }
        )


def weigh(server_round: int, update: Tensors) -> Iterator[Weight]:
    """Weigh an update in all forms."""
    rng = np.random.default_rng(0)
    dense_bytes = sum(values.nbytes for values in update.values())
    for sparsifier in SPARSIFIERS:
        for density in DENSITIES:
            for quantiser in QUANTISERS:
                compressor = make_compressor(
                    sparsifier,
                    quantiser,
                    threshold=0.0,
                    density=density,
                    warmup_rounds=0,
                    int8_rounding="nearest",
                    int8_scale="per_tensor",
                    scaled=False,
                )
                sent = compressor.sparsifier.sparsify(update, server_round, rng)
                sent_by = (server_round, sparsifier, density)
                if quantiser == QUANTISERS[0]:
                    bound = round(sum(map(_index_bound, sent.values())), 1)
                    for form, num_bytes in _position_bytes(sent).items():
                        yield Weight(*sent_by, "positions", form, num_bytes, bound, dense_bytes)
                payload = wire.encode(sent, compressor.quantiser, rng)
                bound = round(information_bound(sent, compressor.quantiser), 1)
                yield Weight(*sent_by, "payload", quantiser, len(payload), bound, dense_bytes)


def _position_bytes(sent: Mapping[str, SparseTensor]) -> dict[str, int]:
    positions = [
        Positions(tensor.indices, tensor.size)
        for tensor in sent.values()
        if tensor.indices is not None
    ]
    return {
        coding.name.lower(): sum(each.num_bytes(coding) for each in positions) for coding in CODINGS
    } | {CHEAPEST: sum(each.num_bytes(each.cheapest()) for each in positions)}


def _index_bound(tensor: SparseTensor) -> float:
    return 0.0 if tensor.indices is None else index_bound(tensor.size, tensor.count) / 8


def _update(
    model: nn.Module, w_k: Mapping[str, Tensor], w_global: Mapping[str, Tensor]
) -> dict[str, NDArray[np.float32]]:
    # Contiguous: a CPU's convolutions keep their weights in another order of the axes.
    return {
        name: np.ascontiguousarray((w_k[name] - w_global[name]).numpy())
        for name, _ in model.named_parameters()
    }


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: w.detach().clone() for key, w in state.items()}


def _rng(
    config: PruningConfig, purpose: Purpose, client: int, server_round: int
) -> np.random.Generator:
    return generator(config.seed, purpose, server_round, client)


def main() -> None:
    """Train, weigh and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=40, help="of a client, in a round")
    parser.add_argument("--rounds", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--store", action="store_true", help="keep the weights for the pages")
    options = parser.parse_args()
    use_one_thread()
    overrides = ["precision=bfloat16", f"batches_per_epoch={options.steps}"]
    config = compose_config("pruning_afo", PruningConfig, overrides)
    assert isinstance(config, PruningConfig)
    weights = [
        weight
        for server_round, update in updates(config, options.rounds)
        for weight in weigh(server_round, update)
    ]
    print(tables(weights))
    if options.store:
        REPLICATION.results.mkdir(exist_ok=True)
        store(weights, REPLICATION.results / "compression_ratio.csv")


if __name__ == "__main__":
    main()
