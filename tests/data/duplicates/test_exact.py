from __future__ import annotations

from itertools import combinations

import numpy as np

from fer_lightning.data.duplicates.exact import equal_pairs, exact_pairs, pixel_digests


class Arrays:
    """A store in memory."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.most = 0

    def batch(self, rows: np.ndarray) -> np.ndarray:
        self.most = max(self.most, len(rows))
        return self.images[rows]


def test_digests_are_equal_where_pixels_are():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (150, 2, 2, 2), dtype=np.uint8)
    digests, blank = pixel_digests(Arrays(images), np.arange(150))
    expected = [(i, j) for i, j in combinations(range(150), 2) if (images[i] == images[j]).all()]
    assert exact_pairs(digests).tolist() == [list(pair) for pair in expected] and expected
    # blank: one colour everywhere, which need not be a grey
    assert blank.tolist() == [len(np.unique(image.reshape(4, 2), axis=0)) == 1 for image in images]
    assert blank.any() and not blank.all()


def test_images_are_read_in_blocks():
    store = Arrays(np.random.default_rng(0).integers(0, 256, (1300, 4, 4, 1), dtype=np.uint8))
    rows = np.arange(1300)[::-2]
    digests, _ = pixel_digests(store, rows)
    assert store.most == 512
    assert digests.tolist() == pixel_digests(store, np.arange(1300))[0][rows].tolist()
    assert len(exact_pairs(digests)) == 0


def test_every_pair_once_and_few_at_a_time():
    keys = np.random.default_rng(0).integers(0, 30, 200)
    found = []
    for first, second in equal_pairs(keys):
        assert len(first) <= len(keys)
        found += list(zip(first.tolist(), second.tolist()))
    assert sorted(found) == [(i, j) for i, j in combinations(range(200), 2) if keys[i] == keys[j]]


def test_nothing_is_equal():
    assert list(equal_pairs(np.arange(5))) == [] == list(equal_pairs(np.zeros(0, np.uint64)))
