from pruning_afo.compression_table import Weight, compression_parts, load, store

UPDATE = {"round": 4, "sparsifier": "top_k", "density": 0.001}
DENSE = 44_730_000


def positions(form, num_bytes, **update):
    return Weight(
        **UPDATE | update,
        part="positions",
        form=form,
        num_bytes=num_bytes,
        bound=16e3,
        dense_bytes=DENSE,
    )


def payload(form, num_bytes, bound, **update):
    return Weight(
        **UPDATE | update,
        part="payload",
        form=form,
        num_bytes=num_bytes,
        bound=bound,
        dense_bytes=DENSE,
    )


def cells(table):
    """Return a table without the blanks that make its columns line up, and without its rule."""
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
    return lines[:1] + lines[2:]


def test_each_update_is_a_row_of_two_tables(tmp_path):
    """44.7 kB are 2.79 times 16 kB; 44,730 kB are 1000 times 44.73 kB, and 1491 times 30 kB."""
    of_all = {"sparsifier": "global_top_k", "density": 0.1}
    store(
        [
            positions("int32", 44_700),
            positions("cheapest", 16_160),
            payload("float32", 44_730, 40e3),
            payload("int8", 30_000, 30e3),
            positions("int32", 4_473_000, **of_all),
            positions("cheapest", 8_000, **of_all),
            payload("float32", 4_473_000, 4e6, **of_all),
            payload("int8", 894_600, 8e5, **of_all),
        ],
        tmp_path / "compression_ratio.csv",
    )
    _, of_positions, _, of_payloads = compression_parts(tmp_path)["compression_ratio"].split("\n\n")
    assert cells(of_positions) == [
        ["round", "sent", "bound", "int32", "cheapest"],
        ["4", "0.1 %, top-k of each tensor", "16.0", "44.7 (2.79)", "16.2 (1.01)"],
        ["4", "10 %, top-k of all tensors", "16.0", "4,473.0 (279.56)", "8.0 (0.50)"],
    ]
    assert cells(of_payloads) == [
        [
            "round",
            "sent",
            *("float32", "times less", "times the bound"),
            *("int8", "times less", "times the bound"),
        ],
        ["4", "0.1 %, top-k of each tensor", "44.7", "1000.0", "1.118", "30.0", "1491.0", "1.000"],
        ["4", "10 %, top-k of all tensors", "4,473.0", "10.0", "1.118", "894.6", "50.0", "1.118"],
    ]


def test_what_is_stored_is_loaded(tmp_path):
    weights = [positions("golomb", 16_100), payload("int8", 27_000, 26_950.123456789)]
    store(weights, tmp_path / "weights.csv")
    assert load(tmp_path / "weights.csv") == weights


def test_without_a_measurement_the_part_says_so(tmp_path):
    assert compression_parts(tmp_path) == {
        "compression_ratio": "Not measured yet: there is no stored result."
    }
