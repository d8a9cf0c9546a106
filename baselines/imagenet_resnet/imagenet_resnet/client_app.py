"""The client: local SGD with the proximal term, for the epochs that the server asks for."""

from functools import lru_cache

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from common.arrays import load_arrays, to_arrays
from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.engine import report_partition
from common.experiment.evaluation import evaluate_top_k
from common.experiment.machine import client_device
from common.protocol import ARRAYS, TrainInstruction, train_reply
from common.randomness import Purpose, generator
from imagenet_resnet.config import ImageNetConfig
from imagenet_resnet.dataset import load_dataset
from imagenet_resnet.model import make_tail
from imagenet_resnet.strategy import CLIENT_ACCURACY

app = ClientApp()
app.query()(report_partition)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this client's images and send it back with their number."""
    config = ImageNetConfig.from_run_config(context.run_config)
    client = int(context.node_config["partition-id"])
    instruction = TrainInstruction.of(message)
    data, device = load_dataset(config), client_device(config)
    model = _resident_model(config)
    load_arrays(model, message.content.array_records[ARRAYS])
    work = LocalWork(
        epochs=instruction.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        mu=instruction.mu,
        precision=config.precision,
        batches=instruction.batches,
        momentum=config.momentum,
    )

    def rng(purpose: Purpose) -> np.random.Generator:
        return generator(config.seed, purpose, instruction.server_round, client)

    x, y = data.client(client, device, rng(Purpose.AUGMENTATION))
    train_locally(model, x, y, work, rng(Purpose.BATCH_ORDER))
    metrics = {}
    if config.evaluate_clients:
        metrics[CLIENT_ACCURACY] = evaluate_top_k(model, *data.test_set(device), k=1).accuracy
    return train_reply(message, to_arrays(model), len(y), metrics)


@lru_cache(maxsize=1)
def _resident_model(config: ImageNetConfig) -> nn.Module:
    """Return this process's one model, whose weights every client overwrites."""
    return make_tail(config, load_dataset(config).num_classes).to(client_device(config))
