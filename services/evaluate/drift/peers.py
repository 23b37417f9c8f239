"""alibi-detect and NannyML on the same draws, in environments of their own, spoken to by files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.evaluate.drift.judge import Seen
from services.evaluate.drift.streams import Made
from services.evaluate.environments import ROOT, python_of, run

PROJECTS = Path(__file__).parents[1]
SCRIPTS = {"alibi_detect": ("alibi", "peer.py"), "nannyml": ("nannyml", "drift.py")}


def save(made: Made, path: Path) -> None:
    """A draw as the peers' scripts read it; names and errors by their code."""
    columns: dict[str, Any] = {f"number:{name}": values for name, values in made.numbers.items()}
    for name, values in made.names.items():
        texts = np.array([str(value) for value in values])
        columns[f"name:{name}"] = np.unique(texts, return_inverse=True)[1]
    if made.wrong is not None:
        columns["name:wrong"] = made.wrong.astype(np.int64)
    np.savez(path, reference=made.reference, **columns)


class Handed:
    """Draws of streams that were written down for the peers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._draws: dict[str, list[tuple[int, tuple[int, ...]]]] = {}

    def add(self, stream: str, draws: Sequence[Made]) -> None:
        """Write some draws of a stream."""
        for at, made in enumerate(draws):
            save(made, self._folder / f"{stream}.{at:04}.npz")
        self._draws[stream] = [(made.reference, made.changes) for made in draws]

    def watch(self, name: str) -> Mapping[str, list[Seen]]:
        """A peer on all of them. Raises EnvironmentFailed."""
        own, script = SCRIPTS[name]
        python = python_of(PROJECTS / own, ROOT / f".venv-{own}")
        run([str(python), str(PROJECTS / own / script), str(self._folder)], f"{name} fails")
        found = json.loads((self._folder / f"{own}.json").read_text())
        return {
            stream: [_seen(found[f"{stream}.{at:04}"], *about) for at, about in enumerate(draws)]
            for stream, draws in self._draws.items()
        }


def _seen(told: Mapping[str, Any], reference: int, changes: tuple[int, ...]) -> Seen:
    return Seen(told["records"], reference, changes, tuple(told["alarms"]), told["cpu_s"])
