"""Which learning rate is the best: a grid, and what lies beyond it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# How many rates beyond the grid are tried at most.
MOST_BEYOND = 3


def best_rate(rates: Sequence[float], score: Callable[[float], float]) -> float:
    """The rate with the highest score, of a grid and beyond.

    The best of a grid may lie outside of it: where the least or the greatest rate wins, the next
    one on that side is tried too, as often as the winner stays at an end.

    Args:
        rates: The grid; of one rate nothing is to be chosen, nor tried.
        score: What a rate reaches; asked once for each that is tried.
    """
    if len(rates) < 2:
        return rates[0]
    tried = {rate: score(rate) for rate in rates}
    best = max(tried, key=lambda rate: tried[rate])
    for _ in range(MOST_BEYOND):
        beyond = _beyond(sorted(tried), best)
        if beyond is None:
            break
        tried[beyond] = score(beyond)
        best = max(best, beyond, key=lambda rate: tried[rate])
    return best


def _beyond(rates: list[float], best: float) -> float | None:
    """As far out as the best from its neighbour, as a ratio; None where it has two neighbours."""
    place = rates.index(best)
    if 0 < place < len(rates) - 1:
        return None
    return float(f"{best * best / rates[1 if place == 0 else -2]:.2g}")
