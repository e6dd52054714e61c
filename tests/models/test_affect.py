from __future__ import annotations

import pytest
import torch
from torchmetrics.functional import concordance_corrcoef

from fer_lightning.errors import UserError
from fer_lightning.models import ConcordanceLoss, ResNet, WeightedVoting, add_affect_head, classes_and_affect


def test_the_logits_stay_as_they_are():
    net = ResNet(num_classes=7, widths=(8, 8, 8, 8)).eval()
    image = torch.randn(3, 1, 32, 32)
    before = net(image)
    add_affect_head(net)
    logits, affect = classes_and_affect(net, image)
    torch.testing.assert_close(net(image), before)
    torch.testing.assert_close(logits, before)
    assert affect.shape == (3, 2) and affect.abs().max() <= 1
    assert net.options["affect"] is True


def test_a_network_without_an_embedding_is_refused():
    vote = WeightedVoting(num_classes=7, members=[ResNet(num_classes=7, widths=(8, 8, 8, 8))])
    with pytest.raises(UserError, match="need a network with an embedding; WeightedVoting has none"):
        add_affect_head(vote)


def drawn(count: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = 2 * torch.rand(count, 2, generator=generator) - 1
    return (0.6 * target + 0.2 * torch.randn(count, 2, generator=generator) + 0.1), target


def test_is_one_minus_the_coefficient_of_torchmetrics():
    predicted, target = drawn()
    assert float(ConcordanceLoss()(predicted, target)) == pytest.approx(
        float(1 - concordance_corrcoef(predicted, target).mean()), abs=1e-6
    )


def test_what_is_not_annotated_does_not_count():
    predicted, target = drawn()
    target[::3, 0] = torch.nan
    kept = target[:, 0].isfinite()
    expected = [
        concordance_corrcoef(predicted[kept, 0], target[kept, 0]),
        concordance_corrcoef(predicted[:, 1], target[:, 1]),
    ]
    predicted.requires_grad_()
    loss = ConcordanceLoss()(predicted, target)
    assert float(loss) == pytest.approx(float(1 - torch.stack(expected).mean()), abs=1e-6)
    loss.backward()
    assert predicted.grad.isfinite().all()
    assert (predicted.grad[~kept, 0] == 0).all() and (predicted.grad[kept, 0] != 0).all()


@pytest.mark.parametrize("known", [0, 1])
def test_too_few_annotations_have_no_loss(known):
    predicted, target = drawn()
    target[known:] = torch.nan
    predicted.requires_grad_()
    loss = ConcordanceLoss()(predicted, target)
    loss.backward()
    assert float(loss) == 0 and (predicted.grad == 0).all()


def test_equal_predictions_have_a_finite_gradient():
    predicted = torch.zeros(4, 2, requires_grad=True)
    loss = ConcordanceLoss()(predicted, torch.zeros(4, 2))
    loss.backward()
    assert float(loss) == 1 and predicted.grad.isfinite().all()
