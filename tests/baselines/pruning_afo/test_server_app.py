import numpy as np
import pytest
import torch
from flwr.app import Array, Context, Message
from flwr.clientapp import ClientApp
from pruning_afo.client_app import app as pruning_client
from pruning_afo.dataset import load_dataset
from pruning_afo.links import LINKS
from pruning_afo.model import make_model
from run_folders import read_outcome, read_rounds, read_summary
from safetensors.numpy import load_file

from common.client.compressed_update import encode_update
from common.compression.compressor import Compressor
from common.compression.quantisers import Float32
from common.compression.sparsifiers import Threshold
from common.errors import ClientFailedError
from common.experiment.evaluation import evaluate_top_k
from common.payload import of_record, to_record
from common.protocol import ARRAYS, UPDATE, TrainInstruction, count_bytes, train_reply

CPU = torch.device("cpu")
TOP_K = {"sparsifier": "top_k", "density": 0.05, "quantiser": "int8", "int8_rounding": "stochastic"}
FEEDBACK = TOP_K | {"error_feedback": True}
DGC = FEEDBACK | {"residual_momentum": 0.9, "warmup_rounds": 1}
SERVERS = ["fedavgm", "fedadagrad", "fedadam", "fedyogi"]


def model_of(folder):
    return load_file(folder / "model.safetensors")


def initial_model(config):
    return {key: w.numpy().copy() for key, w in make_model(config, 10).state_dict().items()}


def is_buffer(key):
    return "running_" in key or key.endswith("num_batches_tracked")


