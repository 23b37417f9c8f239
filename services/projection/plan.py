"""Which writes make MLflow say what the ``models`` topic says: plain values in, plain values out.

A plan is made in stages; a stage needs what the one before it has made, so whoever carries the
writes out looks again after each stage, until there is nothing to write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

ALIASED = ("champion", "canary", "shadow", "candidate")
"""Roles that are aliases too. Where several versions have one, the newest has the alias; the tag
``weir.role`` is on each."""
VERSION, ROLE, AS_OF, DESCRIBED = "weir.version", "weir.role", "weir.as_of", "weir.described"
"""Tags: a model version's id; its role; the offset of the topic that a registered model is as of;
what a run was described by."""
GONE = "none"
"""The role of a version that the topic does not hold any more."""


@dataclass(frozen=True)
class Data:
    """The training data of a run: id (content hash), and what MLflow shows of it, as JSON text."""

    id: str
    source: str
    schema: str
    profile: str


@dataclass(frozen=True)
class Run:
    """What a training's run is to hold; times in milliseconds since 1970.

    bundle: folder of the bundle, "" where it is not there; journal: file of its steps, or "".
    """

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    data: Data
    started_at: int
    bundle: str = ""
    journal: str = ""

    @property
    def digest(self) -> str:
        """Changes with anything that the run is to hold."""
        text = json.dumps(asdict(self), sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Entry:
    """A model version as MLflow is to tell it; ``tags`` hold its role, and who gave it and why."""

    version: str
    tags: Mapping[str, str]
    run: Run

    @property
    def role(self) -> str:
        """What it does."""
        return self.tags[ROLE]


@dataclass(frozen=True)
class Wanted:
    """What MLflow is to say: entries by version id, in the order of their last records.

    as_of: the topic's offset up to which that holds.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    as_of: int = 0

    def aliases(self) -> dict[str, str]:
        """Version ids by alias: each version's own id, and the roles."""
        found = {version: version for version in self.entries}
        found |= {e.role: e.version for e in self.entries.values() if e.role in ALIASED}
        return found


@dataclass(frozen=True)
class SeenRun:
    """A run of MLflow that names a version: its id, parameters, and what described it."""

    id: str
    params: frozenset[str] = frozenset()
    described: str = ""


@dataclass(frozen=True)
class SeenVersion:
    """A model version of MLflow that names a version of ours."""

    number: int
    run: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Seen:
    """What MLflow says: by version id the runs and the model versions, by alias the number."""

    experiment: bool = False
    model: bool = False
    runs: Mapping[str, tuple[SeenRun, ...]] = field(default_factory=dict)
    versions: Mapping[str, tuple[SeenVersion, ...]] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    as_of: int | None = None

    def run(self, version: str) -> SeenRun | None:
        """The run of a version that stays: that of its first model version, else the first."""
        runs = {run.id: run for run in self.runs.get(version, ())}
        for named in sorted(self.versions.get(version, ()), key=lambda each: each.number):
            if named.run in runs:
                return runs[named.run]
        return runs[min(runs)] if runs else None

    def number(self, version: str) -> SeenVersion | None:
        """The model version that stays: the first of the run that stays."""
        run = self.run(version)
        of_run = [v for v in self.versions.get(version, ()) if run is not None and v.run == run.id]
        return min(of_run, key=lambda each: each.number) if of_run else None


@dataclass(frozen=True)
class Write:
    """One call of MLflow; ``says`` tells a person what differs without it."""

    @property
    def says(self) -> str:
        """What is not as the topic has it."""
        raise NotImplementedError


@dataclass(frozen=True)
class MakeExperiment(Write):
    """The task's experiment, new or brought back."""

    @property
    def says(self) -> str:
        """See Write."""
        return "there is no experiment for the task"


@dataclass(frozen=True)
class MakeModel(Write):
    """The task's registered model."""

    @property
    def says(self) -> str:
        """See Write."""
        return "there is no registered model for the task"


@dataclass(frozen=True)
class StartRun(Write):
    """A run for a version's training."""

    version: str

    @property
    def says(self) -> str:
        """See Write."""
        return f"{self.version}: there is no run"


@dataclass(frozen=True)
class DropRun(Write):
    """A second run of the same version."""

    version: str
    run: str

    @property
    def says(self) -> str:
        """See Write."""
        return f"{self.version}: the run {self.run} is one too many"


@dataclass(frozen=True)
class MakeVersion(Write):
    """A model version, with all its tags."""

    version: str
    run: str

    @property
    def says(self) -> str:
        """See Write."""
        return f"{self.version}: there is no model version"


@dataclass(frozen=True)
class DropVersion(Write):
    """A second model version of the same version, or one whose run is gone."""

    version: str
    number: int

    @property
    def says(self) -> str:
        """See Write."""
        return f"{self.version}: the model version {self.number} is one too many"


@dataclass(frozen=True)
class SetTag(Write):
    """A tag of a model version; None takes it away."""

    version: str
    number: int
    key: str
    value: str | None
    was: str | None = None

    @property
    def says(self) -> str:
        """See Write."""
        said, means = (repr(v) if v is not None else "nothing" for v in (self.was, self.value))
        return f"{self.version}: its {self.key} is {said} in MLflow and {means} in the topic"


