"""Effects in words with units."""

from __future__ import annotations

from collections.abc import Sequence

ARROW = "►"


def percent(share: float) -> str:
    """``0.4 %``, ``31 %``: two digits that mean something."""
    value = 100 * share
    return f"{value:.2g} %" if value < 10 else f"{value:.0f} %"


def rate(what: str, before: float, after: float) -> str:
    """``error rate 10 % ► 20 %``."""
    return f"{what} {percent(before)} {ARROW} {percent(after)}"


def number(value: float) -> str:
    """Four digits at most: ``529``, ``0.0412``, ``1.2e+07``."""
    return f"{value:.4g}"


def numbers(what: str, unit: str, before: float, after: float) -> str:
    """``median of distance 12 % higher (529 ► 593 mi)``."""
    change = f"({number(before)} {ARROW} {number(after)}{' ' + unit if unit else ''})"
    if before > 0 and after > 0 and before != after:
        ratio = after / before - 1
        return f"{what} {percent(abs(ratio))} {'higher' if ratio > 0 else 'lower'} {change}"
    return f"{what} {'higher' if after > before else 'lower'} {change}"


def shares(names: Sequence[str], before: Sequence[float], after: Sequence[float]) -> str:
    """The name whose share changed the most: ``share of JFK 33 % ► 51 %``."""
    at = max(range(len(names)), key=lambda i: abs(after[i] - before[i]))
    return rate(f"share of {names[at]}", before[at], after[at])
