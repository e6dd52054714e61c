from contextlib import nullcontext

import torch

from fer_lightning.layers.precision import without_autocast


def test_region_keeps_the_dtype_of_its_inputs_under_autocast():
    matrix = torch.eye(2)
    with torch.autocast("cpu", torch.bfloat16):
        with without_autocast(matrix.device):
            inside = matrix @ matrix
        outside = matrix @ matrix

    assert inside.dtype == torch.float32
    assert outside.dtype == torch.bfloat16


def test_region_is_nothing_without_autocast():
    assert isinstance(without_autocast(torch.device("cpu")), nullcontext)
