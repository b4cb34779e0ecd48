"""Products of matrices in pieces that BLAS computes by the thread that asks.

OpenBLAS, which numpy brings along, wakes its other threads for a larger product, and these wait for the next
one in a busy loop, some twenty milliseconds each time: on two cores a quarter of the time of an answer,
taken from the networks and the decoder. Telling it to use one thread would change the whole process.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_ALONE = 2**18  # multiply-adds up to which OpenBLAS (its SMP_THRESHOLD_MIN times 4) wakes nobody


def product(
    a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """``a @ b``, some rows at a time.

    Args:
        a: shape (m, k).
        b: shape (k, n).
        out: where it goes, shape (m, n); None: into a new array.
    """
    rows = len(a)
    if out is None:
        out = np.empty((rows, b.shape[1]), dtype=np.float32)
    # never a single row: that would be a product with a vector, which is threaded from 9216 on
    pieces = max(1, min(-(-rows // max(2, _ALONE // b.size)), rows // 2))
    edges = [rows * piece // pieces for piece in range(pieces + 1)]
    for first, last in pairwise(edges):
        np.matmul(a[first:last], b, out=out[first:last])
    return out
