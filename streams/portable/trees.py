"""Trees as one TreeEnsemble operator, thresholds and leaves in float64.

skl2onnx converts histogram boosting without categories only. A split by category is a question
about a code's membership in a set; for each such split the graph looks the answer up by the code
(0: left, 1: right, for missing and unknown ones as well), and the tree asks whether that is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from streams.portable.graph import ML, Graph

Floats = npt.NDArray[np.float64]

_AT_MOST = np.uint8(0)  # x <= threshold goes to the true side
_SUM = 1


@dataclass(frozen=True)
class Tree:
    """Arrays by node; node 0 is the root.

    feature: the column that a node splits by, -1 of a leaf. right, left: nodes. missing_left:
    whether NaN goes left. value: (nodes, targets), of leaves.
    """

    feature: npt.NDArray[np.int64]
    threshold: Floats
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    missing_left: npt.NDArray[np.bool_]
    value: Floats


@dataclass
class _Arrays:
    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    yes: list[tuple[int, int]] = field(default_factory=list)
    no: list[tuple[int, int]] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


def ensemble(
    graph: Graph, matrix: str, trees: Iterable[tuple[int | None, Tree]], targets: int
) -> str:
    """The sum of the trees' leaves, (rows, targets); each tree with its target (None: all)."""
    arrays = _Arrays()
    constant = np.zeros(targets)
    for only, tree in trees:
        if tree.feature[0] < 0:
            constant += tree.value[0]  # a root that is a leaf: the operator has none
            continue
        # A leaf holds one number: a tree of several targets stands there once for each.
        for target in range(targets) if only is None else [only]:
            _append(arrays, tree, target)
    if not arrays.roots:
        rows = graph.op("Mul", graph.columns(matrix, [0]), graph.constant([[0.0]]))
        zeros = graph.op("Where", graph.op("IsNaN", rows), graph.constant([[0.0]]), rows)
        return graph.op("Add", zeros, graph.constant([constant]))
    total = graph.op(
        "TreeEnsemble",
        matrix,
        domain=ML,
        n_targets=targets,
        aggregate_function=_SUM,
        post_transform=0,
        tree_roots=arrays.roots,
        nodes_featureids=arrays.features,
        nodes_splits=numpy_helper.from_array(np.array(arrays.splits)),
        nodes_modes=numpy_helper.from_array(np.full(len(arrays.splits), _AT_MOST)),
        nodes_missing_value_tracks_true=arrays.missing,
        nodes_truenodeids=[at for at, _ in arrays.yes],
        nodes_trueleafs=[leaf for _, leaf in arrays.yes],
        nodes_falsenodeids=[at for at, _ in arrays.no],
        nodes_falseleafs=[leaf for _, leaf in arrays.no],
        leaf_targetids=arrays.targets,
        leaf_weights=numpy_helper.from_array(np.array(arrays.weights)),
    )
    return graph.op("Add", total, graph.constant([constant])) if constant.any() else total


def _append(arrays: _Arrays, tree: Tree, target: int) -> None:
    inner = np.flatnonzero(tree.feature >= 0)
    first = len(arrays.features)
    arrays.roots.append(first)
    place = {int(node): first + at for at, node in enumerate(inner)}
    for node in inner.tolist():
        arrays.features.append(int(tree.feature[node]))
        arrays.splits.append(float(tree.threshold[node]))
        arrays.missing.append(int(tree.missing_left[node]))
        for side, child in ((arrays.yes, tree.left[node]), (arrays.no, tree.right[node])):
            if tree.feature[child] >= 0:
                side.append((place[int(child)], 0))
            else:
                side.append((len(arrays.weights), 1))
                arrays.targets.append(target)
                arrays.weights.append(float(tree.value[child, target]))


