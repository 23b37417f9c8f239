"""Why a training gave no version.

TrainingError
├── DataError      the rows cannot be trained on
└── FitError       no candidate could be fitted
"""

from __future__ import annotations


class TrainingError(ValueError):
    """A training that gives no version; repeating it on the same rows gives none either."""


class DataError(TrainingError):
    """The rows cannot be trained on; the message says which rule they break."""


class FitError(TrainingError):
    """No candidate could be fitted, or none gives answers to inputs that serving may get."""
