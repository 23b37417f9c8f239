"""Outcomes: predictions joined with their truths or weak labels, as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.columns import Column, Columns, constant, joined
from schemas.records import Kind
from streams.join import Value
from streams.signals import Exposure

_DTYPES: dict[Kind, Any] = {"binary": np.bool_, "multiclass": object, "regression": np.float64}
_NOTHING_SHOWN = Exposure()


class Pair(NamedTuple):
    """An outcome to be: which prediction meets what.

    row: of the prediction, in the columns that it is decoded to. The others as in the record
    (schemas/avro/outcome.avsc); previous…: None where this is the first of its request and label;
    selection: its selection_probability.
    """

    row: int
    truth: Value
    known_at: int
    source: str
    revision: int
    previous: Value | None = None
    previous_source: str | None = None
    label: str = "true"
    weight: float = 1.0
    previous_weight: float | None = None
    exposure: Exposure = _NOTHING_SHOWN
    selection: float | None = None


class Firsts(NamedTuple):
    """Outcomes to be of which each is the first of its request, and of whose exposure nothing is
    known.

    rows: int64 (n,), of each the prediction's row. truths: the columns of the truth records.
    """

    rows: npt.NDArray[np.int64]
    truths: Columns


def together(several: Sequence[Firsts]) -> Firsts:
    """Those of several partitions, one or more, as one."""
    if len(several) == 1:
        return several[0]
    truths = {
        path: joined([firsts.truths[path] for firsts in several]) for path in several[0].truths
    }
    return Firsts(np.concatenate([firsts.rows for firsts in several]), truths)


def first_outcomes(predictions: Columns, firsts: Firsts, now_ms: int) -> Columns:
    """The columns of outcome records of first truths, in order: nothing is touched row by row."""
    n = len(firsts.rows)
    nothing = constant(None, n)
    return {path: column.take(firsts.rows) for path, column in predictions.items()} | {
        "known_at": firsts.truths["known_at"],
        "joined_at": constant(now_ms, n),
        "revision": constant(0, n),
        "truth": firsts.truths["truth"],
        "source": firsts.truths["source"],
        "label": constant("true", n),
        "weight": constant(1.0, n),
        **dict.fromkeys(("previous_truth", "previous_source", "previous_weight"), nothing),
        **dict.fromkeys(("position", "propensity", "shown_role"), nothing),
        "selection_probability": firsts.truths["selection_probability"],
    }


def outcomes(kind: Kind, predictions: Columns, pairs: Sequence[Pair], now_ms: int) -> Columns:
    """The columns of outcome records of pairs, one or more, in order."""
    n = len(pairs)
    rows, truth, known_at, source, revision, previous, old_source, label, weight, old_weight, *_ = (
        zip(*pairs, strict=True)
    )
    taken = np.array(rows, np.int64)
    columns = {path: column.take(taken) for path, column in predictions.items()}
    columns |= {
        "known_at": Column(np.array(known_at, np.int64)),
        "joined_at": constant(now_ms, n),
        "revision": Column(np.array(revision, np.int64)),
        "truth": Column(np.array(truth, _DTYPES[kind])),
        "previous_truth": _nullable(previous, _DTYPES[kind]),
        "source": _texts(source),
        "previous_source": _nullable(old_source, object),
        "label": _texts(label),
        "weight": Column(np.array(weight, np.float64)),
        "previous_weight": _nullable(old_weight, np.float64),
        "selection_probability": _nullable([pair.selection for pair in pairs], np.float64),
    }
    shown = [pair.exposure for pair in pairs]
    if all(one is _NOTHING_SHOWN for one in shown):
        nothing = constant(None, n)
        return columns | {"position": nothing, "propensity": nothing, "shown_role": nothing}
    position, propensity, role = zip(*shown, strict=True)
    return columns | {
        "position": _nullable(position, np.int64),
        "propensity": _nullable(propensity, np.float64),
        "shown_role": _nullable(role, object),
    }


def _texts(values: Sequence[str]) -> Column:
    if values.count(values[0]) == len(values):
        return constant(values[0], len(values))
    return Column(np.array(values, object))


def _nullable(values: Sequence[Any], dtype: npt.DTypeLike) -> Column:
    n = len(values)
    valid = np.fromiter((value is not None for value in values), bool, n)
    if not valid.any():
        return constant(None, n)
    filled = np.zeros(n, dtype) if dtype is not object else np.full(n, "", object)
    filled[valid] = [value for value in values if value is not None]
    return Column(filled, valid)
