"""The client: local SGD, and what of its update it sends."""

from functools import lru_cache

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from common.arrays import load_arrays, to_arrays
from common.client.compressed_update import encode_update
from common.client.local_sgd import train_locally
from common.client.work import LocalTraining, LocalWork
from common.engine import report_partition
from common.experiment.machine import client_device
from common.protocol import ARRAYS, TrainInstruction, train_reply
from common.randomness import Purpose, generator
from pruning_afo.compression import compress_gradients, make_compression, make_quantiser
from pruning_afo.config import PruningConfig
from pruning_afo.dataset import load_dataset
from pruning_afo.learning_rate import learning_rate_at
from pruning_afo.model import make_model
from pruning_afo.pruned_client import PrunedClient
from pruning_afo.strategy import SKIPPED_STEPS

app = ClientApp()
app.query()(report_partition)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this client's images and send the update with their number."""
    config = PruningConfig.from_run_config(context.run_config)
    client = int(context.node_config["partition-id"])
    instruction = TrainInstruction.of(message)
    data, device = load_dataset(config), client_device(config)
    model = _resident_model(config)

    def rng(purpose: Purpose) -> np.random.Generator:
        return generator(config.seed, purpose, instruction.server_round, client)

    x, y = data.client(client, device, rng(Purpose.AUGMENTATION))
    work = _local_work(config, instruction)
    pruned = PrunedClient.of(message, model)
    if pruned:
        with pruned.training(work, len(y)) as mask_gradients:
            training = train_locally(model, x, y, work, rng(Purpose.BATCH_ORDER), mask_gradients)
        metrics = _metrics(config, training)
        return pruned.reply(len(y), make_quantiser(config), rng(Purpose.COMPRESSION), metrics)
    load_arrays(model, message.content.array_records[ARRAYS])
    correct = None
    if config.compress_local_gradients:
        draws = rng(Purpose.GRADIENT_COMPRESSION)
        correct = compress_gradients(config, instruction.server_round, draws)
    training = train_locally(model, x, y, work, rng(Purpose.BATCH_ORDER), correct)
    metrics = _metrics(config, training)
    if not config.compresses:
        return train_reply(message, to_arrays(model), len(y), metrics)
    compression = make_compression(config)
    buffers, update = encode_update(message, context, model, compression, rng(Purpose.COMPRESSION))
    return train_reply(message, buffers, len(y), metrics, update=update)


def _metrics(config: PruningConfig, training: LocalTraining) -> dict[str, float]:
    """Return what is told of local training: in float16, the steps that overflowed."""
    return {SKIPPED_STEPS: training.num_skipped} if config.precision == "float16" else {}


def _local_work(config: PruningConfig, instruction: TrainInstruction) -> LocalWork:
    """Return the local problem of a round and its budget."""
    return LocalWork(
        epochs=instruction.epochs,
        batch_size=config.batch_size,
        learning_rate=learning_rate_at(
            instruction.server_round,
            config.num_rounds,
            config.learning_rate,
            config.learning_rate_steps,
        ),
        mu=instruction.mu,
        precision=config.precision,
        batches=config.batches_per_epoch or None,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )


@lru_cache(maxsize=1)
def _resident_model(config: PruningConfig) -> nn.Module:
    """Return this process's one model, whose weights every client overwrites."""
    return make_model(config, load_dataset(config).num_classes).to(client_device(config))
