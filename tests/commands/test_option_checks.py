from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

from fer_lightning.cli import COMMANDS
from fer_lightning.commands.option_checks import check_names, check_options, check_target, require_inputs
from fer_lightning.commands.stored_config import data_of
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.training.safetensors_weights import WEIGHTS, find_checkpoint

# Runs each command line of the first argument in one interpreter; prints what each said, and what was imported.
RUN_EACH = """
HEAVY = ("torch", "timm", "mediapipe", "pytorch_lightning", "pandas")
import contextlib, io, json, sys
from fer_lightning.cli import main
answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv, said = ["fer", *arguments], io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        main()
    answers.append(said.getvalue())
print(json.dumps([answers, [name for name in HEAVY if name in sys.modules]]))
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
    "export checkpoint=fer2013 format=[onnx,int8]": "format=int8 needs training images for its calibration",
    "explain": "checkpoint=... is missing",
    "explain checkpoint=nowhere": "checkpoint=nowhere does not exist",
    "explain checkpoint=fer2013": "No FER2013 was found at data.root=data/fer2013",
    "explain checkpoint=fer2013 image=nowhere.png": "nowhere.png does not exist",
    "explain checkpoint=fer2013 image=.": ". is not a file",
    "train init=nowhere": "init=nowhere does not exist",
    "train data=fer2013": "No FER2013 was found at data.root=data/fer2013",
    "train data=rafdb model.widht=3": "Unknown option 'model.widht': did you mean",
    "train optimiser.lr=1": "Unknown option 'optimiser.lr': did you mean optimizer.lr?",
    "train study=psysfa_table6 data=fer2013": "No FER2013 was found at data.root=data/fer2013",
    "train -m seed=0,1 data=rafdb": "No RAF-DB was found at data.root=data/rafdb",
    f"evaluate checkpoint={'x' * 5000}": "does not exist",
}
if sys.platform == "linux" and not any([*Path("/dev").glob(f"{name}*")] for name in ("nv", "kfd", "dxg")):
    MISSING["train trainer=ddp"] = "trainer.accelerator=gpu needs a GPU, and /dev has none: use trainer=cpu"


def compose(config: str, *overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose(config, list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        del cfg["hydra"]
        if "output_dir" in cfg:
            cfg.output_dir = "outputs/none"
    return cfg


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.config])
def test_the_defaults_of_every_command_fit(command):
    config = str(COMMANDS[command].config)
    check_options(compose(config), config)


CHOICES = [f"{path.parent.name}={path.stem}" for path in sorted(Path(conf_dir()).glob("[a-z]*/*.yaml"))]


@pytest.mark.slow
@pytest.mark.parametrize("choice", [each for each in CHOICES if not each.startswith(("baseline=", "hydra"))])
def test_every_choice_fits(choice, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    of_its_net = ["experiment=hafem_lite"] if choice.startswith("ablation=hafem") else []
    check_options(compose("train", *of_its_net, choice), "train")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed=null", "seed must be a whole number; got null."),
        ("seed=20261127123456", "seed must be from 0 to 4294967295; got 20261127123456."),
        ("data.batch_size=16.5", "data.batch_size must be a whole number; got 16.5."),
        ("optimizer.lr=abc", "optimizer.lr must be a number; got 'abc'."),
        ("optimizer.lr=nan", "optimizer.lr must be a number; got nan."),
        ("optimizer.lr=[0.5]", "optimizer.lr must be a number; got the list [0.5]."),
        ("optimizer.lr=-1", "optimizer.lr must be at least 0; got -1."),
        ("data.val_fraction=10%", "data.val_fraction must be a number; got '10%'."),
        ("data.mean=0.5", "data.mean must be a list of numbers; got 0.5."),
        ("data.image_size=[48,48]", "data.image_size must be a whole number; got the list [48, 48]."),
        ("trainer.max_epochs=1.5", "trainer.max_epochs must be a whole number or null; got 1.5."),
        ("model.dropout=2", "model.dropout must be from 0 to 1; got 2."),
        ("mixing.probability=2", "mixing.probability must be from 0 to 1; got 2."),
        ("channels_last=yes", "channels_last must be true or false; got 'yes'."),
        ("threads=abc", "threads must be a whole number or null; got 'abc'."),
        ("data.root=5", "data.root must be a path; got 5."),
        ("data.root=''", "data.root must be a path; got an empty value (is the variable set?)"),
        (
            "+optimizer.wieght_decay=1",
            "optimizer.wieght_decay is unknown to AdamW: did you mean optimizer.weight_decay?",
        ),
        ("+optimizer.betas=[0.9]", "optimizer.betas must be a list of"),
    ],
)
def test_the_sentence_names_the_option_and_what_it_takes(override, sentence):
    with pytest.raises(UserError) as refused:
        check_options(compose("train", override), "train")
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("config", "options", "sentence"),
    [
        ("train", ["+newgroup.x=1"], "Unknown option 'newgroup': nothing reads it"),
        ("train", ["+optimiser.lr=1"], "Unknown option 'optimiser': did you mean optimizer?"),
        ("train", ["+experimnt=psysfa"], "Unknown option 'experimnt': did you mean experiment?"),
        ("train", ["+data@elswhere.ferplus=ferplus"], "Unknown option 'elswhere': did you mean elsewhere?"),
        ("train", ["+selection.mod=max"], "Unknown option 'selection.mod': did you mean selection.mode?"),
        ("train", ["augment=hafem", "+augment.p_blurr=1"], "Unknown option 'augment.p_blurr': did you mean augment.p_"),
        ("train", ["+callbacks.ema.decay=0.9"], "Unknown option 'callbacks.ema': nothing reads it"),
        ("train", ["scheduler=constant", "+scheduler.warmup=1"], "Unknown option 'scheduler.warmup': "),
        ("evaluate", ["+dat.batch_size=8"], "Unknown option 'dat': did you mean data?"),
        ("benchmark", ["+latency.round=3"], "Unknown option 'latency.round': did you mean latency.rounds?"),
        ("predict", ["+sorce=photo.jpg"], "Unknown option 'sorce': did you mean source?"),
    ],
)
def test_what_nothing_reads_is_refused(config, options, sentence):
    with pytest.raises(UserError) as refused:
        check_names(compose(config, *options), config)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("train", ["+width=8", "model=resnet", "model.widths=[${width},8,8,8]"]),
        ("train", ["+mine.deep.width=8", "model=resnet", "model.widths=[8,8,8,'${mine.deep.width}']"]),
        ("train", ["+callbacks.mine._target_=package.Mine"]),
        ("train", ["+data@elsewhere.again=ferplus", "+trainer.max_steps=4"]),
        ("train", ["study=psysfa_table6"]),
        ("evaluate", ["+data.batch_size=8"]),
        ("benchmark", ["+latency.nets.small=['model.width=8']"]),
    ],
)
def test_names_that_are_free_or_referred_to_are_not(config, options):
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        check_names(hydra.compose(config, options, return_hydra_config=True), config)


SEARCH = ["hydra/sweeper=optuna", "hydra.sweep.dir=none"]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("n_trials=abc", "n_trials must be a whole number; got 'abc'."),
        ("n_trials=-1", "n_trials must be at least 1; got -1."),
        ("n_trials=2.5", "n_trials must be a whole number; got 2.5."),
        ("n_trials=true", "n_trials must be a whole number; got true."),
        ("n_trials=null", "n_trials must be a whole number; got null."),
        ("population=1", "population must be at least 2; got 1."),
        ("population=many", "population must be a whole number or one of 'auto'; got 'many'."),
        ("seed=-1", "seed must be from 0 to 4294967295; got -1."),
        ("direction=up", "direction must be one of 'min', 'max'; got 'up'."),
        ("direction=null", "direction must be one of 'min', 'max'; got null."),
        ("lease=long", "lease must be a number; got 'long'."),
        ("lease=0", "lease must be at least 1; got 0."),
        ("lease=nan", "lease must be a number; got nan."),
        ("max_failures=0", "max_failures must be at least 1; got 0."),
        ("storage=5", "storage must be a path; got 5."),
        ("study_name=[a]", "study_name must be text or null; got the list ['a']."),
        ("params=5", "params must be a group of options or null; got 5."),
        ("sampler.num_prey=few", "sampler.num_prey must be a whole number; got 'few'."),
        ("sampler=null", "sampler must be a group of options; got null."),
        ("+n_jobs=2", "n_jobs is unknown to SearchSweeper."),
        ("+sampler.num_pray=2", "sampler.num_pray is unknown to MBOASampler: did you mean hydra.sweeper.sampler."),
    ],
)
def test_the_options_of_a_search_have_kinds_too(option, sentence):
    plus = "+" * option.startswith("+")
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        override = f"{plus}hydra.sweeper.{option.removeprefix('+')}"
        cfg = hydra.compose("train", [*SEARCH, override], return_hydra_config=True)
        cfg = OmegaConf.masked_copy(cfg, ["hydra", "selection", "trainer"])
        options = OmegaConf.to_container(cfg.hydra.sweeper, resolve=True)
    with pytest.raises(UserError) as refused:
        check_target(options, "hydra.sweeper")
    assert str(refused.value).startswith(f"hydra.sweeper.{sentence}")


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
    with pytest.raises(UserError, match="does not exist: use the folder of a finished run"):
        find_checkpoint(tmp_path / name)
