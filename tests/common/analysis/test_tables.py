from common.analysis.tables import latex_table, markdown_table


def test_columns_line_up_and_numbers_are_aligned_to_the_right():
    assert markdown_table(["arm", "0 %"], [["FedAvg", "63.6"], ["x", "100.0"]]).splitlines() == [
        "| arm    |   0 % |",
        "| ------ | ----: |",
        "| FedAvg |  63.6 |",
        "| x      | 100.0 |",
    ]


def test_a_table_may_have_no_rows():
    assert markdown_table(["a", "b"], []).splitlines() == ["| a | b |", "| - | : |"]


def test_other_columns_may_be_aligned_to_the_left():
    assert markdown_table(["a", "b"], [["1", "2"], ["10", "20"]], left=[1]).splitlines() == [
        "|  a | b  |",
        "| -: | -- |",
        "|  1 | 2  |",
        "| 10 | 20 |",
    ]


def test_a_cell_is_one_cell():
    assert markdown_table(["|a|", "b"], [["x", "y|z"]]).splitlines() == [
        r"| \|a\| |    b |",
        "| ----- | ---: |",
        r"| x     | y\|z |",
    ]


def test_a_table_for_latex():
    assert latex_table(["arm", "0 %"], [["FedAvg", "63.6"], ["x", "100.0"]]).splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"arm & 0 \% \\",
        r"\midrule",
        r"FedAvg & 63.6 \\",
        r"x & 100.0 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_what_is_special_in_latex_is_escaped():
    cells = [r"a_b & 5 % \{x}", "#1 $2 ~ ^", "1.0 \u00b1 0.5", "\u03bc = \u00b5 \u2212 1", "a < b"]
    assert latex_table(cells, []).splitlines()[2] == (
        r"a\_b \& 5 \% \textbackslash{}\{x\} & \#1 \$2 \textasciitilde{} \textasciicircum{}"
        r" & 1.0 $\pm$ 0.5 & $\mu$ = $\mu$ $-$ 1 & a $<$ b \\"
    )


def test_a_row_does_not_begin_with_what_belongs_to_the_line_break_before():
    assert latex_table(["a"], [["[1, 2]"], ["*"]]).splitlines()[4:6] == [r"{[}1, 2] \\", r"{*} \\"]
