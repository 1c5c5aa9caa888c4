from __future__ import annotations

import pytest

from isometry.report.reproduction import number


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
