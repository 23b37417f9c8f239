"""One bucket of event time after the other: which clients jump, and which are calm again."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from streams.volume.clients import WHOLE, Clients, Floats
from streams.volume.counts import BUCKET_MS
from streams.volume.evidence import added, log_ratio, log_share_ratio, passed
from streams.volume.policy import Volume
from streams.volume.seasons import Seasons

Ints = npt.NDArray[np.int64]
Statistic = Literal["requests", "held_back"]

BUCKET_S = BUCKET_MS / 1000
MONTH_BUCKETS = 30 * 86_400_000 / BUCKET_MS
"""However many requests there are: not more than one false alarm in so much event time."""
MOST_EMPTY = 30
"""Buckets in a row without any request that count as such; a stream that is silent for longer is
away, and that says nothing of what is usual."""
CALM_BUCKETS = 6
"""So many in a row, a minute, and a client's requests are what they were."""
AGAIN_BUCKETS = 360
"""A jump that goes on is told again each hour."""
FADE_BUCKETS = 360
HALF_REQUEST = 0.5
"""Of a client that never asked: half a request in a bucket more is expected of anybody."""
LEAST_SPREAD, SPREAD_WEIGHT = 0.02, 5.0
"""Burstiness (variance beyond Poisson's, by the squared mean) that is taken for granted, and how
many buckets of one request it weighs as much as."""
LEAST_JUDGED = 1_000.0
"""Requests that a gate must have judged before shares of single clients are looked at."""
_NO_BUCKET = -1
"""What older versions wrote where no bucket had been looked at."""
SHARE_WEIGHT = 20.0
"""Requests: what is known of the whole stream's share counts as much as so many of a client's."""


@dataclass
class Jump:
    """A client that jumps now.

    since, told: buckets. usual: requests a second of average busyness, or the share that is usually
    held back. evidence, threshold: logs. reference: requests that the usual is of. requests,
    held, seconds, exposure: since it began. calm: buckets in a row that were as usual.
    """

    statistic: Statistic
    since: int
    told: int
    usual: float
    evidence: float
    threshold: float
    reference: float
    requests: float
    held: float = 0.0
    seconds: float = 0.0
    exposure: float = 0.0
    calm: int = 0


@dataclass(frozen=True)
class Change:
    """What is to be told of a client ("" for all requests). bucket: the last one looked at.

    state: begun, goes on, or over (calm again, or its jump is the new usual).
    """

    client: str
    state: Literal["begun", "on", "over"]
    bucket: int
    jump: Jump


