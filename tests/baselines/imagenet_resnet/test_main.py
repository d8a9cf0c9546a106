"""The command `python -m imagenet_resnet.main`, in this process: a start takes seconds."""

import hashlib

import pytest
import tiny_imagenette
import torch
from command_line import main_of
from imagenet_resnet.config import ImageNetConfig
from run_folders import read_config, read_rounds, read_summary

HEAD = (f"weights={tiny_imagenette.TRUNK}", "num_stages=3", "trainable=head")
TINY = (
    *("dataset=imagenette", "image_size=32", "num_clients=3", "clients_per_round=3"),
    *("num_rounds=2", "num_epochs=1", "min_partition_size=8", "engine=inline"),
)


@pytest.fixture
def main(cwd, tiny_images, monkeypatch, capfd):
    with main_of("imagenet_resnet", ImageNetConfig, monkeypatch, capfd) as main:
        yield main


def test_the_smoke_run_is_the_whole_path(cwd, main):
    smoke = ("+experiment=smoke", f"weights={tiny_imagenette.TRUNK}", "num_clients=2")
    smoke += ("clients_per_round=2", "image_size=32", "engine=inline", "output_dir=a")
    ended = main(*smoke)
    assert ended.code == 0
    assert ended.out.endswith(f"Results are in {cwd / 'a'}\n")
    closing = read_summary(cwd / "a")
    assert closing["complete"] is True
    model = (cwd / "a" / "model.safetensors").read_bytes()
    assert closing["model_sha256"] == hashlib.sha256(model).hexdigest()
    written = read_config(cwd / "a")
    ImageNetConfig.parse(written)
    assert (written["dataset"], written["trainable"]) == ("imagenette", "head")
    assert len(read_rounds(cwd / "a")) == written["num_rounds"]

    ended = main(*smoke)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"Complete already: results are in {cwd / 'a'}\n"


@pytest.mark.slow
def test_methods_of_a_sweep_meet_the_same_clients(cwd, main):
    ended = main(
        *("--multirun", *TINY, *HEAD, "batch_size=8", "clients_per_round=2", "num_rounds=4"),
        *("+method=fedavg,fedprox_linear", "output_dir=sweep"),
    )
    assert ended.code == 0
    folders = [cwd / "sweep" / str(number) for number in range(2)]
    fedavg, linear = ([line["clients"] for line in read_rounds(folder)] for folder in folders)
    assert fedavg == linear
    assert len({read_summary(folder)["model_sha256"] for folder in folders}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["image_size=16"],
            "image_size=16 is not allowed: it must be greater than or equal to 32.",
        ),
        (["momentum=1"], "momentum=1 is not allowed: it must be less than 1."),
        (["norms=group"], "norms is not a key of this experiment: did you mean norm?"),
        (["weights=none"], "weights='none' is not allowed with trainable='head': it must be a "),
        (["weights=nosuch.pth"], "weights='nosuch.pth' is not allowed: it must be none, one of "),
        (["weights=CWD"], "weights='CWD' is not allowed: it must be none, one of IMAGENET1K_V1 or"),
        (["weights=DATA/damaged.pth"], "weights='DATA/damaged.pth' is not allowed: it must be po"),
        (
            ["weights=DATA/resnet50.pth"],
            "weights='DATA/resnet50.pth' is not allowed: it must be weights of the configured "
            "model, but its 'layer1.0.conv1.weight' has shape [64, 64, 1, 1], not [64, 64, 3, 3].",
        ),
        (["num_stages=4"], "trainable='head' is not allowed with weights='trunk.pth': what is "),
        (["num_stages=4", "trainable=all", "head=keep"], "head='keep' is not allowed with weights"),
        (["min_partition_size=27"], "partition='dirichlet_over_clients' is not possible: min_part"),
        (["+method=nosuch"], "In 'config': Could not find 'method/nosuch' Available options in "),
        (["server_device=cuda"], "server_device='cuda' is not allowed: it must be cpu or one of "),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_bad_input_is_one_sentence_and_code_2(cwd, main, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    torch.save({"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}, tmp_path / "resnet50.pth")

    def named(text):
        return text.replace("DATA", str(tmp_path)).replace("CWD", str(cwd))

    ended = main(*TINY, *HEAD, *map(named, arguments))
    assert ended.code == 2
    assert ended.err.startswith(named(message))
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    assert ended.out == ""
    assert list(cwd.iterdir()) == []


def test_a_run_that_diverges_names_the_client(cwd, main):
    ended = main(*TINY, *HEAD, "learning_rate=1e38", "num_epochs=5", "output_dir=a")
    assert ended.code == 1
    assert ended.err.endswith(
        "\nClient 0 failed in round 1: its 'fc.weight' holds a number that is not finite\n"
    )
    assert not (cwd / "a" / "summary.json").exists()
