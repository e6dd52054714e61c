from __future__ import annotations

from types import SimpleNamespace

import torch

from fer_lightning.training.seeding import SeedEveryBatch


def draw(seed: int = 0, epoch: int = 0, batch: int = 0, rank: int = 0) -> float:
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
    SeedEveryBatch(seed).on_train_batch_start(trainer, None, None, batch)
    return float(torch.rand(()))


def test_the_place_alone_decides():
    first = draw(seed=3, epoch=2, batch=5)
    torch.rand(100)
    assert draw(seed=3, epoch=2, batch=5) == first


def test_every_part_of_the_place_counts():
    places = [
        {},
        {"seed": 1},
        {"epoch": 1},
        {"batch": 1},
        {"rank": 1},
        {"epoch": 1, "batch": 1},
        {"seed": 1, "rank": 1},
    ]
    assert len({draw(**place) for place in places}) == len(places)
