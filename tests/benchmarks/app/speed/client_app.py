"""The client: our local training, a DataLoader loop, or nothing."""

from functools import lru_cache

from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from common.arrays import load_arrays as load_weights
from common.arrays import to_arrays
from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.engine import report_partition
from common.protocol import ARRAYS, TrainInstruction, train_reply
from common.threads import use_one_thread
from speed.arrays import load_arrays
from speed.training import batch_rng, data_loader_epochs, make_model
from speed.work import Work

app = ClientApp()
app.query()(report_partition)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Do the configured kind of work and answer with the model."""
    config = context.run_config
    arrays = load_arrays(str(config["arrays"]), str(config["work"]))
    client = int(context.node_config["partition-id"])
    w_global = message.content.array_records[ARRAYS]
    if config["client"] == "nothing":
        return train_reply(message, _copy(w_global), arrays.num_examples[client])

    use_one_thread()
    work = arrays.work
    instruction = TrainInstruction.of(message)
    x, y = arrays.client(client)
    model = _resident_model(work)
    rng = batch_rng(instruction.server_round, client)
    if config["client"] == "data_loader":  # As Flower's examples do it.
        model.load_state_dict(w_global.to_torch_state_dict())
        data_loader_epochs(model, x, y, work, rng)
        w_k = ArrayRecord(model.state_dict())
    else:
        load_weights(model, w_global)
        budget = LocalWork(
            epochs=instruction.epochs,
            batch_size=work.batch_size,
            learning_rate=work.learning_rate,
            mu=instruction.mu,
        )
        train_locally(model, x, y, budget, rng)
        w_k = to_arrays(model)
    return train_reply(message, w_k, len(y))


def _copy(record: ArrayRecord) -> ArrayRecord:
    """Copy a model, so that no engine gets by with a reference to what it sent."""
    copies = {
        name: Array(array.dtype, array.shape, array.stype, bytes(memoryview(array.data)))
        for name, array in record.items()
    }
    return ArrayRecord(copies)


@lru_cache(maxsize=1)
def _resident_model(work: Work) -> nn.Module:
    """Return this process's one model, whose weights every client overwrites."""
    return make_model(work)
