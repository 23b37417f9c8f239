"""Every command that reads tells what there is, whatever else lies in the topics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

import pytest

from schemas.topics import TOPICS
from tests.conftest import RunningBroker
from tests.hostile import ABSURD_TIMES, BROKEN, Forger, Hostile
from tests.services.command_line import Deployment, deploy

pytestmark = pytest.mark.system

OF_EACH = 150
TAILED = 30
"""Records that are read of each topic: `tail` waits for what is not there."""
READS = (
    *(("tail", topic.name, "--from-beginning", "-n", str(TAILED)) for topic in TOPICS),
    ("models",),
    ("retrain", "--list"),
    ("triggers",),
    ("drift", "list"),
    ("rollout", "list"),
    ("alerts",),
    ("drift", "explain", "x"),
    ("rollout", "explain", "x"),
    ("status",),
    ("trace", "x"),
    ("topics",),
    ("models", "show", "x"),
    ("models", "diff", "x", "champion"),
)


@pytest.fixture(scope="module")
def deployment(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deploy(tmp_path_factory.mktemp("hostile"), broker.bootstrap)


@pytest.fixture(scope="module", autouse=True)
def hostile(deployment: Deployment) -> Iterator[Hostile]:
    """The topics, full of it."""
    random = Random(0)
    with Hostile(deployment.bootstrap) as hostile:
        for topic in TOPICS:
            foreign = next(other for other in TOPICS if other.record != topic.record)
            forger = Forger(
                deployment.codec(topic.record), deployment.codec(foreign.record), random
            )
            for _ in range(OF_EACH):
                at = random.choice((*ABSURD_TIMES[2:], *ABSURD_TIMES[:2], time.time_ns() // 10**6))
                hostile.send(
                    deployment.topic(topic.name),
                    forger.value(),
                    random.choice((b"x", b"\xff", b"0")),
                    headers=[(BROKEN, b"x")] if random.random() < 0.1 else (),
                    timestamp=at if at >= 0 else None,
                )
        hostile.flush()
        yield hostile


@pytest.mark.parametrize("arguments", READS, ids=" ".join)
def test_a_command_that_reads_survives_whatever_it_reads(
    arguments: tuple[str, ...], deployment: Deployment
) -> None:
    for more in ((), ("--json",)):
        done = deployment.weir(*arguments, *more)
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        if arguments[0] != "status" and arguments[-1] not in ("x", "champion"):
            assert done.returncode == 0, done.stderr[-3000:]