@dataclass(frozen=True)
class SetAlias(Write):
    """An alias of a model version; None takes it away."""

    alias: str
    number: int | None
    version: str
    was: int | None = None

    @property
    def says(self) -> str:
        """See Write."""
        means = self.version if self.number is not None else "no version"
        said = f"model version {self.was}" if self.was is not None else "nothing"
        return f"the alias {self.alias} is {said} in MLflow; in the topic it is {means}"


@dataclass(frozen=True)
class SetMark(Write):
    """Up to which offset of the topic roles are as they are told."""

    as_of: int

    @property
    def says(self) -> str:
        """See Write."""
        return f"roles are not marked as those of offset {self.as_of}"


@dataclass(frozen=True)
class OfRun(Write):
    """Of the details of one version's run: what fails there keeps nothing else back."""

    version: str
    run: str

    @property
    def says(self) -> str:
        """See Write."""
        return ""


@dataclass(frozen=True)
class Describe(OfRun):
    """Parameters that a run lacks, metrics and tags; MLflow's parameters never change."""

    lacks: frozenset[str]

    @property
    def says(self) -> str:
        """See Write."""
        return f"{self.version}: the run {self.run} does not hold what the bundle says"


@dataclass(frozen=True)
class LogData(OfRun):
    """The training data of a run."""


@dataclass(frozen=True)
class Upload(OfRun):
    """The bundle, as the run's artifact."""


@dataclass(frozen=True)
class UploadJournal(OfRun):
    """The steps of the training with their seconds, as the run's artifact."""


@dataclass(frozen=True)
class Finish(OfRun):
    """The run is over."""


@dataclass(frozen=True)
class SetDescribed(OfRun):
    """The run holds all that it is to hold: the last word on it."""

    digest: str


def plan(wanted: Wanted, seen: Seen) -> list[Write]:
    """The writes of the next stage, in order; empty when MLflow says what the topic says."""
    for stage in STAGES:
        if writes := list(stage(wanted, seen)):
            return writes
    return []


def differences(wanted: Wanted, seen: Seen) -> list[str]:
    """What MLflow says that the topic does not, and what it does not say, a sentence each.

    How old the roles are is no difference: see `Seen.as_of`.
    """
    writes = [write for stage in STAGES for write in stage(wanted, seen)]
    told = [write.says for write in writes if not isinstance(write, SetMark)]
    return list(dict.fromkeys(said for said in told if said))


def _containers(wanted: Wanted, seen: Seen) -> Iterator[Write]:
    if wanted.entries and not seen.experiment:
        yield MakeExperiment()
    if wanted.entries and not seen.model:
        yield MakeModel()


def _runs(wanted: Wanted, seen: Seen) -> Iterator[Write]:
    for version in wanted.entries:
        keep = seen.run(version)
        if keep is None:
            yield StartRun(version)
        for run in seen.runs.get(version, ()):
            if run != keep:
                yield DropRun(version, run.id)


def _versions(wanted: Wanted, seen: Seen) -> Iterator[Write]:
    for version in wanted.entries:
        run, keep = seen.run(version), seen.number(version)
        if keep is None and run is not None:
            yield MakeVersion(version, run.id)
        for found in seen.versions.get(version, ()):
            if found != keep:
                yield DropVersion(version, found.number)


def _roles(wanted: Wanted, seen: Seen) -> Iterator[Write]:
    """Aliases first: each moves at once from one version to another."""
    means = wanted.aliases()
    for alias, version in means.items():
        found = seen.number(version)
        if found is not None and seen.aliases.get(alias) != found.number:
            yield SetAlias(alias, found.number, version, seen.aliases.get(alias))
    ours = {*ALIASED, *seen.versions}
    for alias in sorted((ours & seen.aliases.keys()) - means.keys()):
        yield SetAlias(alias, None, "", seen.aliases[alias])
    for version, entry in wanted.entries.items():
        if (found := seen.number(version)) is not None:
            yield from _tags(version, found, entry.tags)
    for version in sorted(seen.versions.keys() - wanted.entries.keys()):
        for found in seen.versions[version]:
            if found.tags.get(ROLE) != GONE:
                yield SetTag(version, found.number, ROLE, GONE, found.tags.get(ROLE))


def _tags(version: str, found: SeenVersion, means: Mapping[str, str]) -> Iterator[Write]:
    for key, value in means.items():
        if found.tags.get(key) != value:
            yield SetTag(version, found.number, key, value, found.tags.get(key))
    for key in sorted(found.tags.keys() - means.keys()):
        if key.startswith("weir."):
            yield SetTag(version, found.number, key, None, found.tags[key])


def _mark(wanted: Wanted, seen: Seen) -> Iterator[Write]:
    if seen.model and seen.as_of != wanted.as_of:
        yield SetMark(wanted.as_of)


def _details(wanted: Wanted, seen: Seen) -> Iterator[Write]:
    """After the roles: a bundle that cannot be brought there now must not hold those back."""
    for version, entry in wanted.entries.items():
        run = seen.run(version)
        if run is None or run.described == entry.run.digest:
            continue
        yield Describe(version, run.id, frozenset(entry.run.params) - run.params)
        yield LogData(version, run.id)
        if entry.run.bundle:
            yield Upload(version, run.id)
        if entry.run.journal:
            yield UploadJournal(version, run.id)
        yield Finish(version, run.id)
        yield SetDescribed(version, run.id, entry.run.digest)


STAGES: tuple[Callable[[Wanted, Seen], Iterator[Write]], ...] = (
    _containers,
    _runs,
    _versions,
    _roles,
    _mark,
    _details,
)
