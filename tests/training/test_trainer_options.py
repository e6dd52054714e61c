from __future__ import annotations

import math
import platform
import subprocess
import sys

import hydra
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.training.trainer_options import SUPPORTED, MovingAverage, check_trainer

REFUSED = {
    "max_epochs": (0, -2, 1.5, None, True),
    "min_epochs": (-1, 0.5),
    "max_steps": (0, -2, 2.5, None),
    "min_steps": (-1, 0.5),
    "limit_train_batches": (0, 0.0, -1, 1.5, None, math.nan),
    "limit_val_batches": (0, 0.0, 1, 0.5, 3),
    "limit_test_batches": (0, 1, 0.5),
    "limit_predict_batches": (0, 1, 0.5),
    "overfit_batches": (1, 0.5),
    "fast_dev_run": (True, 1, 3),
    "val_check_interval": (0.5, 1, 10, "00:00:01:00"),
    "check_val_every_n_epoch": (0, -1, 0.5, None),
    "num_sanity_val_steps": (-2, 0.5, None),
    "accumulate_grad_batches": (0, -1, 1.5, None),
    "gradient_clip_val": (math.nan, math.inf, "much", True),
    "gradient_clip_algorithm": ("both", 1),
    "reload_dataloaders_every_n_epochs": (0, 2),
    "use_distributed_sampler": (True, None),
    "enable_checkpointing": (False, None),
    "barebones": (True,),
    "logger": (True,),
    "callbacks": ([],),
}
ACCEPTED = {
    "max_epochs": (1, 100, -1),
    "max_steps": (1, -1),
    "limit_train_batches": (1, 5, 1.0, 0.25),
    "limit_val_batches": (1.0, None),
    "fast_dev_run": (False, 0, None),
    "num_sanity_val_steps": (0, -1, 2),
    "gradient_clip_val": (1, 0.5, 0, -1, None),
}


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_listed_option_refuses_what_would_not_be_exact(name):
    for value in REFUSED[name]:
        with pytest.raises(UserError) as refused:
            check_trainer({name: value})
        assert str(refused.value).startswith(f"trainer.{name}={value} is not supported. ")
    for value in ACCEPTED.get(name, ()):
        check_trainer({name: value})


def test_the_trainers_of_conf_are_supported():
    for path in sorted((conf_dir() / "trainer").glob("*.yaml")):
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = hydra.compose("train", [f"trainer={path.stem}"])
        check_trainer({name: cfg.trainer[name] for name in SUPPORTED if name in cfg.trainer})


class Line(pl.LightningModule):
    """Learns a line; the batch normalisation has buffers of whole numbers and of floats."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def averaged_weights(average: EMAWeightAveraging, accelerator: str = "cpu") -> tuple[dict[str, Tensor], torch.device]:
    """Weights after a training, and the device on which they were averaged."""
    images = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    net, loader = Line(), DataLoader(TensorDataset(images), batch_size=4)
    bare = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    pl.Trainer(max_epochs=2, accelerator=accelerator, devices=1, callbacks=[average], **bare).fit(net, loader)
    return net.cpu().state_dict(), average._average_model.n_averaged.device


def test_weights_are_averaged_as_by_lightning():
    ours, _ = averaged_weights(MovingAverage(decay=0.8, update_every_n_steps=2))
    theirs, _ = averaged_weights(EMAWeightAveraging(decay=0.8, update_every_n_steps=2))
    torch.testing.assert_close(ours, theirs)
    assert not torch.equal(ours["net.0.weight"], averaged_weights(MovingAverage(decay=0.8))[0]["net.0.weight"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_weights_are_averaged_on_the_gpu():
    weights, device = averaged_weights(MovingAverage(decay=0.8), accelerator="gpu")
    assert device.type == "cuda"
    torch.testing.assert_close(weights, averaged_weights(MovingAverage(decay=0.8))[0], rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries manage memory in another way")
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_is_reused_without_new_page_faults(keep: bool) -> None:
    script = f"""
import resource, torch
from fer_lightning.training.trainer_options import keep_freed_memory
if {keep}:
    keep_freed_memory()
faults = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
for _ in range(4):
    torch.ones(50_000_000)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[-2])
"""
    faults = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert faults < 50 if keep else faults > 90  # the tensor has 48,829 pages, or 96 huge ones
