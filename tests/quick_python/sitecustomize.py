"""Loaded at the start of each Python process of a test run: what makes it come up in less time.

A run of the tests starts hundreds of processes, and most import scikit-learn. Of the processor time
that this takes a third is no work that a test needs:

- SciPy takes its docstrings apart and puts notes into them. Here they are empty.
- The garbage collector looks through all that the imports made, again and again. Here it looks less
  often; what it does is the same.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

DOCSTRINGS = "scipy._lib._docscrape"

gc.set_threshold(100_000, 20, 50)


class WithoutDocstrings:
    """Finds SciPy's parser of docstrings, and gives it empty ones."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own specification, of which the loader does more; None of all others."""
        if name != DOCSTRINGS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            parse = module.FunctionDoc
            module.FunctionDoc = lambda function: parse(function, doc="")

        spec.loader.exec_module = load_and_change
        return spec


sys.meta_path.insert(0, WithoutDocstrings)
