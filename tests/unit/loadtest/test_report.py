from loadtest.report import Row, ratios, table


def test_table_is_markdown_when_it_has_lines() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_ratios_show_each_row_when_a_goal_is_set() -> None:
    row = Row("road", "6 events/s", "other 10", "0.60", "0.60")
    assert ratios([row]).splitlines()[-1] == "| road | 6 events/s | other 10 | 0.60 | 0.60 |"
