"""What is remembered of each client, in bounded memory: the busiest ones.

A space-saving table (Metwally, Agrawal and El Abbadi 2005): where it is full, a new client takes
the place of the one with the smallest count and begins with that count, so that a client with more
than its share of the requests is always in it. The counts fade, so that those who went make room.
What was usual of a client is its own: one that comes anew begins without a history.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

WHOLE = ""
"""The whole stream: it is in row 0 and never leaves."""

COLUMNS = (
    "weight",  # the space-saving count
    "requests",  # what was usual: requests, faded,
    "exposure",  # in so many seconds of average busyness, faded
    "excess",  # squared deviations from the mean, less what is Poisson's, faded
    "square",  # squared means, faded
    "held",  # requests that the gate held back, faded
    "judged",  # of so many
    "log_r",  # evidence of too many requests (`evidence`)
    "log_r_held",  # evidence that too many are held back
    "first",  # the stream's exposure when it was first seen,
    "last",  # and after its last bucket
    "buckets",  # the stream's number of buckets then
    "cusum",  # the sum of log ratios since it last was 0, for the estimate of the change point:
    "since",  # the bucket in which that began,
    "seen",  # requests since then,
    "cusum_held",  # and the same of those that are held back
    "since_held",
    "seen_held",
)


class Clients:
    """A row of `COLUMNS` for each client, by `column`; at most ``most`` of them and the whole."""

    def __init__(self, most: int) -> None:
        self._most = most + 1
        self._names: list[str] = [WHOLE]
        self._rows: dict[str, int] = {WHOLE: 0}
        self._table = np.zeros((len(COLUMNS), min(self._most, 64)))
        self._table[_AT["log_r"]] = self._table[_AT["log_r_held"]] = -np.inf

    def __len__(self) -> int:
        """Clients, without the whole stream."""
        return len(self._names) - 1

    def column(self, name: str) -> Floats:
        """A column, a row a client; changes of it are kept."""
        found: Floats = self._table[_AT[name], : len(self._names)]
        return found

    def name(self, row: int) -> str:
        """The client of a row."""
        return self._names[row]

    def rows(
        self, names: Sequence[str], requests: npt.NDArray[np.int64], keep: Collection[str]
    ) -> Rows:
        """The row of each name; one that is new gets one, of a client whose time is over.

        requests: of each name now. keep: clients that may not leave now. −1 where there is no
        room: more names at once than the table holds.
        """
        rows = np.array([self._rows.get(name, -1) for name in names], np.int64)
        new = np.flatnonzero(rows < 0)
        if len(new):
            room = self._room(new[np.argsort(-requests[new], kind="stable")], rows, keep)
            for i, row in room:
                rows[i] = row
                self._begin(row, names[i])
        known = rows >= 0
        self._table[_AT["weight"], rows[known]] += requests[known]
        return rows

    def fade(self, factor: float) -> None:
        """Let the counts by which clients stay fade."""
        self._table[_AT["weight"]] *= factor

    def state(self) -> tuple[bytes, bytes]:
        """The names (JSON) and the table (NumPy's format)."""
        file = BytesIO()
        np.save(file, self._table[:, : len(self._names)])
        return json.dumps(self._names).encode(), file.getvalue()

    def restore(self, names: bytes, table: bytes) -> None:
        """What `state` gave."""
        self._names = json.loads(names)
        self._rows = {name: row for row, name in enumerate(self._names)}
        self._table = np.load(BytesIO(table))

    def _room(self, new: Rows, rows: Rows, keep: Collection[str]) -> list[tuple[int, int]]:
        """A row for each of the new ones, the busiest first, as far as there are any."""
        grown = min(self._most - len(self._names), len(new))
        found = [(int(i), len(self._names) + k) for k, i in enumerate(new[:grown])]
        self._names += [""] * grown
        wide = self._table.shape[1]
        if len(self._names) > wide:
            more = max(2 * wide, len(self._names)) - wide
            self._table = np.pad(self._table, ((0, 0), (0, more)))
        left = new[grown:]
        if not len(left):
            return found
        # Whoever is of this bucket stays, and so does the whole stream.
        weight = self.column("weight").copy()
        weight[[0, *(self._rows[name] for name in keep), *rows[rows >= 0]]] = np.inf
        weight[[row for _, row in found]] = np.inf
        leaving = np.argsort(weight, kind="stable")[: len(left)]
        leaving = leaving[np.isfinite(weight[leaving])]
        return found + [(int(i), int(row)) for i, row in zip(left, leaving, strict=False)]

    def _begin(self, row: int, name: str) -> None:
        before = self._names[row]
        if before:
            del self._rows[before]
        weight = self._table[_AT["weight"], row]
        self._table[:, row] = 0.0
        self._table[_AT["weight"], row] = weight
        self._table[[_AT["log_r"], _AT["log_r_held"]], row] = -np.inf
        self._names[row] = name
        self._rows[name] = row


_AT = {name: at for at, name in enumerate(COLUMNS)}
