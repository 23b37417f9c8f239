"""Which requests are explored: answered by the model though the gate would hold them back.

Without them the next model learns from what the gate let through alone. A hash of the request's id
chooses, so that a request that is sent again, or replayed, is chosen again.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from streams.partitioner import murmur2

Mask = npt.NDArray[np.bool_]


def explored(ids: Iterable[str], task: str, share: float) -> Mask:
    """Whether each request id is among the share, 0 to 1, that the task named ``task`` explores.

    The task's name goes before the id, so that two tasks explore different requests, and so that
    the hash has nothing to do with the partition, which is the id's hash as well.
    """
    chosen: Mask = murmur2([f"{task}/{id_}".encode() for id_ in ids]) < share * 2**32
    return chosen
