"""One thread, reproducible examples, and the fixtures that several test files share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from parts import make_batch, make_head

from energydiag.batch import Batch
from energydiag.models.cross_attention import CrossAttentionEnergy

torch.set_num_threads(1)
settings.register_profile("energydiag", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("energydiag")


@pytest.fixture
def batch() -> Batch:
    return make_batch()


@pytest.fixture
def head() -> CrossAttentionEnergy:
    return make_head()
