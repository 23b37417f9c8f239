"""MLflow against the ``models`` topic: what each says of the versions and their roles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.keys import with_keys
from services.projection.facts import wanted
from services.projection.places import Describer, open_store, store_exists
from services.projection.plan import Wanted, differences
from services.projection.store import Store
from streams.roles import Roles
from streams.settings import Settings


@dataclass(frozen=True)
class Compared:
    """versions: in the topic; told_as_of: offset of the topic that MLflow's roles are of, None
    where it never told any; as_of: the topic's."""

    versions: int
    as_of: int
    told_as_of: int | None
    differences: Sequence[str]


class Comparison:
    """Compares as often as it is asked: MLflow is opened once, which takes seconds."""

    def __init__(self, settings: Settings, task: str) -> None:
        self._settings, self._task = with_keys(settings), task
        self._describe = Describer(self._settings)
        self._store: Store | None = None

    def compare(self, roles: Roles, as_of: int) -> Compared:
        """What differs now from the roles that the topic holds up to ``as_of``."""
        settings = self._settings
        means: Wanted = wanted(roles, as_of, self._describe)
        if self._store is None:
            if not store_exists(settings):  # to look at it would make it
                said = ["there is no MLflow store yet"] if roles.records else []
                return Compared(len(roles.records), as_of, None, said)
            self._store = open_store(settings, self._task)
        seen = self._store.see()
        return Compared(len(roles.records), as_of, seen.as_of, differences(means, seen))
