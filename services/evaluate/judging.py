"""Does the paired test of the verdict keep its level, and what does the rule let by?

On streams of paired differences whose true mean is known: made-up ones, each row alike to the one
before it, and the flights, where what is known is made so: the differences of a day keep their
order and size, and one coin a day decides their sign, so that none is greater in the mean, and what
the rows of a day have in common they keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.signal import lfilter
from sklearn.ensemble import HistGradientBoostingClassifier

from services.evaluate.loop_world import World, learned, starts
from streams.training.compare import paired, passes
from streams.training.comparison import Comparison
from streams.training.data import prepare
from streams.training.fitting import bare_version, fit, one_thread
from streams.training.metrics import losses
from streams.training.paired import difference

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL = 0.05
DAY_MS = 86_400_000
RESAMPLES = 200
"""Of the block bootstrap."""
ALIKE = (0.0, 0.5, 0.9, 0.99)
ROWS = {"made up": (1000,), "flights": (3_000, 12_000)}
"""Rows that are judged: of the flights three days, and two weeks, as in the demo's trainings."""
BETTER = 0.03
"""How much smaller, relatively, the loss is where a test is to find it."""
DIFFERENCES = (-0.03, 0.0, 0.01, 0.03, 0.1)
JUDGED = (100, 1_000, 12_000)


@dataclass(frozen=True, eq=False)
class Losses:
    """What two models lose on the same rows, in order of time.

    apart: (n,), by how much the newcomer's loss is greater; loss: the champion's mean; day: (n,)
        counted from 1970.
    """

    apart: Floats
    loss: float
    day: Ints


def flights(world: World, first: int = 3, second: int = 4, until: int = 7) -> Losses:
    """A model of what was known in March's beginning, one of April's, and the flights from then on.

    first, second, until: the months.
    """
    task = world.task
    later = (world.asked >= starts(second)) & (world.asked < starts(until))
    found = []
    for month in (first, second):
        data = prepare(task, learned(world, starts(month)))
        estimator: HistGradientBoostingClassifier = next(iter(task.candidates.values()))
        version = bare_version(task, fit(task, estimator, data.frame, data.target))
        version.vocabularies = data.vocabularies
        with one_thread():
            given = version.predict(version.frame(world.rows(later)))
        found.append(losses(task, world.truth[later], given))
    champion, newcomer = found
    day = (world.asked[later] // DAY_MS).astype(np.int64)
    return Losses(newcomer - champion, float(champion.mean()), day)


Test = Callable[[Floats, np.random.Generator], float]
"""The p-value of the hypothesis that the true difference is 0 or more."""


def _blocks(count: int) -> Test:
    def p(apart: Floats, draw: np.random.Generator) -> float:
        return difference(apart, np.zeros(len(apart)), None, count).p_below(0.0)

    return p


def _single(apart: Floats, draw: np.random.Generator) -> float:
    return float(stats.ttest_1samp(apart, 0.0, alternative="less").pvalue)


def _newey_west(apart: Floats, draw: np.random.Generator) -> float:
    """HAC with Bartlett's weights (Newey and West 1987), lags 4 (n / 100)^(2/9) (1994)."""
    n, mean = len(apart), apart.mean()
    lags = int(4 * (n / 100) ** (2 / 9))
    rest = apart - mean
    variance = float(rest @ rest)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(rest[lag:] @ rest[:-lag])
    return float(stats.norm.cdf(mean / (np.sqrt(max(variance, 1e-300)) / n)))


def _bootstrap(apart: Floats, draw: np.random.Generator) -> float:
    """The moving block bootstrap (Künsch 1989), blocks of n^(1/3) rows."""
    n = len(apart)
    length = max(1, round(n ** (1 / 3)))
    sums = np.convolve(apart, np.ones(length), "valid")
    count = n // length
    means = sums[draw.integers(0, len(sums), (RESAMPLES, count))].mean(axis=1) / length
    return float(np.mean(means - sums.mean() / length <= apart.mean()))


TESTS: Mapping[str, Test] = {
    "single rows": _single,
    "Newey-West": _newey_west,
    "block bootstrap": _bootstrap,
    "5 blocks": _blocks(5),
    "10 blocks": _blocks(10),
    "20 blocks": _blocks(20),
    "50 blocks": _blocks(50),
}


def made_up(n: int, alike: float, draw: np.random.Generator) -> Floats:
    """Differences with the mean 0, of which each is alike to the one before it (AR(1))."""
    noise = draw.standard_normal(n + 1_000)
    found: Floats = lfilter([1.0], [1.0, -alike], noise)[1_000:]
    return found


def drawn(real: Losses, n: int, draw: np.random.Generator) -> Floats:
    """n neighbouring rows, with the mean 0: a coin for each day."""
    start = draw.integers(0, len(real.apart) - n + 1)
    rows = slice(start, start + n)
    days = real.day[rows] - real.day[start]
    found: Floats = real.apart[rows] * draw.choice([-1.0, 1.0], int(days.max()) + 1)[days]
    return found


def levels(real: Losses, draws: int) -> Iterator[dict[str, Any]]:
    """By stream, rows and test: how often a difference is found where there is none (``level``),
    and on the flights where the loss is smaller by BETTER (``power``)."""
    for alike in ALIKE:
        for n in ROWS["made up"]:
            yield from _levels(f"alike {alike:g}", n, draws, lambda n, d, a=alike: made_up(n, a, d))
    for n in ROWS["flights"]:
        yield from _levels("flights", n, draws, lambda n, d: drawn(real, n, d), BETTER * real.loss)


def _levels(
    stream: str, n: int, draws: int, make: Any, better: float | None = None
) -> Iterator[dict[str, Any]]:
    chance = np.random.default_rng([n, len(stream)])
    found = {name: [0, 0] for name in TESTS}
    for _ in range(draws):
        apart = make(n, chance)
        for name, test in TESTS.items():
            found[name][0] += test(apart, chance) < LEVEL
            if better is not None:
                found[name][1] += test(apart - better, chance) < LEVEL
    for name, (none, some) in found.items():
        told = {"stream": stream, "rows": n, "test": name, "level": none / draws}
        yield told if better is None else told | {"power": some / draws}


def accepted(real: Losses, draws: int) -> Iterator[dict[str, Any]]:
    """How often a newcomer passes by the default rule, and by ``unsure="refuse"``, by the rows that
    are judged and by how much greater its loss is, relatively."""
    for n in JUDGED:
        for greater in DIFFERENCES:
            chance = np.random.default_rng([n, round(1000 * (1 + greater))])
            counts = {"estimate": 0, "refuse": 0}
            for _ in range(draws):
                apart = drawn(real, n, chance) + greater * real.loss
                for unsure in counts:
                    policy = Comparison(unsure=unsure)  # type: ignore[arg-type]
                    apart_of = difference(apart, np.zeros(n), None, policy.blocks)
                    counts[unsure] += passes(policy, paired(policy, apart_of, real.loss))[0]
            yield {
                "rows": n,
                "greater": greater,
                **{unsure: count / draws for unsure, count in counts.items()},
            }
