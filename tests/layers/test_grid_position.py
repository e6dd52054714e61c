import math

import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.layers.grid_position import GridPosition, sinusoidal_grid


def test_sinusoids_are_those_of_the_paper_along_rows_and_columns():
    height, width, embed_dim = 3, 5, 16
    grid = sinusoidal_grid(height, width, embed_dim).view(height, width, embed_dim)
    half = embed_dim // 2
    for row in range(height):
        for column in range(width):
            for start, place in ((0, row), (half, column)):
                for index in range(half // 2):
                    angle = place / 10000 ** (2 * index / half)
                    assert grid[row, column, start + index].item() == pytest.approx(math.sin(angle), abs=1e-5)
                    assert grid[row, column, start + half // 2 + index].item() == pytest.approx(
                        math.cos(angle), abs=1e-5
                    )


def test_every_cell_of_a_grid_is_told_apart():
    for kind in ("learned", "sinusoidal"):
        places = GridPosition(kind, 32, 4, 6)(torch.zeros(1, 24, 32))[0]
        distance = torch.cdist(places, places) + 9 * torch.eye(24)
        assert distance.min() > 0.01


@pytest.mark.parametrize(("kind", "count"), [("none", 0), ("sinusoidal", 0), ("learned", 1)])
def test_only_learned_positions_are_trained_and_saved(kind, count):
    layer = GridPosition(kind, 32, 2, 2)

    assert len(list(layer.parameters())) == len(layer.state_dict()) == count


def test_none_adds_nothing():
    tokens = torch.randn(2, 6, 32)

    assert GridPosition("none", 32, 2, 3)(tokens) is tokens


def test_unknown_kind_is_refused():
    with pytest.raises(UserError, match=r"model\.position is 'rotary'"):
        GridPosition("rotary", 32, 2, 2)
