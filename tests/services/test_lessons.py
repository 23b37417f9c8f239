"""Which outcomes are lessons: the first true label of each request, as they became known."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import Column
from services.learner.lessons import first_truths

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["true", "weak"]),
        st.booleans(),  # a correction
        st.sampled_from(["champion", "canary", "shadow", "none"]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=12,
)


@given(ROWS)
def test_corrections_weak_labels_and_shadows_teach_nothing(
    rows: list[tuple[str, bool, str, int]],
) -> None:
    labels, corrections, roles, known = zip(*rows, strict=True)
    ids = [f"r{i}" for i in range(len(rows))]
    columns = {
        "label": Column(np.array(labels, object)),
        "previous_truth": Column(np.array(corrections), np.array(corrections)),
        "role": Column(np.array(roles, object)),
        "known_at": Column(np.array(known, np.int64)),
        "request_id": Column(np.array(ids, object)),
    }
    wanted = [
        i
        for i, (label, correction, role, _) in enumerate(rows)
        if label == "true" and not correction and role != "shadow"
    ]
    assert first_truths(columns).tolist() == sorted(wanted, key=lambda i: (known[i], ids[i]))


def test_where_nothing_is_a_correction_all_are_first() -> None:
    columns = {
        "label": Column(np.array(["true"] * 2, object)),
        "previous_truth": Column(np.zeros(2, bool), np.zeros(2, bool)),
        "role": Column(np.array(["champion"] * 2, object)),
        "known_at": Column(np.array([2, 1], np.int64)),
        "request_id": Column(np.array(["a", "b"], object)),
    }
    assert first_truths(columns).tolist() == [1, 0]
