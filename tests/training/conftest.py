"""One tiny dataset and its cache for all tests of training, and one thread, so that bits repeat."""

from __future__ import annotations

import pytest
import torch
from tests.training.worlds import VIEW, write_dataset


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="session")
def cache(tiny):
    from avglance.data.cache import Cache, build_cache
    from avglance.data.records import read_dataset

    dataset = read_dataset(tiny)
    build_cache(dataset, VIEW, tiny / ".cache", workers=1)
    return Cache(dataset, VIEW, tiny / ".cache")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
