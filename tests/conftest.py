"""What holds for every test: the random state is put back afterwards."""

from __future__ import annotations

import os
import random
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _random_state():
    """Sets every global random state to 0 and restores it, so that tests run in any order."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is what is guarded
    torch = sys.modules.get("torch")
    state = torch.random.get_rng_state() if torch else None
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    if torch:
        torch.manual_seed(0)
    yield
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    if torch and state is not None:
        torch.random.set_rng_state(state)


def need(library: str) -> None:
    """Skips where what runs graphs is not installed; a bare import of it would call home."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed: graphs cannot be run", allow_module_level=True)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real clips and odd files beside the project, where there is one."""
    if not (SHARED / "data").is_dir():
        pytest.skip("no folder shared/data beside the project: the real clips are not on this machine")
    return SHARED / "data"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """``gpu`` tests skip without a GPU, unless this machine is said to have one."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            if os.environ.get("AVGLANCE_REQUIRE_GPU") == "1":
                pytest.fail("AVGLANCE_REQUIRE_GPU=1, and torch sees no CUDA device")
            pytest.skip("no CUDA device on this machine")
