from __future__ import annotations

from itertools import combinations

import numpy as np

from fer_lightning.data.audit.equal_keys import equal_pairs


def test_every_pair_once_and_few_at_a_time():
    keys = np.random.default_rng(0).integers(0, 30, 200)
    found = []
    for first, second in equal_pairs(keys):
        assert len(first) <= len(keys)
        found += list(zip(first.tolist(), second.tolist()))
    assert sorted(found) == [(i, j) for i, j in combinations(range(200), 2) if keys[i] == keys[j]]


def test_nothing_is_equal():
    assert list(equal_pairs(np.arange(5))) == [] == list(equal_pairs(np.zeros(0, np.uint64)))
