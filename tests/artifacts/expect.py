"""Run in the folder of the artifacts, with the version that wrote them: python expect.py > expected.json"""

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
from fer_lightning.data.class_folders import read_class_folders
from fer_lightning.deploy.classifier import open_classifier
from fer_lightning.evaluation.collect import collect_runs
from fer_lightning.training.record import RunRecord

from fer_lightning.data.store import PackedImages

NETS = ("run", "run/checkpoints/best.ckpt", "net.safetensors", "net_half.safetensors", "net.onnx", "net_int8.onnx")
tiny, search = (shlex.split(text) for text in sys.argv[1:])
(images,) = Path("cache").glob("*/images.npy")
record = RunRecord.read(Path("run"))
tree = read_class_folders(Path("faces"), ("test", "train", "val"), {n: n for n in ("happy", "sad", "surprise")})
paths = list(tree.frame["path"])
store = PackedImages(images.parent).batch(np.arange(len(paths)))
probabilities = {}
for name in NETS:
    classifier = open_classifier(name, "auto", None)
    probabilities[name] = classifier.probabilities(store[:8]).round(6).tolist()
copy = Path("copy")
copy.mkdir()
for name in ("search", "faces", "cache"):
    shutil.copytree(name, copy / name)
command = ["-m", *tiny, *search]
subprocess.run(
    [sys.executable, "-m", "fer_lightning", "train", *command, "hydra.sweeper.n_trials=5"],
    cwd=copy,
    check=True,
    stdout=sys.stderr,
)
trials = optuna.load_study(study_name="search", storage="sqlite:///copy/search/study.db").trials
runs = collect_runs(Path("study")).query("split == 'test'")
expected = {
    "classes": list(record.metrics["protocol"]["classes"]),
    "temperature": record.metrics["calibration"]["temperature"],
    "accuracy": {split: scores["accuracy"] for split, scores in record.metrics["splits"].items()},
    "val/loss": record.history["val/loss"].tolist(),
    "probabilities": probabilities,
    "store": {"images": len(paths), "paths": paths, "sha256": hashlib.sha256(store.tobytes()).hexdigest()},
    "search": {"command": command, "params": [t.params for t in trials], "values": [t.value for t in trials]},
    "study": runs["accuracy"].tolist(),
}
shutil.rmtree(copy)
print(json.dumps(expected, indent=1))
