"""The sums of an experiment as estimates with confidence sequences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schemas.records import Kind
from streams.rollout.policy import Rollout
from streams.rollout.sequences import Moments, asymptotic, bounded
from streams.rollout.sums import About, Sums, What

LATE_SHARE = 0.01
"""Share of the batches that may exceed the limit of latency: a hundredth, as a p99 says."""


@dataclass(frozen=True)
class Estimate:
    """How much worse a version is than the one it is compared with, in one respect.

    value: the mean difference so far, above 0 where it is worse; low is above the true one, ever,
    with probability `low_alpha` at most, high below it with `high_alpha`.
    own, other: means of the two. limit: how much worse is bearable. segment: feature=value.
    """

    what: What
    words: str
    n: int
    value: float
    low: float
    high: float
    low_alpha: float
    high_alpha: float
    limit: float
    own: float
    other: float
    segment: str = ""

    @property
    def worse(self) -> bool:
        """Whether it is worse for sure than is bearable."""
        return self.low > self.limit

    @property
    def fine(self) -> bool:
        """Whether it is for sure no worse than is bearable."""
        return self.high < self.limit


class Arm(NamedTuple):
    """Outcomes of an arm, their mean loss, and its standard error."""

    n: int
    mean: float
    error: float


class Evidence:
    """What is known of versions in an experiment, in which those of `sums` take part.

    kind: of the task. reference: the version that others are compared with. baseline: of arms, what
    the mean loss is about, known beforehand. challengers: how many are compared at once. least:
    the smallest probability with which an arm is drawn.
    """

    def __init__(
        self,
        policy: Rollout,
        kind: Kind,
        sums: Sums,
        reference: str,
        baseline: float,
        challengers: int = 1,
        least: float = 1.0,
        paired: bool = True,
    ) -> None:
        self._policy, self._kind, self._sums = policy, kind, sums
        self._reference, self._baseline, self._paired = reference, baseline, paired
        self._least = least
        # Several challengers, several chances to be wrong.
        self._alpha = policy.alpha / max(challengers, 1)

    def loss(self, version: str) -> Estimate:
        """How much greater a version's mean loss is."""
        guards = self._policy.guardrails.looked_at
        low_alpha = self._alpha / 2 if guards else self._alpha
        words = f"mean {self._policy.loss_of(self._kind).replace('_', ' ')}"
        return self._difference(
            version, "loss", words, self._policy.tolerance, low_alpha, self._alpha
        )

    def guardrails(self, version: str, suspect: bool = False) -> Iterator[Estimate]:
        """The guardrails of a version, segment by segment; they share half of the error rate.

        suspect: only those whose means are worse than is bearable.
        """
        guards = self._policy.guardrails
        if not guards.looked_at:
            return
        alpha = self._alpha / 2 / guards.looked_at
        if guards.unanswered is not None:
            yield self._difference(
                version,
                "unanswered",
                "share of requests that the model does not answer",
                guards.unanswered,
                alpha,
                alpha,
            )
        if guards.latency_ms is not None:
            yield self._latency(version, guards.latency_ms, alpha)
        if guards.segment is None:
            return
        words = f"mean {self._policy.loss_of(self._kind).replace('_', ' ')}"
        for order, (segment, value) in enumerate(self._segments(version), 1):
            # However many come, their shares of the error rate sum to 1.
            own = alpha / (order * (order + 1))
            if suspect and self._moments(version, "loss", segment, value)[0].mean <= guards.segment:
                continue
            yield self._difference(version, "loss", words, guards.segment, own, own, segment, value)

    def answered(self, version: str) -> int:
        """Outcomes by which a version is judged, all traffic."""
        return round(self._moments(version, "loss")[0].n)

    def own(self, version: str) -> int:
        """Those of them whose requests it answered itself."""
        kind = "pair" if self._paired else "arm"
        found = self._of(kind, "loss")
        return round(sum(n for a, (n, *_) in found if a.version == version and not a.segment))

    def arms(self) -> dict[str, Arm]:
        """What is known of the mean loss of each arm."""
        found = {}
        for about, (n, w, w2, wv, w2v, w2v2) in self._of("arm", "loss"):
            if about.segment or n < 2 or w <= 0:
                continue
            mean = wv / w
            # Of a ratio of weighted sums (Hajek), by its linear part.
            squares = max(w2v2 - 2 * mean * w2v + mean * mean * w2, 0.0)
            found[about.version] = Arm(round(n), mean, math.sqrt(squares) / w)
        return found

    def _difference(
        self,
        version: str,
        what: What,
        words: str,
        limit: float,
        low_alpha: float,
        high_alpha: float,
        segment: str = "",
        value: str = "",
    ) -> Estimate:
        moments, own, other = self._moments(version, what, segment, value)
        low, high = (self._half(moments, what, a) for a in (low_alpha, high_alpha))
        most = self._most(what)
        mean = moments.mean
        if most is not None:
            most = most if self._paired else most / self._least
        return Estimate(
            what,
            words,
            round(moments.n),
            mean,
            mean - low if most is None else max(mean - low, -most),
            mean + high if most is None else min(mean + high, most),
            low_alpha,
            high_alpha,
            limit,
            own,
            other,
            f"{segment}={value}" if segment else "",
        )

    def _most(self, what: What) -> float | None:
        return 1.0 if what == "unanswered" else self._policy.largest(self._kind)

    def _half(self, moments: Moments, what: What, alpha: float) -> float:
        most = self._most(what)
        if most is None:
            if moments.n < self._policy.min_outcomes:
                return math.inf
            return asymptotic(moments, alpha, self._policy.min_outcomes)
        return bounded(moments, alpha, most if self._paired else most / self._least)

    def _moments(
        self, version: str, what: What, segment: str = "", value: str = ""
    ) -> tuple[Moments, float, float]:
        """Of the differences, and the means of the version and of the reference."""
        if self._paired:
            return self._pairs(version, what, segment, value)
        return self._arms(version, what, segment, value)

    def _pairs(
        self, version: str, what: What, segment: str, value: str
    ) -> tuple[Moments, float, float]:
        moments, own, other = Moments(), 0.0, 0.0
        for about, (n, total, squares, answered, looked_on) in self._of("pair", what):
            if (about.segment, about.value) != (segment, value):
                continue
            if (about.version, about.other) == (self._reference, version):
                moments = moments.plus(Moments(n, total, squares))
                own, other = own + looked_on, other + answered
            elif (about.version, about.other) == (version, self._reference):
                moments = moments.plus(Moments(n, total, squares), -1.0)
                own, other = own + answered, other + looked_on
        n = max(moments.n, 1.0)
        return moments, own / n, other / n

    def _arms(
        self, version: str, what: What, segment: str, value: str
    ) -> tuple[Moments, float, float]:
        # A constant that is known beforehand may be taken off each loss: the weights' difference
        # has mean 0. What is left varies less.
        b = 0.0 if what == "unanswered" else self._baseline
        moments = Moments()
        means = {version: 0.0, self._reference: 0.0}
        for about, (n, w, w2, wv, w2v, w2v2) in self._of("arm", what):
            if (about.segment, about.value) != (segment, value):
                continue
            if about.version not in means:
                moments = moments.plus(Moments(n))  # another arm's request: a difference of 0
                continue
            sign = 1.0 if about.version == version else -1.0
            total, squares = wv - b * w, w2v2 - 2 * b * w2v + b * b * w2
            moments = moments.plus(Moments(n, total, squares), sign)
            means[about.version] = wv / w if w > 0 else 0.0
        return moments, means[version], means[self._reference]

    def _latency(self, version: str, limit_ms: float, alpha: float) -> Estimate:
        batches = slow = 0.0
        for about, (n, over) in self._of("slow", "latency"):
            if about.version == version:
                batches, slow = batches + n, slow + over
        # Of what is 0 or 1 squares are the values themselves; the share over a hundredth.
        moments = Moments(batches, slow, slow)
        half = bounded(moments, alpha, 1.0)
        words = f"share of batches whose gate and model took more than {limit_ms:g} ms"
        mean = moments.mean
        low, high = max(mean - half, 0.0), min(mean + half, 1.0)
        return Estimate(
            "latency",
            words,
            round(batches),
            mean,
            low,
            high,
            alpha,
            alpha,
            LATE_SHARE,
            mean,
            LATE_SHARE,
        )

    def _segments(self, version: str) -> Sequence[tuple[str, str]]:
        """Segments in the order in which they were met."""
        kind = "pair" if self._paired else "arm"
        return list(
            dict.fromkeys(
                (about.segment, about.value)
                for about, _ in self._of(kind, "loss")
                if about.segment and version in (about.version, about.other)
            )
        )

    def _of(self, kind: str, what: What) -> Iterator[tuple[About, list[float]]]:
        for about, values in self._sums.items():
            if about.kind == kind and about.what == what:
                yield about, values
