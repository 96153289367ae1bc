"""One thread, reproducible examples, and the fixtures that several test files share."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings
from parts import make_batch, make_head

from energydiag.batch import Batch
from energydiag.models.cross_attention import CrossAttentionEnergy

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the programs that tests start: two that wait for each other's cores crawl
settings.register_profile("energydiag", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("energydiag")


@pytest.fixture
def batch() -> Batch:
    return make_batch()


@pytest.fixture
def head() -> CrossAttentionEnergy:
    return make_head()
