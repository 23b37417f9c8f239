"""The declaration of a task: one prediction problem, declared once by its user."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.features import NAME, Boolean, Category, Feature, Integer, Number
from schemas.records import Kind, Schema, record_schemas
from streams.alerts.policy import Alerts, Bound
from streams.continual.policy import Continual
from streams.drift.policy import Drift
from streams.labelling.policy import Labelling
from streams.rollout.policy import Guardrails, Rollout
from streams.training.behaviour import (
    Behaviour,
    Context,
    Directional,
    Functionality,
    Invariance,
)
from streams.training.behaviour import problems as behaviour_problems
from streams.training.calibration_policy import Calibration
from streams.training.check_policy import DataChecks
from streams.training.comparison import Comparison
from streams.training.policy import Training
from streams.training.search_policy import Search
from streams.triggers.declare import (
    AllOf,
    AnyOf,
    Budget,
    Checks,
    Drifted,
    MetricAbove,
    MetricBelow,
    NewLabels,
    PerformanceDrop,
    Schedule,
    Trigger,
)
from streams.triggers.declare import problems as trigger_problems
from streams.volume.policy import Volume
from streams.weak_labels import SOURCE, Dwell, WeakLabels
from streams.windowed.declare import Windowed

if TYPE_CHECKING:
    from types import CodeType

    import pandas as pd

__all__ = [
    "Alerts",
    "AllOf",
    "AnyOf",
    "Behaviour",
    "Binary",
    "Boolean",
    "Bound",
    "Budget",
    "Calibration",
    "Category",
    "Checks",
    "Comparison",
    "Continual",
    "DataChecks",
    "Directional",
    "Drift",
    "Drifted",
    "Dwell",
    "Feature",
    "Functionality",
    "Guardrails",
    "Integer",
    "Invariance",
    "Labelling",
    "LastN",
    "MetricAbove",
    "MetricBelow",
    "MultiClass",
    "NewLabels",
    "Number",
    "PerformanceDrop",
    "Regression",
    "Rollout",
    "Schedule",
    "Search",
    "Target",
    "Task",
    "TaskError",
    "Training",
    "Trigger",
    "Volume",
    "WeakLabels",
    "Window",
    "Windowed",
    "load_task",
]

Answer = bool | str | float


class TaskError(ValueError):
    """A task that cannot be run; ``problems`` lists every reason."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__(f"task {name!r} cannot be run:\n" + "\n".join(f"- {p}" for p in problems))


