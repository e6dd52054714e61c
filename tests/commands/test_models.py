from __future__ import annotations

import sys
import types

import pandas as pd
import pytest
from torch import nn

from fer_lightning.commands.models import source

# The default ResNet on 48 x 48 x 1: stem, first stage, three stages that halve the side (with a 1 x 1 short cut) and
# double the width, classifier.
STEM = 24 * 24 * 9 * (1 * 16 + 16 * 16 + 16 * 32)
FIRST = 24 * 24 * 9 * 2 * 32 * 32
OTHERS = sum(side**2 * (9 * (w // 2) * w + 9 * w * w + (w // 2) * w) for side, w in ((12, 64), (6, 128), (3, 256)))
RESNET_MULTIPLY_ADDS = STEM + FIRST + OTHERS + 256 * 7


def test_the_table_on_the_screen_and_in_files(fer, tmp_path, capsys):
    options = ["models=[psysfa_net,resnet,multimodal_fusion]", "rounds=2", f"hydra.run.dir={tmp_path}"]
    assert fer("models", *options) == 0
    costs = pd.read_csv(tmp_path / "models.csv", index_col="model")
    assert costs.index.tolist() == ["resnet", "multimodal_fusion", "psysfa_net"]  # the least work first
    assert costs.loc["resnet", "multiply_adds"] == RESNET_MULTIPLY_ADDS
    assert costs.loc["resnet", "source"] == "He et al. 2016, He et al. 2019"
    assert (costs["p95_ms"] >= costs["median_ms"]).all() and (costs["median_ms"] > 0).all()
    told = capsys.readouterr().out
    assert "\n\n" not in told.strip()  # finished bars leave no lines where there is no terminal
    lines = (tmp_path / "models.md").read_text().splitlines()
    assert lines[0].startswith("48 x 48 pixels, 1 channel(s), 7 classes")
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| resnet", "| multimodal_fusion", "| psysfa_net"]
    for line in lines[2:]:
        assert line.count("|") == 7
    for line in lines[4:]:
        assert all(cell in told for cell in line.strip("| ").split(" | ")[:5])
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert written == {"models.csv", "models.md", "models.log"}


def test_size_and_channels_reach_the_nets(fer, tmp_path):
    options = ["models=[resnet]", "image_size=96", "channels=3", "num_classes=8", "rounds=1"]
    assert fer("models", *options, f"hydra.run.dir={tmp_path}") == 0
    costs = pd.read_csv(tmp_path / "models.csv", index_col="model")
    first = 24 * 24 * 9 * 16
    assert costs.loc["resnet", "multiply_adds"] == 4 * (RESNET_MULTIPLY_ADDS - 256 * 7 - first + 3 * first) + 256 * 8


def test_a_net_that_cannot_be_built_is_left_out_with_its_reason(fer, tmp_path, capsys):
    assert fer("models", "models=[weighted_voting,resnet]", "rounds=1", f"hydra.run.dir={tmp_path}") == 0
    assert pd.read_csv(tmp_path / "models.csv")["model"].tolist() == ["resnet"]
    for told in (capsys.readouterr().out, (tmp_path / "models.md").read_text()):
        assert "Left out: weighted_voting, model.checkpoints must name the finished runs" in " ".join(told.split())


def test_nothing_to_show_is_told(fer, tmp_path, capsys):
    assert fer("models", "models=[weighted_voting]", f"hydra.run.dir={tmp_path}") == 2
    assert "must name a network that can be built" in capsys.readouterr().err
    assert fer("models", "models=[resnest]", f"hydra.run.dir={tmp_path}") == 2
    assert "resnest" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("docstring", "short"),
    [
        (
            "A net.\n\nPapers: K. He et al., Deep residual\nlearning (2016), https://arxiv.org/abs/1512.03385; its "
            "stem:\nT.-Y. O'Neil, Tricks (2019).\n",
            "He et al. 2016, O'Neil 2019",
        ),
        ("A net.\n\nSource: the pool, M. Stone, The opinion pool (1961).\n", "Stone 1961"),
        ("A net.\n\nPaper: PsySFA-Net, IIETA 2026 (CC BY 4.0).\n\nMore.", "PsySFA-Net, IIETA 2026 (CC BY 4.0)"),
        ("Nets.\n\nLibrary: R. Wightman, Image models, https://a.org; see\nthere.\n", "R. Wightman, Image models"),
        ("A net of 2016 by K. He.", "-"),
    ],
)
def test_the_source_in_short(docstring, short, monkeypatch):
    module = types.ModuleType("described", docstring)
    monkeypatch.setitem(sys.modules, "described", module)
    assert source(type("Net", (nn.Module,), {"__module__": "described"})()) == short
