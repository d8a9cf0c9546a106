"""The client: local SGD from the global model."""

from functools import lru_cache

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from common.arrays import load_arrays, to_arrays
from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.engine import report_partition
from common.experiment.machine import client_device
from common.protocol import ARRAYS, TrainInstruction, train_reply
from common.randomness import Purpose, generator
from new_baseline.config import NewBaselineConfig
from new_baseline.dataset import load_dataset
from new_baseline.model import make_model

app = ClientApp()
app.query()(report_partition)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this client's examples and send it back with their number."""
    config = NewBaselineConfig.from_run_config(context.run_config)
    client = int(context.node_config["partition-id"])
    instruction = TrainInstruction.of(message)
    x, y = load_dataset(config).client(client)
    model = _resident_model(config)
    load_arrays(model, message.content.array_records[ARRAYS])
    work = LocalWork(
        epochs=instruction.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        mu=instruction.mu,
        precision=config.precision,
    )
    rng = generator(config.seed, Purpose.BATCH_ORDER, instruction.server_round, client)
    train_locally(model, x, y, work, rng)
    return train_reply(message, to_arrays(model), len(y))


@lru_cache(maxsize=1)
def _resident_model(config: NewBaselineConfig) -> nn.Module:
    """Return this process's one model, whose weights every client overwrites."""
    data = load_dataset(config)
    return make_model(config, data.num_features, data.num_classes).to(client_device(config))