@dataclass(frozen=True)
class Target:
    """What is predicted; use ``Binary``, ``MultiClass`` or ``Regression``."""

    name: str
    doc: str = ""

    @property
    def kind(self) -> Kind:
        """``binary``, ``multiclass`` or ``regression``."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """What is wrong with the declaration."""
        return [] if NAME.match(self.name) else [f"target {self.name!r}: not a lower-case name"]

    def fits(self, answer: object) -> bool:
        """Whether ``answer`` is a value of this target."""
        raise NotImplementedError


@dataclass(frozen=True)
class Binary(Target):
    """True or false."""

    @property
    def kind(self) -> Kind:
        """``binary``."""
        return "binary"

    def fits(self, answer: object) -> bool:
        """Whether ``answer`` is a bool."""
        return isinstance(answer, bool)


@dataclass(frozen=True)
class MultiClass(Target):
    """One of ``classes``."""

    classes: Sequence[str] = ()

    @property
    def kind(self) -> Kind:
        """``multiclass``."""
        return "multiclass"

    def fits(self, answer: object) -> bool:
        """Whether ``answer`` is one of the classes."""
        return answer in self.classes

    def problems(self) -> list[str]:
        """What is wrong with the declaration."""
        found = super().problems()
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            found.append(f"target {self.name!r}: classes are two or more different names")
        return found


@dataclass(frozen=True)
class Regression(Target):
    """A real number in ``unit``.

    ``wrong_beyond``: an answer further than this from the truth counts as an error of the
    model, which the gate learns to foresee. None: the largest tenth of the errors.
    """

    unit: str = ""
    wrong_beyond: float | None = None

    @property
    def kind(self) -> Kind:
        """``regression``."""
        return "regression"

    def fits(self, answer: object) -> bool:
        """Whether ``answer`` is a real number."""
        return isinstance(answer, int | float) and not isinstance(answer, bool)


@dataclass(frozen=True)
class Window:
    """Event-time windows of ``length``, one starting at every multiple of ``every``.

    ``every`` equal to ``length`` (the default) makes them tumbling, shorter makes them sliding.
    """

    length: timedelta
    every: timedelta | None = None

    @property
    def slide(self) -> timedelta:
        """Time from one window's start to the next one's."""
        return self.every or self.length

    @property
    def name(self) -> str:
        """``tumbling_1d``, ``sliding_7d_1d``, …"""
        if self.slide == self.length:
            return f"tumbling_{_span(self.length)}"
        return f"sliding_{_span(self.length)}_{_span(self.slide)}"


@dataclass(frozen=True)
class LastN:
    """Windows of the last ``n`` outcomes of each version and role, as of every multiple of
    ``every``: the ``n`` with the greatest (event time, request id) before it.

    Outcomes that the model answered and whose label is a true one count. A metric record tells
    of each checkpoint in whose last ``every`` there are such outcomes.
    """

    n: int
    every: timedelta = timedelta(days=1)

    @property
    def length(self) -> timedelta:
        """Time from one checkpoint to the next."""
        return self.every

    @property
    def slide(self) -> timedelta:
        """Time from one checkpoint to the next."""
        return self.every

    @property
    def name(self) -> str:
        """``last_500_1d``, …"""
        return f"last_{self.n}_{_span(self.every)}"


AnyWindow = Window | LastN

MOST_LAST = 10_000
"""Outcomes of a window of the last N: each pane, version and role keeps as many."""


def _span(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


DAY = timedelta(days=1)
MOST_SOURCE_BYTES = 64
"""The longest name of a source of truth."""

RESERVED_SEGMENTS = ("gate_decision", "label", "source")
"""Segments that every task's metrics have (`streams.groups` says what is in them)."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One prediction problem.

    name: lower-case; the prefix of its topics and the name of its ClickHouse database.
    features: what a request carries.
    windowed: further inputs of the model, which Weir computes from the stream. Estimators get data
        frames with ``inputs``: the features and the windowed ones after them.
    target: what is predicted.
    candidates: scikit-learn estimators by name, unfitted; they get a ``pandas.DataFrame`` with
        a column an input (numbers as float64 with NaN for null, booleans as float64 0/1,
        categories as pandas categories) and are chosen among at training.
    baseline: an estimator that any candidate must beat: the heuristic one would use without
        a model.
    fallback: the answer for inputs that the gate holds back, and before there is a model.
    defer_budget: share of inputs that the gate may hold back, 0 (no gate) to 1.
    segments: features to slice the metrics by.
    horizon: how long after its request a truth may come.
    truth_sources: who may give truths, the most trusted first: a truth never replaces one of a
        source before its own in this order.
    signals: the kinds of signals that users of the answers send.
    weak_labels: what signals say of an answer; None: they are checked, and nothing more.
    exploration: share of requests, 0 to 1, that the gate may not hold back: they are an unbiased
        sample of all traffic, so that the gate does not choose what the next model learns from.
    windows: windows of the metrics: `Window` by event time, `LastN` of the last N outcomes.
    history: gives the rows for the first version: a frame with the features, the target's name
        and ``event_time`` (UTC); where a windowed feature is of truths, ``known_at`` (UTC) too.
        None: the first retrain event trains on the outcomes.
    event_times: earliest and latest event time that can be right; None: no bound but one day
        after the worker's clock.
    partitions: of the topics that are keyed by request id.
    labelling: how many inputs people are asked to label, and which.
    triggers: policies that ask for a new version by themselves; None: the default ones
        (`streams.triggers.declare.DEFAULT`); empty: none.
    drift: how often findings of drift may be wrong, what matters, what is looked at.
    training: which labels train a version, with which weights, what rows must be like, what is
        searched for, and what a version must pass.
    rollout: how an accepted version becomes champion, and ceases to be.
    alerts: what of its findings a person is told of, and how often.
    volume: how many requests of a client are too many, and what is done about them.
    continual: a model that learns from each outcome, beside the candidates; None: none does.
    seed: seeds all randomness of training.
    """

    name: str
    features: Sequence[Feature]
    target: Target
    candidates: Mapping[str, Any]
    fallback: Answer
    windowed: Sequence[Windowed] = ()
    baseline: Any = None
    defer_budget: float = 0.1
    segments: Sequence[str] = ()
    horizon: timedelta = timedelta(days=7)
    truth_sources: Sequence[str] = ("system", "labeller", "user")
    signals: Sequence[str] = ()
    weak_labels: WeakLabels | None = None
    exploration: float = 0.0
    windows: Sequence[AnyWindow] = (Window(DAY), Window(7 * DAY, DAY))
    history: Callable[[], pd.DataFrame] | None = None
    event_times: tuple[datetime | None, datetime | None] = (None, None)
    partitions: int = 4
    labelling: Labelling = field(default_factory=Labelling)
    triggers: Sequence[Trigger] | None = None
    drift: Drift = field(default_factory=Drift)
    training: Training = field(default_factory=Training)
    rollout: Rollout = field(default_factory=Rollout)
    alerts: Alerts = field(default_factory=Alerts)
    volume: Volume = field(default_factory=Volume)
    continual: Continual | None = None
    seed: int = 0
    doc: str = ""
    _by_name: dict[str, Feature] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        problems = _problems(self)
        if problems:
            raise TaskError(self.name, problems)
        self._by_name.update({feature.name: feature for feature in self.features})

    @property
    def kind(self) -> Kind:
        """The target's kind: ``binary``, ``multiclass`` or ``regression``."""
        return self.target.kind

    @property
    def classes(self) -> list[str]:
        """The classes of a multi-class target, in order; empty for the others."""
        return list(self.target.classes) if isinstance(self.target, MultiClass) else []

    @property
    def inputs(self) -> list[Feature]:
        """What the model gets: the features and the windowed ones, in this order."""
        unit = self.target.unit if isinstance(self.target, Regression) else ""
        return [*self.features, *(windowed.feature(unit) for windowed in self.windowed)]

    @property
    def horizon_ms(self) -> int:
        """The label horizon in milliseconds."""
        return int(self.horizon.total_seconds() * 1000)

    def feature(self, name: str) -> Feature:
        """The feature of that name."""
        return self._by_name[name]

    def schemas(self) -> dict[str, Schema]:
        """Every record's Avro schema, fitted to this task."""
        return record_schemas(self.name, self.kind, self.features, self.inputs)