def client_that(change):
    """Clients that train as they should, and send change(round, client, reply) or that reply."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context):
        reply = pruning_client(message, context)
        server_round = TrainInstruction.of(message).server_round
        return change(server_round, context.node_config["partition-id"], reply) or reply

    return app


def test_a_run_leaves_what_it_measured(finished, make_config):
    folder = finished(**FEEDBACK, measure_drift=True)
    assert {file.name for file in folder.iterdir()} == {
        "config.yaml", "environment.json", "rounds.jsonl", "model.safetensors", "summary.json"
    }  # fmt: skip
    rounds, summary = read_rounds(folder), read_summary(folder)
    assert [line["round"] for line in rounds] == [1, 2]
    of_links = {link.metric for link in LINKS}
    for line in rounds:
        assert line.keys() >= {
            "test_accuracy", "test_loss", "train_loss", "clients", "failed", "drift", "bytes_up",
            "bytes_down", "client_bytes_up", "client_bytes_down", "density_up", "bound_up",
            "seconds", *of_links,
        }  # fmt: skip
        assert line["clients"] == [0, 1, 2]
        assert line["train_loss"] is None
        assert line["density_up"] == pytest.approx(0.05, abs=0.02)
        assert all(line[metric] > 0 for metric in of_links)
    for key in ("test_accuracy", "density_up", "bound_up", *of_links):
        assert summary[key] == rounds[-1][key]
    for key in ("bytes_up", "bytes_down"):
        assert summary[key] == sum(line[key] for line in rounds)


def test_the_figures_are_those_of_the_model_on_all_test_images(finished, make_config):
    folder = finished(**TOP_K, seed=2)
    model = make_model(make_config(**TOP_K, seed=2), 10)
    model.load_state_dict({key: torch.tensor(w) for key, w in model_of(folder).items()})
    test = evaluate_top_k(model, *load_dataset(make_config(seed=2)).test_set(CPU), k=1)
    last = read_rounds(folder)[-1]
    assert last["test_accuracy"] == test.accuracy
    assert last["test_loss"] == pytest.approx(test.loss)


@pytest.mark.slow
def test_it_learns(finished):
    """A tenth of each update, in 8 bits, and the rest later."""
    keys = {"density": 0.1, "width": 4, "augmentation": "none", "num_epochs": 3}
    rounds = read_rounds(finished(**FEEDBACK | keys, num_rounds=8, learning_rate=0.05))
    assert rounds[-1]["test_accuracy"] >= 0.5
    assert rounds[-1]["test_loss"] < rounds[0]["test_loss"]


@pytest.mark.parametrize("keys", [{}, TOP_K, DGC], ids=["fedavg", "top_k", "dgc"])
def test_the_ledger_is_what_was_sent_byte_for_byte(finished, keys):
    """As the clients saw it: payload, buffers and metrics up, model and instruction down."""
    up, down, payloads = {}, {}, {}

    @(app := ClientApp()).train()
    def train(message, context):
        reply = pruning_client(message, context)
        at = TrainInstruction.of(message).server_round, context.node_config["partition-id"]
        down[at], up[at] = count_bytes(message.content), count_bytes(reply.content)
        if UPDATE in reply.content:
            payloads[at] = len(of_record(reply.content[UPDATE]))
            rest = count_bytes(reply.content) - reply.content[UPDATE].count_bytes()
            assert up[at] == rest + payloads[at] + 128 + len("payload")
        return reply

    for line in read_rounds(finished(clients=app, **keys)):
        places = [(line["round"], client) for client in range(3)]
        assert line["client_bytes_up"] == [up[at] for at in places]
        assert line["client_bytes_down"] == [down[at] for at in places]
        assert line["bytes_up"] == sum(line["client_bytes_up"])
        assert line["bytes_down"] == sum(line["client_bytes_down"])
        if keys:
            assert 0 < line["bound_up"] < sum(payloads[at] for at in places) < line["bytes_up"]
        else:
            assert "bound_up" not in line


def test_less_is_sent_the_less_is_kept(finished):
    arms = [
        *({"quantiser": quantiser} for quantiser in ("float32", "float16", "int8", "sign")),
        {"sparsifier": "top_k", "density": 0.01},
    ]
    sent = [
        read_summary(finished(str(number), **keys, num_rounds=1))
        for number, keys in enumerate(arms)
    ]
    up = [summary["bytes_up"] for summary in sent]
    assert up == sorted(up, reverse=True)
    assert len({*up}) == len(up)
    assert len({summary["bytes_down"] for summary in sent}) == 1


def test_all_of_it_in_float32_is_fedavg_to_its_rounding(finished):
    """With error feedback and density 1 nothing is kept that is more than a rounding."""
    keys = {"augmentation": "none", "learning_rate": 0.01}
    fedavg, whole = (
        model_of(finished(name, **keys, **more))
        for name, more in (
            ("fedavg", {}),
            ("whole", {"error_feedback": True, "sparsifier": "top_k", "density": 1.0}),
        )
    )
    assert fedavg.keys() == whole.keys()
    for key, w in fedavg.items():
        np.testing.assert_allclose(whole[key], w, rtol=1e-4, atol=1e-5, err_msg=key)


def test_a_run_is_a_function_of_its_seed(finished):
    first = read_outcome(finished("first", **DGC, seed=1))
    assert read_outcome(finished("again", **DGC, seed=1)) == first
    assert read_outcome(finished("other", **DGC, seed=2)).sha256 != first.sha256


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_optimiser_moves_what_is_sent_and_buffers_are_averaged(
    finished, make_config, server
):
    """Client k raises the first filter by k + 1, and each buffer by 1."""
    keys = {"server_optimizer": server, "quantiser": "int8", "num_rounds": 1}
    config = make_config(**keys)

    @(app := ClientApp()).train()
    def train(message, context):
        model = make_model(config, 10)
        start = message.content.array_records[ARRAYS]
        model.load_state_dict(start.to_torch_state_dict())
        with torch.no_grad():
            model.conv1.weight[0] += 1 + context.node_config["partition-id"]
            for buffer in model.buffers():
                buffer += 1
        compressor = Compressor(Threshold(1e-3), Float32())
        buffers, update = encode_update(message, context, model, compressor, None)
        return train_reply(message, buffers, 40, update=update)

    found, start = model_of(finished(clients=app, **keys)), initial_model(config)
    for key, w in start.items():
        if is_buffer(key):
            np.testing.assert_allclose(found[key], w + 1, rtol=1e-6, err_msg=key)
        elif key == "conv1.weight":
            assert (found[key][0] > w[0]).all()
            # Nobody sent anything of the other filter.
            np.testing.assert_array_equal(found[key][1:], w[1:])
        else:
            np.testing.assert_array_equal(found[key], w, err_msg=key)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda payload: payload[:-1], "its 'update' does not match its checksum"),
        (lambda payload: payload[:7], "its 'update' is 7 bytes, too few for an update"),
        (
            lambda payload: b"X" + payload[1:],
            "its 'update' begins with b'XLUP', not with b'FLUP'",
        ),
        (
            lambda payload: payload[:40] + b"\xff" + payload[41:] + b"\0",
            "its 'update' does not match its checksum",
        ),
    ],
    ids=["truncated", "short", "foreign", "corrupt"],
)
def test_a_damaged_payload_ends_the_run_and_names_the_client(finished, damage, reason):
    def change(server_round, client, reply):
        if (server_round, client) == (2, 1):
            payload = bytes(of_record(reply.content[UPDATE]))
            reply.content[UPDATE] = to_record(damage(payload))

    with pytest.raises(ClientFailedError) as caught:
        finished(clients=client_that(change), **FEEDBACK)
    assert str(caught.value) == f"Client 1 failed in round 2: {reason}"


def test_a_client_that_is_left_out_has_the_residual_that_it_had(finished):
    """Its update never counted; so nothing of it was sent."""
    kept = {}

    @(app := ClientApp()).train()
    def train(message, context):
        at = TrainInstruction.of(message).server_round, context.node_config["partition-id"]
        kept[at] = {*context.state}
        reply = pruning_client(message, context)
        if at == (1, 1):
            reply.content[UPDATE] = to_record(b"")
        return reply

    finished(clients=app, **FEEDBACK, on_client_failure="leave_out")
    assert [kept[2, client] for client in range(3)] == [{"residual"}, set(), {"residual"}]


def test_nan_in_a_buffer_is_refused_and_the_client_named(finished):
    def change(server_round, client, reply):
        if client == 2:
            reply.content[ARRAYS]["bn1.running_var"] = Array(np.float32([np.nan, 1]))

    with pytest.raises(ClientFailedError) as caught:
        finished(clients=client_that(change), **TOP_K)
    assert str(caught.value) == (
        "Client 2 failed in round 1: its 'bn1.running_var' holds a number that is not finite"
    )


@pytest.mark.parametrize(
    ("keys", "last"),
    [
        pytest.param(DGC, 1, id="dgc"),
        pytest.param(DGC, 2, id="dgc, later", marks=pytest.mark.slow),
        pytest.param(FEEDBACK, 2, id="feedback", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_stopped_goes_on_with_its_residuals(finished, keys, last):
    """As one that was not, to the last bit."""

    def change(server_round, client, reply):
        if (server_round, client) == (last + 1, 2):
            raise RuntimeError("stopped")

    keys = keys | {"num_rounds": last + 1, "server_optimizer": "fedadam"}
    undisturbed = finished("undisturbed", **keys)
    with pytest.raises(ClientFailedError):
        finished("stopped", clients=client_that(change), **keys)
    assert len(read_rounds(undisturbed.parent / "stopped")) == last
    assert read_outcome(finished("stopped", **keys)) == read_outcome(undisturbed)


def test_the_test_above_would_see_a_lost_residual(finished):
    expected = read_outcome(finished("kept", **FEEDBACK))

    @(app := ClientApp()).train()
    def forgetful(message, context):
        context.state.clear()
        return pruning_client(message, context)

    found = read_outcome(finished("lost", clients=app, **FEEDBACK))
    assert found.rounds[0] == expected.rounds[0]
    assert found.sha256 != expected.sha256


@pytest.mark.parametrize(
    "pruning",
    [
        "one_shot",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("gradual", "prunefl", "feddst")),
    ],
)
def test_pruned_models_run_the_whole_path(finished, pruning):
    keys = {"quantiser": "int8", "server_optimizer": "fedyogi", "num_rounds": 4, "width": 3}
    rounds = {"pruning_start": 1, "pruning_end": 3, "pruning_every": 1, "model_density": 0.3}
    folder = finished(pruning=pruning, **keys, **rounds)
    lines = read_rounds(folder)
    assert lines[-1]["model_density"] < 0.7
    assert lines[-1]["bytes_up"] < lines[0]["bytes_up"]
