import torch

from fer_lightning.losses.distributions import as_distributions


def test_indices_become_certain_distributions_and_distributions_stay():
    expected = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert torch.equal(as_distributions(torch.tensor([2, 0]), 3), expected)
    votes = torch.tensor([[0.25, 0.75, 0.0]], dtype=torch.float64)
    assert torch.equal(as_distributions(votes, 3), votes.float())
