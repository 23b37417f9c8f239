"""The topics that a worker reads: what one that is alone has all partitions of."""

from __future__ import annotations

from schemas.topics import BY_NAME

READ = (
    *("requests", "predictions", "shadows", "truth", "signals", "outcomes"),
    *("tallies", "profiles", "usage"),
    *("metrics", "drifts", "models", "retrain"),
)
"""As `streams.app` wires its agents."""


def partitions_read(partitions: int) -> int:
    """How many partitions they have together, for a task of so many partitions."""
    return sum(partitions if BY_NAME[name].partitioned else 1 for name in READ)
