"""MLflow: what it says, and the writes that change it.

Importing MLflow takes seconds and 50 MB: only who writes or verifies makes a `Store`.
"""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from services.projection.plan import (
    AS_OF,
    DESCRIBED,
    VERSION,
    Describe,
    DropRun,
    DropVersion,
    Finish,
    LogData,
    MakeExperiment,
    MakeModel,
    MakeVersion,
    Seen,
    SeenRun,
    SeenVersion,
    SetAlias,
    SetDescribed,
    SetMark,
    SetTag,
    StartRun,
    Upload,
    UploadJournal,
    Wanted,
    Write,
)

if TYPE_CHECKING:
    from mlflow.entities import Experiment

BUNDLE = "bundle"
"""Where in a run's artifacts the bundle is."""
PAGE = 1000
PARAMS_MAX = 100
"""Parameters and tags that one call takes."""

QUIET = {
    # What Weir's users do is nobody else's business.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # The projection tries again by itself, and meanwhile says that it cannot.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def local_uri(home: Path) -> str:
    """The address of a home's own store, an SQLite file."""
    return f"sqlite:///{(home / 'mlflow' / 'mlflow.db').resolve()}"


class Store:
    """One task's experiment and registered model, both of its name.

    uri: `local_uri`, or a tracking server's address; artifacts: folder of a local store's files,
    None for a server, which has its own; commit: of the code that trains, "" if not known; key:
    that bundles are signed by.
    """

    def __init__(
        self, uri: str, task: str, artifacts: Path | None, commit: str = "", key: bytes = b""
    ) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        if artifacts is not None:
            artifacts.mkdir(parents=True, exist_ok=True)
            # Of a store without a server MLflow would make ./mlruns.
            os.environ.setdefault("_MLFLOW_SERVER_ARTIFACT_ROOT", artifacts.resolve().as_uri())
        from mlflow import MlflowClient

        self._task = task
        self._artifacts = artifacts
        self._commit = commit
        self._key = key
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def see(self) -> Seen:
        """What MLflow says now."""
        experiment = self._experiment()
        model = self._model()
        if model is None:
            return Seen(experiment is not None, False, self._runs(experiment))
        as_of = model.tags.get(AS_OF, "")
        return Seen(
            experiment=experiment is not None,
            model=True,
            runs=self._runs(experiment),
            versions=self._versions(),
            aliases={alias: int(number) for alias, number in model.aliases.items()},
            as_of=int(as_of) if as_of.isdigit() else None,
        )

    def apply(self, write: Write, wanted: Wanted) -> None:
        """Carry out one write."""
        client, task = self._client, self._task
        match write:
            case MakeExperiment():
                self._make_experiment()
            case MakeModel():
                client.create_registered_model(task, tags={"weir.task": task})
            case StartRun(version):
                self._start_run(version, wanted)
            case DropRun(_, run):
                client.delete_run(run)
            case MakeVersion(version, run):
                source = f"{client.get_run(run).info.artifact_uri}/{BUNDLE}"
                tags = dict(wanted.entries[version].tags)
                client.create_model_version(task, source, run, tags=tags)
            case DropVersion(_, number):
                client.delete_model_version(task, str(number))
            case SetTag(_, number, key, None):
                client.delete_model_version_tag(task, str(number), key)
            case SetTag(_, number, key, value):
                client.set_model_version_tag(task, str(number), key, value)
            case SetAlias(alias, None):
                client.delete_registered_model_alias(task, alias)
            case SetAlias(alias, number):
                client.set_registered_model_alias(task, alias, str(number))
            case SetMark(as_of):
                client.set_registered_model_tag(task, AS_OF, str(as_of))
            case Describe(version, run, lacks):
                self._describe(version, run, lacks, wanted)
            case LogData(version, run):
                self._log_data(version, run, wanted)
            case Upload(version, run):
                self._upload(run, Path(wanted.entries[version].run.bundle))
            case UploadJournal(version, run):
                client.log_artifact(run, wanted.entries[version].run.journal)
            case Finish(version, run):
                began = wanted.entries[version].run.started_at
                client.set_terminated(run, "FINISHED", began)
            case SetDescribed(_, run, digest):
                client.set_tag(run, DESCRIBED, digest)
            case _:
                raise AssertionError(f"no such write: {write}")

    def _upload(self, run: str, folder: Path) -> None:
        """Exactly the files that were signed, as they were when their signature was checked."""
        from streams.bundle import checked_files  # scikit-learn

        _, files = checked_files(folder, self._key)
        with TemporaryDirectory() as copy:
            for name, data in files.items():
                (Path(copy) / name).write_bytes(data)
            self._client.log_artifacts(run, copy, BUNDLE)

    def _experiment(self) -> Experiment | None:
        found = self._client.get_experiment_by_name(self._task)
        return found if found is not None and found.lifecycle_stage == "active" else None

    def _make_experiment(self) -> None:
        deleted = self._client.get_experiment_by_name(self._task)
        if deleted is not None:
            self._client.restore_experiment(deleted.experiment_id)
            return
        place = None if self._artifacts is None else (self._artifacts / self._task).resolve()
        location = None if place is None else place.as_uri()
        self._client.create_experiment(self._task, artifact_location=location)

    def _model(self) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_registered_model(self._task)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _runs(self, experiment: Experiment | None) -> dict[str, tuple[SeenRun, ...]]:
        found: defaultdict[str, list[SeenRun]] = defaultdict(list)
        for run in self._all_runs(experiment):
            version = run.data.tags.get(VERSION)
            if version:
                params = frozenset(run.data.params)
                found[version].append(
                    SeenRun(run.info.run_id, params, run.data.tags.get(DESCRIBED, ""))
                )
        return {version: tuple(runs) for version, runs in found.items()}

    def _all_runs(self, experiment: Experiment | None) -> Iterator[Any]:
        token = None
        while experiment is not None:
            page = self._client.search_runs(
                [experiment.experiment_id], max_results=PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _versions(self) -> dict[str, tuple[SeenVersion, ...]]:
        found: defaultdict[str, list[SeenVersion]] = defaultdict(list)
        token = None
        while True:
            page = self._client.search_model_versions(
                f"name = '{self._task}'", max_results=PAGE, page_token=token
            )
            for one in page:
                if version := one.tags.get(VERSION):
                    found[version].append(
                        SeenVersion(int(one.version), one.run_id or "", dict(one.tags))
                    )
            token = page.token
            if not token:
                return {version: tuple(ones) for version, ones in found.items()}

    def _start_run(self, version: str, wanted: Wanted) -> None:
        experiment = self._experiment()
        if experiment is None:
            raise RuntimeError(f"the experiment {self._task} was deleted meanwhile")
        tags = {VERSION: version, "mlflow.source.name": "weir", "mlflow.source.type": "JOB"}
        if self._commit:
            tags["mlflow.source.git.commit"] = self._commit
        self._client.create_run(
            experiment.experiment_id,
            start_time=wanted.entries[version].run.started_at,
            tags=tags,
            run_name=version,
        )

    def _describe(self, version: str, run: str, lacks: frozenset[str], wanted: Wanted) -> None:
        from mlflow.entities import Metric, Param, RunTag

        means = wanted.entries[version].run
        # The same time each time: a value that is logged again is the same value, not a new one.
        metrics = [Metric(name, v, means.started_at, 0) for name, v in means.metrics.items()]
        params = [Param(name, value) for name, value in means.params.items() if name in lacks]
        tags = [RunTag(name, value) for name, value in means.tags.items()]
        for some in _by(PARAMS_MAX, params):
            self._client.log_batch(run, params=some)
        for some_tags in _by(PARAMS_MAX, tags):
            self._client.log_batch(run, tags=some_tags)
        for some_metrics in _by(PAGE, metrics):
            self._client.log_batch(run, metrics=some_metrics)

    def _log_data(self, version: str, run: str, wanted: Wanted) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = wanted.entries[version].run.data
        told = Dataset(self._task, data.id[:36], "weir", data.source, data.schema, data.profile)
        tag = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run, datasets=[DatasetInput(told, [tag])])


def _by(size: int, items: list[Any]) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def commit_of(folder: Path) -> str:
    """The git commit of the code in a folder, with ``-dirty`` where files differ; "" if unknown."""
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()
