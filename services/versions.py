"""A model version by what a person calls it: a role, an id, or the beginning of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from streams.bundle import BundleError, folder_of, load_bundle
from streams.roles import Role, Roles, is_called
from streams.task import Task
from streams.version import Version


class VersionError(RuntimeError):
    """There is no such version, more than one, or it cannot be loaded; the message says which."""


@dataclass(frozen=True)
class Found:
    """Where a version's bundle is, and what the version is doing now."""

    folder: Path
    role: str


def find(wanted: str, artifacts: Path, roles: Roles | None) -> Found:
    """The version that is called ``wanted``: a role, an id or the beginning of one.

    The task's name before the id may be left out. roles: None where they cannot be read; a role
    is not known then, and ids are those of the bundles in ``artifacts``. Raises VersionError.
    """
    if wanted in get_args(Role):
        return _by_role(wanted, artifacts, roles)
    known = {} if roles is None else {r.version: r.bundle for r in roles.records.values()}
    if artifacts.is_dir():
        for folder in artifacts.iterdir():
            if (folder / "manifest.json").is_file():
                known.setdefault(folder.name, folder.name)
    found = [wanted] if wanted in known else sorted(id_ for id_ in known if is_called(id_, wanted))
    if not found:
        listed = f"; there are {_listed(sorted(known))}" if known else "; there is none yet"
        raise VersionError(f"no version is called {wanted}{listed} (`weir models` lists them)")
    if len(found) > 1:
        raise VersionError(f"{wanted} may be {_listed(found)}: give more of the id")
    role = "none" if roles is None else roles.role(found[0])
    return Found(_folder(artifacts, known[found[0]]), role)


def load(found: Found, task: Task, key: bytes) -> Version:
    """The version, checked as a worker checks it. Raises VersionError."""
    try:
        return load_bundle(found.folder, task, key)
    except BundleError as error:
        raise VersionError(str(error)) from error


def _by_role(role: str, artifacts: Path, roles: Roles | None) -> Found:
    if roles is None:
        raise VersionError(
            f"who is {role} stands in the topic of the models, and no broker answers: start the "
            "system (`weir up`), or give the version's id"
        )
    champion = roles.champion
    if role == "champion":
        records = [champion] if champion is not None else []
    else:
        records = [r for r in roles.records.values() if roles.role(r.version) == role]
    if not records:
        raise VersionError(f"no version is {role} now; `weir models` lists them")
    if len(records) > 1:
        listed = _listed([r.version for r in records])
        raise VersionError(f"{len(records)} versions are {role}: {listed}; give the id of one")
    return Found(_folder(artifacts, records[0].bundle), role)


def _folder(artifacts: Path, bundle: str) -> Path:
    try:
        return folder_of(artifacts, bundle)
    except BundleError as error:
        raise VersionError(str(error)) from error


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
