from __future__ import annotations

import json
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from fer_lightning.errors import UserError
from fer_lightning.inputs import require_inputs
from fer_lightning.commands.stored_config import data_of
from fer_lightning.training.checkpoint_files import WEIGHTS, find_checkpoint

# Runs each command line of the first argument in one interpreter; prints what each said, and what was imported.
RUN_EACH = """
import contextlib, io, json, sys
from fer_lightning.cli import main
answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv, said = ["fer", *arguments], io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        main()
    answers.append(said.getvalue())
print(json.dumps([answers, [name for name in ("torch", "pytorch_lightning", "pandas") if name in sys.modules]]))
"""
MISSING = {
    "predict": "source=... is missing: give a picture",
    "predict source=nowhere.jpg": "source=nowhere.jpg does not exist",
    "predict source=. checkpoint=nowhere": "checkpoint=nowhere does not exist",
    "predict source=. checkpoint=null": "checkpoint=... is missing",
    "evaluate": "checkpoint=... is missing",
    "evaluate checkpoint=nowhere.ckpt": "checkpoint=nowhere.ckpt does not exist",
    "evaluate checkpoint=fer2013": "No FER2013 was found at data.root=data/fer2013: nothing is there.",
    "evaluate checkpoint=ferplus data.root=gone": "No FERPlus was found at data.root=gone: nothing is there.",
    "evaluate checkpoint=fer2013 data=rafdb": "No RAF-DB was found at data.root=data/rafdb",
    "evaluate checkpoint=run": "No FER2013 was found at data.root=gone/faces: nothing is there.",
    "evaluate checkpoint=run/checkpoints/best.ckpt": "No FER2013 was found at data.root=gone/faces: nothing is there.",
    "evaluate checkpoint=unfinished": "checkpoint=unfinished/checkpoints/best.ckpt does not exist",
    "evaluate checkpoint=~nobody_of_this_name/a.ckpt": "checkpoint=~nobody_of_this_name/a.ckpt does not exist",
    "export": "checkpoint=... is missing",
    "export checkpoint=nowhere": "checkpoint=nowhere does not exist",
    "export checkpoint=fer2013 data.root=gone": "No FER2013 was found at data.root=gone",
    "export checkpoint=fer2013 format=[onnx,int8]": "format=int8 finds its ranges on training images",
    "explain": "checkpoint=... is missing",
    "explain checkpoint=nowhere": "checkpoint=nowhere does not exist",
    "explain checkpoint=fer2013": "No FER2013 was found at data.root=data/fer2013",
    "explain checkpoint=fer2013 image=nowhere.png": "nowhere.png does not exist",
    "explain checkpoint=fer2013 image=.": ". is not a file",
    "train init=nowhere": "init=nowhere does not exist",
    f"evaluate checkpoint={'x' * 5000}": "does not exist",
}


def test_what_is_missing_is_said_before_torch_is_imported(trained_run, tmp_path, monkeypatch):
    for name, files in {"run": ("checkpoints/best.ckpt",), "unfinished": ()}.items():
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        for file in files:
            (tmp_path / name / file).write_bytes(b"")
    config = (trained_run / "config.yaml").read_text().replace("data.folder.Folder", "data.fer2013.FER2013")
    lines = ["  root: gone/faces" if line.startswith("  root: ") else line for line in config.splitlines()]
    (tmp_path / "run" / "config.yaml").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    for name in ("FER2013", "FERPLUS", "RAFDB"):
        monkeypatch.delenv(f"FER_{name}_ROOT", raising=False)
    commands = json.dumps([line.split() for line in MISSING])
    done = subprocess.run([sys.executable, "-c", RUN_EACH, commands], capture_output=True, text=True, timeout=300)
    answers, imported = json.loads(done.stdout)
    assert not imported
    for (line, sentence), answer in zip(MISSING.items(), answers, strict=True):
        assert answer.startswith(f"fer {line.split()[0]}: ") and sentence in answer, line
        assert "Traceback" not in answer
    assert {path.name for path in tmp_path.iterdir()} == {"run", "unfinished"}  # no folder of a failed start


def test_a_run_that_goes_on_needs_its_first_weights_no_more(tmp_path):
    cfg = OmegaConf.create({"init": str(tmp_path / "gone"), "output_dir": str(tmp_path)})
    with pytest.raises(UserError, match=r"init=\S+gone does not exist"):
        require_inputs(cfg, "train")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"")
    require_inputs(cfg, "train")


def test_the_data_of_a_network_is_known_from_its_files(trained_run, tiny_folder, tmp_path):
    folder = ("fer_lightning.data.folder.Folder", str(tiny_folder))
    assert data_of(trained_run) == data_of(trained_run / "checkpoints" / "best.ckpt") == folder
    target, root = data_of(WEIGHTS / "fer2013.safetensors")
    assert target == "fer_lightning.data.fer2013.FER2013" and root is not None
    for content in (b"", b"{}", (WEIGHTS / "fer2013.safetensors").read_bytes()[:5000]):
        (tmp_path / "damaged.safetensors").write_bytes(content)
        assert data_of(tmp_path / "damaged.safetensors") == ("", None)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for text in ("", "[]", "data: 5", "data: {_target_: 7}"):
        (tmp_path / "run" / "config.yaml").write_text(text)
        assert data_of(tmp_path / "run") == ("", None)


@pytest.mark.parametrize("name", ["nothing.ckpt", "x" * 5000, "a\0b", "~nobody_of_this_name/a"])
def test_any_name_that_is_not_there_gets_the_sentence(name, tmp_path):
    with pytest.raises(UserError, match="does not exist: give the folder of a finished run"):
        find_checkpoint(tmp_path / name)
