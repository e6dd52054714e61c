from __future__ import annotations

import json

from torch import nn

from fer_lightning.inference.card import portable, training_command
from fer_lightning.results.metrics_schema import identity
from fer_lightning.training.checkpoints import TrainedNet

OVERRIDES = [
    "data=fer2013",
    "data.root=/home/me/fer2013",
    "+data@elsewhere.ferplus=ferplus",
    "elsewhere.ferplus.root=/home/me/fer2013",
    "data.cache_dir=/home/me/cache",
    "hydra.run.dir=/home/me/out",
    "init=/home/me/runs/teacher",
    "model.checkpoints=[/home/me/a,/home/me/b]",
    "optimizer.lr=0.001",
    "seed=3",
]


def test_no_place_of_the_machine_travels():
    data = {"_target_": "Data", "root": "/home/me/fer2013", "cache_dir": "/home/me/cache", "image_size": 48}
    trained = TrainedNet(nn.Identity(), ("a", "b"), 3, {"data": data, "classes": ["a", "b"]})
    moved = portable(trained, {"overrides": OVERRIDES, "seed": 3, **identity(OVERRIDES)})
    assert "/home" not in json.dumps([moved.description, moved.record])
    assert moved.description["data"] == {"_target_": "Data", "image_size": 48}
    assert moved.record["overrides"] == [
        "data=fer2013",
        "+data@elsewhere.ferplus=ferplus",
        "init=teacher",
        "model.checkpoints=[a,b]",
        "optimizer.lr=0.001",
        "seed=3",
    ]
    assert moved.record["variant"] == {"init": "teacher", "model.checkpoints": "[a,b]", "optimizer.lr": "0.001"}
    assert trained.description["data"] is data


def test_the_command_can_be_typed():
    assert training_command({"overrides": ["data=fer2013", "callbacks=[]"], "seed": 2}) == (
        "fer train data=fer2013 'callbacks=[]' seed=2"
    )
    assert training_command({"overrides": ["seed=1"], "seed": 1}) == "fer train seed=1"
    assert training_command({}) is None
