from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from fer_lightning.data.batches import EpochBatches, OrderedBatches, balancing_weights
from fer_lightning.errors import UserError


def shuffled(size: int, batch_size: int, epoch: int = 0, seed: int = 0, rank: int = 0, world: int = 1) -> EpochBatches:
    return EpochBatches(size, batch_size, seed, epoch, None, rank, world)


class TestEpochBatches:
    @pytest.mark.parametrize("world", [1, 2, 3, 4])
    def test_ranks_agree_on_the_number_of_batches_and_leave_no_row_out(self, world: int) -> None:
        ranks = [shuffled(103, 8, rank=rank, world=world) for rank in range(world)]
        assert len({len(batches) for batches in ranks}) == 1
        drawn = np.concatenate([batches.indices for batches in ranks])
        assert set(drawn.tolist()) == set(range(103))
        assert len(drawn) < 103 + world

    def test_one_process_sees_every_row_once(self) -> None:
        assert sorted(row for batch in shuffled(96, 8) for row in batch) == list(range(96))

    def test_ranks_together_follow_the_order_of_one_process(self) -> None:
        """So the global batches of 2 x 4 rows are those of one process with batches of 8."""
        alone = shuffled(64, 8)
        ranks = [shuffled(64, 4, rank=rank, world=2) for rank in range(2)]
        for whole, first, second in zip(alone, *ranks):
            assert sorted(whole) == sorted(first + second)

    @pytest.mark.parametrize(
        ("size", "batch_size", "sizes"),
        [(10, 4, [4, 4]), (8, 4, [4, 4]), (3, 4, [3]), (4, 4, [4]), (1, 4, [1])],
    )
    def test_incomplete_last_batch_is_dropped_unless_it_is_the_only_one(
        self, size: int, batch_size: int, sizes: list[int]
    ) -> None:
        batches = shuffled(size, batch_size)
        assert [len(batch) for batch in batches] == sizes
        assert len(batches) == len(sizes)

    def test_more_processes_than_rows(self) -> None:
        assert [list(shuffled(2, 4, rank=rank, world=5)) != [[]] for rank in range(5)] == [True] * 5

    def test_order_is_a_function_of_seed_and_epoch(self) -> None:
        assert list(shuffled(64, 8, epoch=3, seed=1)) == list(shuffled(64, 8, epoch=3, seed=1))
        orders = {tuple(shuffled(64, 8, epoch=epoch, seed=seed).indices) for epoch in range(4) for seed in range(4)}
        assert len(orders) == 16

    def test_can_be_read_twice(self) -> None:
        batches = shuffled(64, 8)
        assert list(batches) == list(batches)

    def test_indices_are_plain_integers(self) -> None:
        assert type(next(iter(shuffled(8, 4)))[0]) is int


class TestBalanced:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [5000, 800, 150, 50]))

    def ranks(self, world: int, epoch: int = 0) -> list[EpochBatches]:
        weights = balancing_weights(self.labels)
        return [EpochBatches(len(self.labels), 50, 0, epoch, weights, rank, world) for rank in range(world)]

    def test_weights_of_each_class_sum_to_the_same(self) -> None:
        sums = np.bincount(self.labels, weights=balancing_weights(self.labels))
        np.testing.assert_allclose(sums, 1.0)

    def test_absent_classes_are_no_obstacle(self) -> None:
        np.testing.assert_allclose(balancing_weights(np.array([0, 3, 3])), [1, 0.5, 0.5])

    @pytest.mark.parametrize("world", [1, 3])
    def test_every_class_is_drawn_equally_often_on_every_rank(self, world: int) -> None:
        for batches in self.ranks(world):
            drawn = self.labels[np.concatenate(list(batches))]
            assert chisquare(np.bincount(drawn)).pvalue > 0.001

    def test_rows_of_one_class_are_drawn_equally_often(self) -> None:
        drawn = np.concatenate([self.ranks(1, epoch)[0].indices for epoch in range(5)])
        rare = np.flatnonzero(self.labels == 3)
        assert chisquare(np.bincount(drawn, minlength=len(self.labels))[rare]).pvalue > 0.001

    def test_ranks_share_one_draw(self) -> None:
        """Drawn rank by rank, the ranks would repeat each other or depend on their number."""
        first, second = self.ranks(2)
        together = np.stack([first.indices, second.indices], axis=1).ravel()
        np.testing.assert_array_equal(together, self.ranks(1)[0].indices)
        assert len(first) == len(second)


class TestOrderedBatches:
    @pytest.mark.parametrize(
        ("size", "world"), [(1, 1), (3, 1), (8, 1), (103, 1), (3, 2), (16, 2), (17, 2), (3, 3), (103, 3)]
    )
    def test_every_row_once_over_all_ranks(self, size: int, world: int) -> None:
        ranks = [OrderedBatches(size, 8, rank, world) for rank in range(world)]
        rows = [row for batches in ranks for batch in batches for row in batch]
        assert sorted(rows) == list(range(size))
        for batches in ranks:
            assert [row for batch in batches for row in batch] == batches.indices.tolist()
            assert len(list(batches)) == len(batches) >= 1
            assert all(0 < len(batch) <= 8 for batch in batches)

    def test_one_process_keeps_the_order(self) -> None:
        assert list(OrderedBatches(5, 2, 0, 1)) == [[0, 1], [2, 3], [4]]

    def test_a_process_without_rows_is_refused(self) -> None:
        with pytest.raises(UserError, match="4 processes cannot share 3 evaluation images"):
            OrderedBatches(3, 8, 0, 4)
