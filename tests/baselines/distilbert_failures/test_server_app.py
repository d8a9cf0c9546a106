import pytest


@pytest.fixture
def finished(make_config, run, tmp_path):
    def finished(name="run", **changes):
        run(make_config(output_dir=str(tmp_path / name), **changes))
        return tmp_path / name

    return finished


def test_x(finished):
    f = finished()
    print((f / "rounds.jsonl").read_text())
    print((f / "summary.json").read_text())


@pytest.mark.parametrize("t", ["last_2", "head"])
def test_cached(finished, t):
    import numpy as np
    from safetensors.numpy import load_file

    a = load_file(finished("a", trainable=t, num_rounds=3) / "model.safetensors")
    b = load_file(
        finished("b", trainable=t, cache_frozen_layers=False, num_rounds=3) / "model.safetensors"
    )
    print([np.abs(a[k] - b[k]).max() for k in a])


def test_few(finished):
    f = finished(num_test_texts=2)
    print((f / "rounds.jsonl").read_text())
