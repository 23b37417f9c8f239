"""Drift records as people read them: what changed, since when, and both distributions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_BLOCKS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Bar:
    """One bin of a distribution: its name, and its shares (0 to 1) of reference and window."""

    label: str
    reference: float
    window: float


def bars(evidence: str) -> list[Bar]:
    """The bins that the evidence of a drift record holds; none where it holds no distribution.

    Evidence is JSON: ``reference`` and ``window`` are shares, of ``names``, or of the bins between
    inner ``edges`` (one more than edges); ``missing`` and ``outside`` are pairs of shares.
    """
    try:
        told = json.loads(evidence or "{}")
    except ValueError:
        return []
    if not isinstance(told, Mapping):
        return []
    reference, window = told.get("reference") or [], told.get("window") or []
    labels = list(_labels(told))
    found = [
        Bar(label, float(before), float(now))
        for label, before, now in zip(labels, reference, window, strict=False)
    ]
    for name in ("outside", "missing"):
        pair = told.get(name)
        if isinstance(pair, Sequence) and len(pair) == 2 and any(pair):
            found.append(Bar(name, float(pair[0]), float(pair[1])))
    return found


def _labels(told: Mapping[str, Any]) -> Iterator[str]:
    if told.get("names"):
        yield from map(str, told["names"])
        return
    edges = [number(edge) for edge in told.get("edges") or []]
    if not edges:
        return
    yield f"< {edges[0]}"
    for low, high in pairwise(edges):
        yield f"{low} – {high}"
    yield f"≥ {edges[-1]}"


def number(value: float | None) -> str:
    """A number of four digits, for a person; an en dash for none."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def about(drift: Mapping[str, Any]) -> str:
    """What a drift record is about, in words: ``data drift of distance``."""
    subject = drift.get("subject") or drift.get("feature") or ""
    return f"{drift['kind']} drift" + (f" of {subject}" if subject else "")


def verdict(drift: Mapping[str, Any]) -> str:
    """Whether it matters, in words."""
    hurts = {True: "it hurts", False: "it does not hurt", None: "whether it hurts is unknown"}
    return f"{hurts[drift['hurts']]}; {'alerting' if drift['alerting'] else 'recorded only'}"


def histogram(shown: Sequence[Bar], width: int = 24) -> Iterator[str]:
    """The two distributions side by side, a line a bin."""
    if not shown:
        return
    most = max(max(bar.reference, bar.window) for bar in shown) or 1.0
    label = max(len(bar.label) for bar in shown)
    yield f"{'':{label}}  {'reference':{width + 8}}window"
    for bar in shown:
        parts = (
            f"{_block(share / most, width)} {share:6.1%}" for share in (bar.reference, bar.window)
        )
        yield f"{bar.label:>{label}}  {' '.join(parts)}"


def _block(share: float, width: int) -> str:
    eighths = round(max(share, 0.0) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_BLOCKS[rest] if rest else "")).ljust(width)
