"""Products in pieces: the same numbers, and no thread of BLAS that is woken for them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avglance.views import products


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_pieces_give_the_product(m, k, n):
    rng = np.random.default_rng((m, k, n))
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    given, out = products.product(a, b), np.full((m + 1, n), 7, np.float32)
    np.testing.assert_allclose(given, a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)
    assert products.product(a, b, out=out[:m]).base is out
    np.testing.assert_array_equal(out[:m], given)
    assert (out[m] == 7).all()


@pytest.mark.parametrize("rows", [2, 3, 31, 129, 6144])
def test_every_piece_is_small_and_none_a_vector(rows, monkeypatch):
    seen, real = [], np.matmul

    def spied(a, b, **kwargs):
        seen.append((len(a), a.shape[1] * b.shape[1]))
        return real(a, b, **kwargs)

    monkeypatch.setattr(np, "matmul", spied)
    products.product(np.ones((rows, 257), np.float32), np.ones((257, 64), np.float32))
    assert sum(count for count, _ in seen) == rows
    assert all(count >= 2 and count * each <= 2**18 for count, each in seen)


ASKED = """
import os, time
import numpy as np
from avglance.views.pictures import crop_patches, resize
from avglance.views.sound import logmel

def others():
    spent = {}
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            fields = open(f"/proc/self/task/{task}/stat").read().rpartition(")")[2].split()
            spent[task] = int(fields[11]) + int(fields[12])
    return sum(spent.values())

def ours():
    resize(np.zeros((4, 3, 224, 224), np.uint8), 128)
    crop_patches(np.zeros((4, 3, 224, 224), np.uint8), [[0.1, 0.1, 0.7, 0.7]] * 4, 128)
    logmel(np.zeros((16, 15600), np.float32))

time.sleep(1.0)  # threads wait busily when they are started, too
before = others()
for _ in range(10):
    ours()
    time.sleep(0.03)
idle = others() - before
for _ in range(10):
    np.ones((512, 512), np.float32) @ np.ones((512, 512), np.float32)
    time.sleep(0.03)
print(idle, others() - before - idle)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_no_other_thread_works_for_a_view():
    """In a process of its own, where nothing else has threads; a large product shows that one is seen."""
    env = os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", ASKED], env=env, capture_output=True, text=True, check=True)
    idle, woken = map(int, done.stdout.split())
    if not woken:
        pytest.skip("the BLAS of this numpy has no threads that wait")
    assert idle == 0
