from common.analysis.tables import markdown_table


def test_columns_line_up_and_numbers_are_aligned_to_the_right():
    assert markdown_table(["arm", "0 %"], [["FedAvg", "63.6"], ["x", "100.0"]]).splitlines() == [
        "| arm    |   0 % |",
        "| ------ | ----: |",
        "| FedAvg |  63.6 |",
        "| x      | 100.0 |",
    ]


def test_a_table_may_have_no_rows():
    assert markdown_table(["a", "b"], []).splitlines() == ["| a | b |", "| - | : |"]