def _problems(task: Task) -> list[str]:
    found: list[str] = []
    if not NAME.match(task.name):
        found.append(
            f"name {task.name!r}: lower-case letters, digits and underscores, a letter first"
        )
    if not task.features:
        found.append("features: at least one is needed")
    names = [feature.name for feature in task.features]
    names += [windowed.name for windowed in task.windowed]
    found += [
        f"feature {name!r} is declared twice"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    for feature in task.features:
        found += feature.problems()
    by_name = {feature.name: feature for feature in task.features}
    for windowed in task.windowed:
        found += windowed.problems(task.kind, task.classes, by_name)
    found += task.target.problems()
    if task.target.name in names:
        found.append(
            f"target {task.target.name!r} is also a feature: the model would be told the truth"
        )
    if not task.target.fits(task.fallback):
        found.append(f"fallback {task.fallback!r} is not a {task.kind} answer")
    if not task.candidates:
        found.append("candidates: at least one estimator is needed")
    wanted = "predict" if task.kind == "regression" else "predict_proba"
    for name, estimator in task.candidates.items():
        missing = [verb for verb in ("fit", wanted) if not hasattr(estimator, verb)]
        if missing:
            found.append(f"candidate {name!r} has no {' and no '.join(missing)}")
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            found.append(f"candidate {name!r}: lower-case letters, digits, - and _ only")
    if not 0 <= task.defer_budget < 1:
        found.append(f"defer_budget {task.defer_budget} is a share: 0 (no gate) to below 1")
    for name in task.segments:
        if name in RESERVED_SEGMENTS:
            found.append(f"segment {name!r}: every task has one of this name already")
        elif name not in names:
            found.append(f"segment {name!r} is not a feature")
        elif not isinstance(next(f for f in task.features if f.name == name), Category | Boolean):
            found.append(f"segment {name!r}: only categories and booleans make segments")
    if task.horizon <= timedelta(0):
        found.append("horizon: a positive time")
    if len(set(task.signals)) != len(task.signals) or not all(task.signals):
        found.append("signals: different, non-empty names")
    sources = list(task.truth_sources)
    if not sources or len(set(sources)) != len(sources) or SOURCE in sources:
        found.append(f"truth_sources: one or more different names, none of them {SOURCE!r}")
    found += [
        f"truth_sources: {source!r} is not a name of 1 to {MOST_SOURCE_BYTES} bytes"
        for source in sources
        if not 1 <= len(source.encode()) <= MOST_SOURCE_BYTES
    ]
    if task.weak_labels is not None:
        found += task.weak_labels.problems(task.kind, task.signals, sources, task.horizon)
    if not 0 <= task.exploration <= 1:
        found.append(f"exploration {task.exploration} is a share: 0 to 1")
    if not task.windows:
        found.append("windows: at least one is needed")
    for window in task.windows:
        if isinstance(window, LastN) and not 2 <= window.n <= MOST_LAST:
            found.append(f"window of the last {window.n} outcomes: 2 to {MOST_LAST:,}")
        if window.slide <= timedelta(0) or window.length % window.slide:
            found.append(f"window {window.length}: not a multiple of its slide {window.slide}")
    if len({window.name for window in task.windows}) != len(task.windows):
        found.append("windows: one is declared twice")
    earliest, latest = task.event_times
    for bound in (earliest, latest):
        if bound is not None and bound.tzinfo is None:
            found.append(f"event_times: {bound} has no time zone; use datetime(..., tzinfo=UTC)")
            return found
    if earliest and latest and earliest >= latest:
        found.append(f"event_times: {earliest} is not before {latest}")
    if not 1 <= task.partitions <= 1024:
        found.append(f"partitions {task.partitions}: 1 to 1024")
    found += trigger_problems(
        task.triggers or (),
        task.kind,
        [window.name for window in task.windows],
        any(isinstance(window, Window) for window in task.windows),
        [*task.segments, *RESERVED_SEGMENTS],
    )
    found += task.training.problems(task.weak_labels is not None, task.exploration, task.candidates)
    inputs = [*task.features, *(windowed.feature() for windowed in task.windowed)]
    context = Context(task.kind, task.classes, {f.name: f for f in inputs}, task.target.fits)
    found += behaviour_problems(task.training.behaviour, context)
    names_of_windows = [window.name for window in task.windows]
    found += task.alerts.problems(names_of_windows, [*task.segments, *RESERVED_SEGMENTS])
    found += task.volume.problems() + task.rollout.problems(task.kind)
    if task.continual is not None:
        found += task.continual.problems(task.kind)
    return found + task.labelling.problems() + task.drift.problems()


class _FromSource(importlib.machinery.SourceFileLoader):
    """Reads what the file says now: Python takes kept bytecode for that of a file that was written
    again within a second and has as many bytes (another digit in ``partitions``)."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load_task(reference: str) -> Task:
    """The task that ``path/to/file.py:Name`` (or ``package.module:Name``) declares.

    Raises TaskError where the file, the name or the declaration is not right.
    """
    where, _, name = reference.rpartition(":")
    if not where:
        raise TaskError(reference, ["say where it is: path/to/file.py:Name"])
    try:
        if where.endswith(".py"):
            path = Path(where).resolve()
            if not path.is_file():
                raise TaskError(reference, [f"there is no file {where}"])
            loader = _FromSource(f"weir_task_{path.stem}", str(path))
            spec = importlib.util.spec_from_loader(loader.name, loader)
            assert spec is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            loader.exec_module(module)
        else:
            module = importlib.import_module(where)
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(
            reference, [f"{where} does not load: {type(error).__name__}: {error}"]
        ) from error
    task = getattr(module, name, None)
    if not isinstance(task, Task):
        raise TaskError(reference, [f"{where} has no Task named {name}"])
    return task


def millis(time: datetime) -> int:
    """Milliseconds since 1970 UTC, as event times are written."""
    return int(time.astimezone(UTC).timestamp() * 1000)
