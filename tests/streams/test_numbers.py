from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from streams.frame import columns_of, frame
from streams.numbers import Numbers
from tests.small_tasks import TUMOUR, tumours

FRAME = frame(TUMOUR, columns_of(TUMOUR.features, tumours()), {"shape": ["round"]})


@pytest.mark.parametrize(
    "names",
    [
        ["radius", "texture", "smooth"],  # next to each other: a slice
        ["smooth", "radius"],
        ["texture"],
    ],
)
@pytest.mark.parametrize("rows", [np.arange(569), np.arange(3, 9), np.arange(0, 500, 7)])
def test_it_reads_the_columns_that_were_asked_for(
    names: list[str], rows: npt.NDArray[np.intp]
) -> None:
    batch = FRAME.iloc[rows]
    np.testing.assert_array_equal(Numbers(names, FRAME)(batch), batch[names].to_numpy(float))


def test_no_numbers_are_false() -> None:
    assert not Numbers([], FRAME)
    assert Numbers(["radius"], FRAME)
