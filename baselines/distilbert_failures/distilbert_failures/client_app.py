"""The client: local epochs on the layers that are trained, as the server asks for them."""

from functools import lru_cache

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from common.arrays import load_arrays, to_arrays
from common.client.control_variate import ControlVariate
from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.engine import report_partition
from common.experiment.evaluation import evaluate_top_k
from common.experiment.machine import client_device
from common.protocol import ARRAYS, TrainInstruction, train_reply
from common.randomness import Purpose, generator
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.dataset import load_dataset
from distilbert_failures.lora import trained_state, travelling_state
from distilbert_failures.model import make_tail
from distilbert_failures.strategy import CLIENT_ACCURACY, CLIENT_TRAIN_LOSS

app = ClientApp()
app.query()(report_partition)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this client's texts and send back what was trained."""
    config = DistilBertConfig.from_run_config(context.run_config)
    client = int(context.node_config["partition-id"])
    instruction = TrainInstruction.of(message)
    data, device = load_dataset(config), client_device(config)
    model = _resident_model(config)
    load_arrays(travelling_state(model), message.content.array_records[ARRAYS])
    work = LocalWork(
        epochs=instruction.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        mu=instruction.mu,
        precision=config.precision,
        batches=instruction.batches,
        momentum=config.momentum,
        optimizer=config.optimizer,
        # The key is AdamW's alone.
        weight_decay=config.weight_decay if config.optimizer == "adamw" else 0.0,
        proximal_term=config.proximal_term,
    )
    rng = generator(config.seed_of_sampling, Purpose.BATCH_ORDER, instruction.server_round, client)
    x, y = data.client(client, device)
    control = ControlVariate.of(message, context, model)
    correct = None if control is None else control.correct
    training = train_locally(model, x, y, work, rng, correct)
    change = None if control is None else control.update(training.num_steps, work.learning_rate)
    metrics = {} if training.train_loss is None else {CLIENT_TRAIN_LOSS: training.train_loss}
    if config.evaluate_clients:
        test = evaluate_top_k(model, *data.test_set(device), k=1, precision=config.precision)
        metrics[CLIENT_ACCURACY] = test.accuracy
    return train_reply(message, to_arrays(trained_state(model)), len(y), metrics, change)


@lru_cache(maxsize=1)
def _resident_model(config: DistilBertConfig) -> nn.Module:
    """Return this process's one model, whose trained weights every client overwrites."""
    return make_tail(config, load_dataset(config).num_classes).to(client_device(config))
