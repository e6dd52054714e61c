import numpy as np
import torch

from fer_lightning.layers.gated_multimodal_unit import GatedMultimodalUnit


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_it_is_the_equation_of_the_paper():
    torch.manual_seed(0)
    unit = GatedMultimodalUnit(3, 2, 5)
    first, second = torch.randn(4, 3), torch.randn(4, 2)
    one, other, gate = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in (unit.first, unit.second, unit.gate)
    )
    for row in range(4):
        x, y = first[row].numpy(), second[row].numpy()
        z = sigmoid(gate[0] @ np.concatenate([x, y]) + gate[1])
        expected = z * np.tanh(one[0] @ x + one[1]) + (1 - z) * np.tanh(other[0] @ y + other[1])
        np.testing.assert_allclose(unit(first, second)[row].detach().numpy(), expected, atol=1e-6)


def test_the_gate_can_shut_out_either_modality():
    unit = GatedMultimodalUnit(3, 2, 5)
    torch.nn.init.zeros_(unit.gate.weight)
    first, second = torch.randn(4, 3), torch.randn(4, 2)
    torch.nn.init.constant_(unit.gate.bias, 100.0)
    torch.testing.assert_close(unit(first, second), unit.first(first).tanh())
    torch.nn.init.constant_(unit.gate.bias, -100.0)
    torch.testing.assert_close(unit(first, second), unit.second(second).tanh())
