import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.layers.psychological_attention import PsychologicalAttention


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9, 11])
def test_it_is_equation_3(kernel_size):
    torch.manual_seed(0)
    block = PsychologicalAttention(1, 2, kernel_size=kernel_size, stride=1, normalization="none")
    weight, bias = block.conv.weight, block.conv.bias
    image = torch.randn(9, 8)
    reach = kernel_size // 2
    expected = torch.zeros(2, 9, 8)
    for x in range(9):
        for y in range(8):
            total = bias.clone()
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if 0 <= x + i < 9 and 0 <= y + j < 8:
                        total = total + weight[:, 0, i + reach, j + reach] * image[x + i, y + j]
            expected[:, x, y] = total.clamp(min=0)

    torch.testing.assert_close(block(image[None, None])[0], expected, atol=1e-5, rtol=1e-5)


def test_even_kernel_is_refused():
    with pytest.raises(UserError, match=r"model\.attention_kernel must be odd.*got 4"):
        PsychologicalAttention(1, 8, kernel_size=4, stride=1, normalization="none")
