"""Which faults, and when: a plan that follows from a seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

FEWEST_REQUESTS = 100
"""Requests to a fault, at least: its recovery is seen by requests that come after it."""

LONGEST_S = 8.0
"""What is ours to end lasts three to eight seconds."""


class Kind(StrEnum):
    """What is done to the system."""

    WORKER_KILL = "worker_kill"  # kill -9
    SINK_KILL = "sink_kill"
    TRAINER_KILL = "trainer_kill"  # while it trains
    STORE_KILL = "store_kill"
    BROKER_KILL = "broker_kill"
    BROKER_IN_TRANSACTION = "broker_in_transaction"  # frozen while commits wait for it, then killed
    WORKER_FREEZE = "worker_freeze"  # SIGSTOP past its session; a second one takes over; SIGCONT
    WORKER_JOINS = "worker_joins"  # a second worker comes and goes
    CLICKHOUSE_REFUSES = "clickhouse_refuses"  # every insert is answered with TOO_MANY_PARTS
    DISK_FULL = "disk_full"  # of the store
    POISON = "poison"  # malformed messages at once among the good


@dataclass(frozen=True)
class Fault:
    """One fault.

    at: begins when so many requests are published. seconds: how long it lasts, where that is
    ours to say. violent: whether a process that leaves is killed, where it may also be asked to.
    """

    at: int
    kind: Kind
    seconds: float
    violent: bool


def make_plan(
    seed: int,
    faults: int,
    requests: int,
    kinds: Sequence[Kind] = tuple(Kind),
    longest_s: float = LONGEST_S,
) -> list[Fault]:
    """The faults of a seed, in order of ``at``; of ``kinds`` only, none longer than ``longest_s``.

    The load is cut into as many equal parts as there are faults, and each has its fault at a
    random moment. Each kind comes as often as the others, but for one more or less, in random
    order. Raises ValueError where there are too few requests to see the faults' ends.
    """
    if faults < 0 or requests < max(1, faults) * FEWEST_REQUESTS:
        raise ValueError(
            f"{faults} faults over {requests} requests: at least {FEWEST_REQUESTS} requests a "
            "fault are needed, to see when its recovery is over"
        )
    chance = np.random.default_rng([seed, faults, requests])
    drawn: list[Kind] = []
    while len(drawn) < faults:
        drawn += [kinds[i] for i in chance.permutation(len(kinds))]
    # In the middle eight tenths of its part, so that two faults are a fifth of a part away.
    begins = (np.arange(faults) + 0.1 + 0.8 * chance.random(faults)) * (requests / max(1, faults))
    seconds = longest_s * (0.375 + 0.625 * chance.random(faults))
    violent = chance.random(faults) < 0.5
    return [
        Fault(int(at), kind, round(float(s), 2), bool(v))
        for at, kind, s, v in zip(begins, drawn, seconds, violent, strict=False)
    ]