class Detector:
    """Deterministic: the same buckets in the same order give the same changes."""

    def __init__(self, policy: Volume) -> None:
        self._policy = policy
        self._clients = Clients(policy.clients)
        self._seasons = Seasons(policy.season)
        self._jumps: dict[str, Jump] = {}
        self._version = ""
        self._last: int | None = None  # the last bucket
        self._exposure = 0.0  # of the stream: seconds, by how busy it usually is then
        self._buckets = 0.0
        self._memory_s = policy.memory.total_seconds()
        self._settle_s = policy.settle.total_seconds()

    @property
    def jumping(self) -> dict[str, Jump]:
        """The clients that jump now."""
        return self._jumps

    def serve(self, version: str) -> None:
        """The version whose gate decides from now on: another gate holds back another share."""
        if version and version != self._version:
            self._version = version
            for name in ("held", "judged"):
                self._clients.column(name)[:] = 0
            self._clients.column("log_r_held")[:] = -np.inf

    def look(self, bucket: int, names: list[str], requests: Ints, held: Ints) -> list[Change]:
        """A bucket that is over: requests of each client, and how many of them the gate held back.

        bucket: a later one than before. names: different ones; WHOLE ("") for requests that name
        none.
        """
        last = bucket - 1 if self._last is None else self._last
        if bucket <= last:
            raise ValueError(f"bucket {bucket} after {last}")
        empty = min(bucket - last - 1, MOST_EMPTY)
        busy = self._seasons.factor(bucket)
        self._exposure += empty * busy * BUCKET_S
        self._buckets += empty
        named = np.array([name != WHOLE for name in names], bool)
        clients = [name for name in names if name != WHOLE]
        rows = self._clients.rows(clients, requests[named], self._jumps)
        counts, backs = requests[named][rows >= 0], held[named][rows >= 0]
        rows = np.concatenate([[0], rows[rows >= 0]])
        n = np.concatenate([[requests.sum()], counts]).astype(np.float64)
        h = np.concatenate([[held.sum()], backs]).astype(np.float64)
        e = busy * BUCKET_S
        seen = {
            self._clients.name(row): (float(n[i]), float(h[i]))
            for i, row in enumerate(rows.tolist())
        }
        changes = self._follow(bucket, empty, seen, e)
        changes += self._judge(bucket, rows, n, h, e)
        self._exposure += e
        self._buckets += 1
        self._clients.column("last")[rows] = self._exposure
        self._clients.column("buckets")[rows] = self._buckets
        self._seasons.add(bucket, int(requests.sum()), (empty + 1) * BUCKET_S)
        passed_ = min(bucket // FADE_BUCKETS - last // FADE_BUCKETS, 1_000)
        if passed_:
            self._clients.fade(0.5 ** (passed_ * FADE_BUCKETS * BUCKET_S / self._memory_s))
        self._last = bucket
        return changes

    def _judge(self, bucket: int, rows: Ints, n: Floats, h: Floats, e: float) -> list[Change]:
        """The evidence of this bucket; then it is a part of what is usual."""
        c = {name: self._clients.column(name) for name in ("requests", "exposure", "excess")}
        c |= {name: self._clients.column(name) for name in ("square", "held", "judged", "first")}
        new = self._clients.column("buckets")[rows] == 0
        c["first"][rows[new]] = self._exposure
        self._clients.column("last")[rows[new]] = self._exposure
        self._clients.column("buckets")[rows[new]] = self._buckets
        # 1. The buckets without a request since its last one.
        gap_s = self._exposure - self._clients.column("last")[rows]
        gaps = self._buckets - self._clients.column("buckets")[rows]
        fade, gone = (0.5 ** (time / self._memory_s) for time in (gap_s + e, gap_s))
        mean, shape = self._expected(rows, e)
        zero = log_ratio(np.zeros(len(rows)), *self._means(mean), shape)
        log_r = passed(self._clients.column("log_r")[rows], zero, gaps)
        for name in ("requests", "exposure", "excess", "square", "held", "judged"):
            c[name][rows] *= fade
        c["exposure"][rows] += self._memory_s / math.log(2) * (1 - gone)
        c["excess"][rows] += gaps * (mean**2 - mean)
        c["square"][rows] += gaps * mean**2
        # 2. This bucket.
        mean, shape = self._expected(rows, e)
        before, log_l = log_r, log_ratio(n, *self._means(mean), shape)
        log_r = added(before, log_l)
        shares = self._shares(rows)
        held_l = log_share_ratio(h, n, shares, self._policy.usual, self._policy.rise)
        log_r_held = added(self._clients.column("log_r_held")[rows], held_l)
        # Of the whole stream's share the drift of scores tells.
        log_r_held[(rows == 0) | (c["judged"][0] < LEAST_JUDGED)] = -np.inf
        # 3. Who jumps.
        threshold = self._threshold()
        settled = self._exposure - c["first"][rows] >= self._settle_s
        settled &= self._seasons.known(bucket)
        strong = settled & ((log_r >= threshold) | (log_r_held >= threshold))
        free = np.array([self._clients.name(row) not in self._jumps for row in rows], bool)
        jumping = (strong | ~free) & (rows > 0)
        if jumping.any():
            # What single clients are told of for is not told again of the whole stream.
            n[0] -= n[jumping].sum()
            log_l[:1] = log_ratio(n[:1], *self._means(mean[:1]), shape[:1])
            log_r[:1] = added(before[:1], log_l[:1])
            strong[0] = settled[0] and log_r[0] >= threshold
        self._since(rows, bucket, gaps * zero, log_l, n, "")
        self._since(rows, bucket, np.zeros(len(rows)), held_l, n, "_held")
        changes = []
        for i in np.flatnonzero(strong & free):
            changes.append(
                self._told(
                    int(rows[i]),
                    bucket,
                    float(log_r[i]),
                    float(log_r_held[i]),
                    threshold,
                    float(mean[i]) / e,
                    float(shares[i]),
                    e / BUCKET_S,
                )
            )
            log_r[i] = log_r_held[i] = -np.inf
            free[i] = False
        # 4. What is usual. Of those that jump it stays what it was.
        free &= ~strong
        calm = rows[free]
        c["requests"][calm] += n[free]
        c["exposure"][calm] += e
        c["excess"][calm] += (n[free] - mean[free]) ** 2 - mean[free]
        c["square"][calm] += mean[free] ** 2
        c["held"][calm] += h[free]
        c["judged"][calm] += n[free]
        # Without history there is nothing to compare with, and no evidence to be had.
        log_r[~(settled & free)] = log_r_held[~(settled & free)] = -np.inf
        self._clients.column("log_r")[rows] = log_r
        self._clients.column("log_r_held")[rows] = log_r_held
        return changes

    def _follow(
        self, bucket: int, empty: int, seen: dict[str, tuple[float, float]], e: float
    ) -> list[Change]:
        """Those that jump: are they calm again?"""
        changes = []
        of_clients = sum(seen[client][0] for client in self._jumps if client and client in seen)
        for client, jump in list(self._jumps.items()):
            n, h = seen.get(client, (0.0, 0.0))
            if client == WHOLE:
                n -= of_clients
            jump.requests, jump.held = jump.requests + n, jump.held + h
            jump.seconds += (empty + 1) * BUCKET_S
            jump.exposure += (empty + 1) * e
            if jump.statistic == "requests":
                most, found = self._policy.usual * jump.usual * e, n
            else:
                most, found = min(1.0, self._policy.usual * jump.usual) * n, h
            calm = found <= most + 2 * math.sqrt(most) + 1
            # A client that came no more was calm in the empty buckets too.
            jump.calm = (jump.calm + empty + 1) if calm else 0
            accepted = (bucket - jump.since) * BUCKET_S >= self._policy.accept.total_seconds()
            if jump.calm >= CALM_BUCKETS or accepted:
                del self._jumps[client]
                self._forget(client, jump if accepted else None)
                changes.append(Change(client, "over", bucket, jump))
            elif bucket - jump.told >= AGAIN_BUCKETS:
                jump.told = bucket
                changes.append(Change(client, "on", bucket, jump))
        return changes

    def _told(
        self,
        row: int,
        bucket: int,
        log_r: float,
        log_r_held: float,
        threshold: float,
        rate: float,
        share: float,
        busy: float,
    ) -> Change:
        by_rate = log_r >= log_r_held
        of = "" if by_rate else "_held"
        since = int(self._clients.column("since" + of)[row])
        seconds = (bucket - since + 1) * BUCKET_S
        jump = Jump(
            statistic="requests" if by_rate else "held_back",
            since=since,
            told=bucket,
            usual=float(rate if by_rate else share),
            evidence=float(max(log_r, log_r_held)),
            threshold=threshold,
            reference=float(self._clients.column("requests")[row]),
            requests=float(self._clients.column("seen" + of)[row]),
            seconds=seconds,
            exposure=seconds * busy,
        )
        client = self._clients.name(row)
        self._jumps[client] = jump
        return Change(client, "begun", bucket, jump)

    def _since(
        self, rows: Ints, bucket: int, gone: Floats, ratio: Floats, n: Floats, of: str
    ) -> None:
        """Page's sum of log ratios, gone: of the empty buckets; where it is 0, all was as usual."""
        cusum, since, seen = (
            self._clients.column(name + of) for name in ("cusum", "since", "seen")
        )
        before = np.maximum(cusum[rows] + gone, 0.0)
        begins = before == 0
        since[rows[begins]] = bucket
        seen[rows[begins]] = 0
        seen[rows] += n
        cusum[rows] = np.maximum(before + ratio, 0.0)

    def _expected(self, rows: Ints, e: float) -> tuple[Floats, Floats]:
        """Mean and shape of the count of a bucket of exposure e."""
        a = self._clients.column("requests")[rows] + HALF_REQUEST
        b = self._clients.column("exposure")[rows] + BUCKET_S
        excess = np.maximum(self._clients.column("excess")[rows], 0.0)
        square = self._clients.column("square")[rows]
        spread = (excess + LEAST_SPREAD * SPREAD_WEIGHT) / (square + SPREAD_WEIGHT)
        shape: Floats = 1.0 / (spread + 1.0 / a)
        mean: Floats = a / b * e
        return mean, shape

    def _means(self, mean: Floats) -> tuple[Floats, Floats]:
        return self._policy.usual * mean, self._policy.rise * mean

    def _shares(self, rows: Ints) -> Floats:
        held, judged = (self._clients.column(name) for name in ("held", "judged"))
        whole = (held[0] + 1.0) / (judged[0] + SHARE_WEIGHT)
        found: Floats = (held[rows] + SHARE_WEIGHT * whole) / (judged[rows] + SHARE_WEIGHT)
        return np.clip(found, 1e-6, 0.999)

    def _threshold(self) -> float:
        """Log of how many buckets, on average at least, pass before one client's evidence reaches
        it without a jump: so that all clients together, by both statistics, keep the policy."""
        tests = 2.0 * (len(self._clients) + 1)
        mean = float(self._expected(np.array([0]), BUCKET_S)[0][0])
        buckets = max(self._policy.false_alarm_every / mean, MONTH_BUCKETS)
        return math.log(tests * buckets)

    def _forget(self, client: str, accepted: Jump | None) -> None:
        """Begin to judge again; what was accepted is the new usual."""
        (row,) = self._clients.rows([client], np.zeros(1, np.int64), self._jumps)
        self._clients.column("last")[row] = self._exposure
        self._clients.column("buckets")[row] = self._buckets
        for name in ("log_r", "log_r_held"):
            self._clients.column(name)[row] = -np.inf
        if accepted is not None:
            new = {"requests": accepted.requests, "exposure": accepted.exposure}
            new |= {"held": accepted.held, "judged": accepted.requests, "excess": 0, "square": 0}
            for name, value in new.items():
                self._clients.column(name)[row] = value

    def state(self) -> dict[str, bytes]:
        """All of it, to go on from."""
        names, table = self._clients.state()
        rest: dict[str, Any] = {
            "seasons": self._seasons.state(),
            "jumps": {client: asdict(jump) for client, jump in self._jumps.items()},
            "version": self._version,
            "last": self._last,
            "exposure": self._exposure,
            "buckets": self._buckets,
        }
        return {"names": names, "table": table, "rest": json.dumps(rest).encode()}

    def restore(self, state: dict[str, bytes]) -> None:
        """What `state` gave, of the same policy."""
        self._clients.restore(state["names"], state["table"])
        rest = json.loads(state["rest"])
        self._seasons.restore(rest["seasons"])
        self._jumps = {client: Jump(**jump) for client, jump in rest["jumps"].items()}
        last, self._exposure = rest["last"], rest["exposure"]
        self._last = None if last == _NO_BUCKET else last
        self._buckets, self._version = rest["buckets"], rest["version"]
