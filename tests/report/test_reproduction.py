from __future__ import annotations

import pytest

from isometry.report.reproduction import arm_rows, number


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [
        (0.1234, "0.123", "+0.123"),
        (-0.0, "0.000", "+0.000"),
        (1e-5, "1e-05", "+1e-05"),
        (-0.0004, "-0.0004", "-0.0004"),
        (0.0005, "0.001", "+0.001"),
        (12345.6, "1.235e+04", "+1.235e+04"),
    ],
)
def test_no_figure_is_rounded_to_nothing(value: float, plain: str, signed: str) -> None:
    assert (number(value), number(value, sign=True)) == (plain, signed)


def test_seeds_differ_by_more_than_rounding_or_not_at_all() -> None:
    def row(*seeds: float) -> list[str]:
        runs = [{"figures": {"found": [seed]}} for seed in seeds]
        return arm_rows({"arms": {"one": {"runs": runs}}})[1][0]

    # Its standard deviation is 1.7e-17 here.
    assert row(0.1, 0.1, 0.1) == ["one", "0.100"]
    assert row(0.1, 0.2, 0.3) == ["one", "0.200 ±0.100"]
    assert row(0.0002, 0.0003, 0.0004) == ["one", "0.0003 ±0.0001"]
