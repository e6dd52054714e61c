import torch

from fer_lightning.layers.fusion import DynamicFeatureFusion


def make(num_maps=3, channels=4, grid=2):
    torch.manual_seed(0)
    return DynamicFeatureFusion(num_maps, channels, embed_dim=32, num_heads=2, grid=grid)


def test_tokens_join_the_cells_of_all_maps_as_equation_4():
    fusion = make()
    maps = [torch.randn(2, 4, 6, 6) for _ in range(3)]
    expected = []
    for project, features in zip(fusion.to_common, maps, strict=True):
        for row in range(2):
            for column in range(2):
                cell = features[:, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].mean((2, 3))
                expected.append(project(cell))
    expected = fusion.norm(torch.stack(expected, 1) + fusion.position)

    assert fusion.tokens(maps).shape == (2, 12, 32)
    torch.testing.assert_close(fusion.tokens(maps), expected, atol=1e-5, rtol=1e-5)


def test_attended_tokens_return_to_their_own_map_and_cell():
    fusion = make()
    maps = [torch.randn(2, 4, 6, 6) for _ in range(3)]
    attended = fusion.attention(fusion.tokens(maps))
    fused = fusion(maps)

    for source, (restore, features) in enumerate(zip(fusion.from_common, maps, strict=True)):
        for row in range(6):
            for column in range(6):
                token = attended[:, source * 4 + (row // 3) * 2 + column // 3]
                expected = features[:, :, row, column] + restore(token)
                actual = fused[:, source * 4 : source * 4 + 4, row, column]
                torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_every_map_listens_to_every_other():
    fusion = make()
    maps = [torch.randn(1, 4, 6, 6, requires_grad=True) for _ in range(3)]
    fusion(maps)[:, :4].square().sum().backward()  # the fused map of the first source

    assert all(features.grad.abs().sum() > 0 for features in maps)


def test_attention_weights_are_distributions_over_all_tokens():
    weights = make().attention_weights([torch.randn(2, 4, 6, 6) for _ in range(3)])

    assert weights.shape == (2, 2, 12, 12)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 12))


def test_grid_need_not_divide_the_map():
    fused = make(num_maps=2, grid=3)([torch.randn(1, 4, 8, 8)] * 2)

    assert fused.shape == (1, 8, 8, 8)