def forest_trees(estimators: Iterable[Any], classifier: bool, scale: float) -> list[Tree]:
    """The trees of a random forest or a single one; leaves are multiplied by ``scale``."""
    found = []
    for one in estimators:
        tree = one.tree_
        value = tree.value[:, 0, :]
        if classifier:
            value = value / value.sum(axis=1, keepdims=True)
        missing = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count, np.uint8))
        inner = tree.children_left >= 0
        found.append(
            Tree(
                np.where(inner, tree.feature, -1),
                tree.threshold,
                tree.children_left,
                tree.children_right,
                missing.astype(bool),
                value * scale,
            )
        )
    return found


@dataclass(frozen=True)
class Coded:
    """A category on its way into trees.

    codes: the value that holds codes, int64 (rows,). numbers: of each code the number that
    scikit-learn's encoder gives it, NaN where it counts as missing; the last is that of -1.
    """

    codes: str
    numbers: Floats


def boosted(graph: Graph, model: Any, categories: Sequence[Coded], numbers: str | None) -> str:
    """The sum of histogram boosting before its link, (rows, trees of an iteration).

    categories, numbers: the columns that the trees were grown on, in scikit-learn's order:
    categories before numbers. numbers: None where there are none.
    """
    targets = model.n_trees_per_iteration_
    grown = [(k, tree) for iteration in model._predictors for k, tree in enumerate(iteration)]
    known, place_of = model._bin_mapper.make_known_categories_bitsets()
    # 1. Every different question about a category, as a column of that category's table.
    tables: list[dict[bytes, Floats]] = [{} for _ in categories]
    asked: list[dict[int, bytes]] = []
    for _, predictor in grown:
        own: dict[int, bytes] = {}
        for node in np.flatnonzero(predictor.nodes["is_categorical"]).tolist():
            at = predictor.nodes[node]
            column = int(at["feature_idx"])
            left = predictor.raw_left_cat_bitsets[at["bitset_idx"]]
            goes = _sides(
                categories[column].numbers, left, known[place_of[column]], at["missing_go_to_left"]
            )
            own[node] = goes.tobytes()
            tables[column].setdefault(own[node], goes)
        asked.append(own)
    # 2. The matrix: numbers, then the answers to these questions.
    parts, start = ([] if numbers is None else [numbers]), model.n_features_in_ - len(categories)
    first: list[int] = []
    for coded, table in zip(categories, tables, strict=True):
        first.append(start)
        start += len(table)
        if table:
            # One byte each: the answers of a hundred airports to hundreds of splits are many.
            answers = graph.constant(np.stack(list(table.values()), axis=1), np.uint8)
            parts.append(graph.op("Cast", graph.op("Gather", answers, coded.codes, axis=0), to=11))
    matrix = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
    # 3. The trees over its columns.
    order = [{key: at for at, key in enumerate(table)} for table in tables]
    trees = []
    for (target, predictor), own in zip(grown, asked, strict=True):
        nodes = predictor.nodes
        feature = nodes["feature_idx"].astype(np.int64) - len(categories)
        threshold = nodes["num_threshold"].copy()
        missing = nodes["missing_go_to_left"].astype(bool)
        for node, key in own.items():
            column = int(nodes[node]["feature_idx"])
            feature[node] = first[column] + order[column][key]
            threshold[node], missing[node] = 0.5, False
        feature[nodes["is_leaf"].astype(bool)] = -1
        value = np.zeros((len(nodes), targets))
        value[:, target] = nodes["value"]
        left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
        trees.append((target, Tree(feature, threshold, left, right, missing, value)))
    total = ensemble(graph, matrix, trees, targets)
    return graph.op("Add", total, graph.constant(model._baseline_prediction.reshape(1, -1)))


def _sides(numbers: Floats, left: Any, known: Any, missing_left: int) -> Floats:
    """Where each code goes: 0 to the left, 1 to the right; as scikit-learn's predictor decides."""
    goes = np.full(len(numbers), 0.0 if missing_left else 1.0)
    for code, number in enumerate(numbers.tolist()):
        if not np.isnan(number) and number >= 0 and _has(known, int(number)):
            goes[code] = 0.0 if _has(left, int(number)) else 1.0
    return goes


def _has(bits: Any, number: int) -> bool:
    return bool(int(bits[number // 32]) >> (number % 32) & 1)
