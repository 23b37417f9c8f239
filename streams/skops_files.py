"""Estimators as skops files: the same bytes for the same estimator, and no unknown types.

skops writes a zip of arrays and a JSON tree that names the type of every object. Loading imports
those types, so each must be one that skops trusts by itself or that is listed here.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np

ALLOWED = frozenset(
    {
        # Types that scikit-learn's own fitted estimators hold and skops does not trust by itself.
        # Each only holds data or calls what is listed here or trusted by skops: none of them
        # opens files, runs commands or imports by name.
        "functools.partial",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
        # river's linear models, their optimizers and what prepares rows for them: numbers, and
        # sums of numbers. Its trees and forests cannot be written by skops.
        "builtins.frozenset",
        "collections.Counter",
        "river._river_rust.vectordict.VectorDict",
        "river.compose.pipeline.Pipeline",
        "river.compose.product.TransformerProduct",
        "river.compose.select.Discard",
        "river.compose.select.Select",
        "river.compose.select.SelectType",
        "river.compose.union.TransformerUnion",
        "river.facto.fm.FMClassifier",
        "river.facto.fm.FMRegressor",
        "river.linear_model.bayesian_lin_reg.BayesianLinearRegression",
        "river.linear_model.lin_reg.LinearRegression",
        "river.linear_model.log_reg.LogisticRegression",
        "river.optim.ada_grad.AdaGrad",
        "river.optim.adam.Adam",
        "river.optim.ftrl.FTRLProximal",
        "river.optim.initializers.Normal",
        "river.optim.initializers.Zeros",
        "river.optim.losses.Absolute",
        "river.optim.losses.Huber",
        "river.optim.losses.Log",
        "river.optim.losses.Squared",
        "river.optim.rms_prop.RMSProp",
        "river.optim.schedulers.Constant",
        "river.optim.schedulers.InverseScaling",
        "river.optim.schedulers.Optimal",
        "river.optim.sgd.SGD",
        "river.preprocessing.feature_hasher.FeatureHasher",
        "river.preprocessing.one_hot.OneHotEncoder",
        "river.preprocessing.scale.MinMaxScaler",
        "river.preprocessing.scale.StandardScaler",
        "river.stats.maximum.Max",
        "river.stats.minimum.Min",
        # A model of these on top of one of scikit-learn's.
        "streams.continual.model.Learned",
        # Ours: arrays, and what is computed from them.
        "streams.bends.Bends",
    }
)

_SCHEMA = "schema.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every zip entry: the earliest that the format holds."""
_LIMIT_BYTES = 1 << 30
"""Unpacked size above which a file is not read: a zip of a few kB can unpack to terabytes."""


class UnsafeFile(ValueError):
    """A skops file that cannot be loaded safely, or an estimator that cannot be written so."""


def dump(estimator: Any) -> bytes:
    """The estimator as a skops file; equal estimators give equal bytes.

    Raises UnsafeFile where it holds types that `load` would refuse.
    """
    import skops.io  # it imports all of scikit-learn: who only declares does without

    try:
        raw = skops.io.dumps(estimator)
    except Exception as error:
        raise UnsafeFile(
            f"{type(estimator).__name__} cannot be written as skops: {error}"
        ) from error
    data = _canonical(raw)
    unknown = unknown_types(data)
    if unknown:
        raise UnsafeFile(
            f"{type(estimator).__name__} holds types that no bundle may hold: "
            f"{', '.join(unknown)}; use scikit-learn's own estimators and transformers"
        )
    return data


def load(data: bytes) -> Any:
    """The estimator in a skops file.

    Raises UnsafeFile, before anything is constructed, where the file is damaged, too large, or
    holds a type that is neither trusted by skops nor in ALLOWED.
    """
    unknown = unknown_types(data)
    if unknown:
        raise UnsafeFile(f"it holds types that no bundle may hold: {', '.join(unknown)}")
    import skops.io  # it imports all of scikit-learn: who only declares does without

    try:
        return skops.io.loads(data, trusted=sorted(ALLOWED))
    except Exception as error:
        raise UnsafeFile(f"it does not load: {type(error).__name__}: {error}") from error


def unknown_types(data: bytes) -> list[str]:
    """The types in a skops file that are neither trusted by skops nor in ALLOWED."""
    import skops.io  # it imports all of scikit-learn: who only declares does without

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _LIMIT_BYTES:
            raise UnsafeFile(f"it unpacks to {size} bytes; the limit is {_LIMIT_BYTES}")
        return sorted(set(skops.io.get_untrusted_types(data=data)) - ALLOWED)
    except UnsafeFile:
        raise
    except Exception as error:
        raise UnsafeFile(f"it is not a skops file: {type(error).__name__}: {error}") from error


def _canonical(data: bytes) -> bytes:
    """The same file without what differs from run to run.

    skops names objects and arrays by their address in memory and stamps entries with the time;
    arrays of records hold whatever was in memory between their fields.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(content.pop(_SCHEMA))
    renamer = _Renamer()
    renamer.visit(schema)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for old, new in renamer.files.items():
            archive.writestr(zipfile.ZipInfo(new, _EPOCH), _without_padding(content[old]))
        text = json.dumps(schema, separators=(",", ":"), sort_keys=False)
        archive.writestr(zipfile.ZipInfo(_SCHEMA, _EPOCH), text)
    return out.getvalue()


class _Renamer:
    """Numbers objects and array files in the order in which the tree names them."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self._ids: dict[int, int] = {}
        self._next = 0

    def visit(self, node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("__id__"), int):
                node["__id__"] = self._number(node)
            if isinstance(node.get("file"), str):
                name = node["file"]
                suffix = name.rpartition(".")[2]
                node["file"] = self.files.setdefault(name, f"{len(self.files)}.{suffix}")
            for child in node.values():
                self.visit(child)
        elif isinstance(node, list):
            for child in node:
                self.visit(child)

    def _number(self, node: dict[str, Any]) -> int:
        # Whether two equal strings or numbers are one object is chance: each gets its own number.
        old = node["__id__"]
        shared = not node.get("is_json", False)
        if shared and old in self._ids:
            return self._ids[old]
        self._next += 1
        if shared:
            self._ids[old] = self._next
        return self._next


def _without_padding(data: bytes) -> bytes:
    if not data.startswith(b"\x93NUMPY"):
        return data
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if not array.dtype.names:
        return data
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    out = io.BytesIO()
    np.save(out, clean, allow_pickle=False)
    return out.getvalue()
