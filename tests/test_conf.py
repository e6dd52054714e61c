"""Every file in conf/ composes and builds what it names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path

import hydra
import optuna
import pytest
import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import nn

from fer_lightning.cli import COMMANDS
from fer_lightning.commands.instantiate import build, build_each, build_loss, build_net, build_trainer
from fer_lightning.commands.option_checks import check_options
from fer_lightning.data.auxiliary import SIDE_SIZES
from fer_lightning.data.batch_transforms import BatchTransforms
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir
from fer_lightning.training.classifier import ExpressionClassifier
from hydra_plugins.fer_sweeper.space import parse_space

GROUPS = (
    "data",
    "model",
    "loss",
    "procedure",
    "augment",
    "optimizer",
    "scheduler",
    "trainer",
    "logger",
    "callbacks",
    "experiment",
)
OVERLAYS = ("study", "ablation", "baseline")
CHOICES = [(group, path.stem) for group in (*GROUPS, *OVERLAYS) for path in sorted((conf_dir() / group).glob("*.yaml"))]


# A vote of finished runs, which are not here.
NEED_CHECKPOINTS = {
    ("model", "weighted_voting"),
    ("experiment", "weighted_voting"),
    ("experiment", "release_vote"),
    ("baseline", "weighted_voting"),
}
# Rows of a study that take its budget.
IN_STUDIES = {("baseline", "gan_based"), ("baseline", "weighted_voting")}
SEARCHES = {"psysfa_mboa", "hafem_bayes"}
OVER_FOLDS = {"psysfa_table5"}
OVER_LENGTHS = {"selection_optimism"}
# Experiments whose networks the ablations change.
ABLATED = {"psysfa": "psysfa_tuned", "hafem": "hafem_lite"}
NEEDS_GPU = {"gpu", "ddp", "slurm"}


def names(group: str) -> list[str]:
    return [name for found, name in CHOICES if found == group and (found, name) not in NEED_CHECKPOINTS]


@pytest.fixture(autouse=True)
def composer() -> Iterator[None]:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield
    HydraConfig.instance().cfg = None


def compose(*overrides: str, config: str = "train") -> DictConfig:
    cfg = hydra.compose(config, list(overrides), return_hydra_config=True)
    cfg.hydra.runtime.output_dir = "outputs/none"
    HydraConfig.instance().set_config(cfg)
    return cfg


def test_the_walk_sees_every_group():
    assert {group for group, _ in CHOICES} == {*GROUPS, *OVERLAYS}
    assert {path.name for path in conf_dir().iterdir() if path.is_dir()} == {*GROUPS, *OVERLAYS, "hydra"}


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.config])
def test_every_command_composes(command):
    cfg = compose(config=str(COMMANDS[command].config))
    del cfg.hydra
    assert OmegaConf.to_container(cfg, resolve=True)


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=lambda value: value)
def test_every_choice_composes_resolves_and_builds(group, name, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    # Hydra resolves the folder of a sweep before a run starts.
    beside = ["study=psysfa_table10", "hydra.sweep.dir=outputs/none"] if (group, name) in IN_STUDIES else []
    if (group, name) == ("experiment", "hafem"):
        beside = ["model.pretrained=none"]  # its weights lie on a hub
    if group == "loss":
        beside = ["model=resnet"]
    if group == "ablation":
        beside = [f"experiment={ABLATED[name.partition('_')[0]]}"]
    cfg = compose(*beside, f"{group}={name}")
    assert cfg.hydra.runtime.choices[group] == name
    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    assert OmegaConf.to_container(plain, resolve=True)
    if (group, name) not in NEED_CHECKPOINTS | IN_STUDIES:
        BUILT.get(group, lambda *_: None)(name, cfg)


def build_dataset(name: str, cfg: DictConfig) -> None:
    assert isinstance(build(cfg.data), ExpressionDataModule)


def build_whole_net(name: str, cfg: DictConfig) -> None:
    net = build_net(cfg, 7)
    size = (2, cfg.data.channels, cfg.data.image_size, cfg.data.image_size)
    side = [torch.zeros(2, SIDE_SIZES[cfg.model.side])] if "side" in cfg.model else []
    assert net.eval()(torch.zeros(size), *side).shape == (2, 7)


def build_some_net(name: str, cfg: DictConfig) -> None:
    assert isinstance(build_net(cfg, 7), nn.Module)


def build_ablated_net(name: str, cfg: DictConfig) -> None:
    build_some_net(name, cfg)
    net = name.partition("_")[0]
    changed = sum(value != full_net(net)[key] for key, value in plain_options(cfg).items())
    assert changed > 0 if name != f"{net}_full" else changed == 0
    assert changed <= 1 or name == "psysfa_no_mboa"  # which is about four options of three groups


def plain_options(cfg: DictConfig) -> dict[str, object]:
    return {str(key): value for key, value in OmegaConf.to_container(cfg, resolve=False).items() if key != "hydra"}


@cache
def full_net(net: str) -> dict[str, object]:
    return plain_options(compose(f"experiment={ABLATED[net]}", f"ablation={net}_full"))


def build_one_loss(name: str, cfg: DictConfig) -> None:
    net = build_net(cfg, 3)
    loss = build_loss(cfg, net, [3, 4, 5])
    features = [torch.zeros(2, net.embed_dim)] if getattr(loss, "needs_features", False) else []
    target = torch.full((2, 2, 3), 1 / 3) if name == "distillation" else torch.tensor([0, 2])
    assert float(loss(torch.zeros(2, 3), target, *features)) > 0


def build_procedure(name: str, cfg: DictConfig) -> None:
    assert issubclass(build(cfg.procedure).func, ExpressionClassifier)


def build_optimizer(name: str, cfg: DictConfig) -> None:
    assert isinstance(build(cfg.optimizer)([nn.Parameter(torch.zeros(2))]), torch.optim.Optimizer)


def build_scheduler(name: str, cfg: DictConfig) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1)
    assert name == "constant" if not cfg.scheduler else build(cfg.scheduler)(optimizer, 100, 10)


def build_augmentation(name: str, cfg: DictConfig) -> None:
    batched = name in ("light", "strong")
    assert isinstance(build(cfg.augment.transforms), BatchTransforms if batched else list)


def build_callback(name: str, cfg: DictConfig) -> None:
    assert len(build_each(cfg.callbacks)) == 1


def build_one_trainer(name: str, cfg: DictConfig) -> None:
    if name in NEEDS_GPU and not torch.cuda.is_available():
        return
    cfg.callbacks = {}
    trainer = build_trainer(cfg, [], [])
    assert trainer.world_size == (2 if name == "ddp_cpu" else 1) or name in NEEDS_GPU


BUILT = {
    "data": build_dataset,
    "model": build_whole_net,
    "baseline": build_some_net,
    "experiment": build_some_net,
    "ablation": build_ablated_net,
    "loss": build_one_loss,
    "procedure": build_procedure,
    "optimizer": build_optimizer,
    "scheduler": build_scheduler,
    "augment": build_augmentation,
    "callbacks": build_callback,
    "trainer": build_one_trainer,
}


SWEEPS = sorted((Path(__file__).parents[1] / "docs").glob("wandb_sweep*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_each_parameter_of_a_wandb_sweep_is_an_option_of_fer_train(path):
    """Its agent calls the command with one value of each."""
    sweep = yaml.safe_load(path.read_text())
    assert (sweep["command"][:2], sweep["command"][2:]) == (["fer", "train"], ["${args_no_hyphens}"])
    tried = {
        name: space.get("values") or [space[key] for key in ("value", "min", "max") if key in space]
        for name, space in sweep["parameters"].items()
    }
    assert all(tried.values())
    for values in zip(*(cycle(values) for values in tried.values()), range(max(map(len, tried.values())))):
        cfg = compose(*(f"{name}={value}" for name, value in zip(tried, values)))
        check_options(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]), "train")
        for name, value in zip(tried, values):
            found = cfg.hydra.runtime.choices.get(name, OmegaConf.select(cfg, name))
            assert str(found) == str(value), name
    monitor = compose(*(f"{name}={values[0]}" for name, values in tried.items())).selection
    assert sweep["metric"] == {"name": monitor.monitor, "goal": f"{monitor.mode}imize"}


@pytest.mark.parametrize("name", names("data"))
@pytest.mark.parametrize("command", ["evaluate", "show_data", "align"])
def test_datasets(name, command):
    assert isinstance(build(compose(f"data={name}", config=command).data), ExpressionDataModule)


@pytest.mark.parametrize("name", names("model"))
def test_small_images(name):
    build_whole_net(name, compose(f"model={name}", "data.image_size=32"))


@pytest.mark.parametrize(("group", "name"), sorted(NEED_CHECKPOINTS - IN_STUDIES))
def test_a_vote_needs_checkpoints(group, name):
    with pytest.raises(UserError, match=r"model\.checkpoints must name|checkpoint=outputs/release/\S+ does not exist"):
        build_net(compose(f"{group}={name}"), 7)


def test_slurm_takes_its_processes_from_srun(monkeypatch):
    """As task 3 of a job with two nodes and two tasks each sees it, but for the GPUs."""
    job = {"JOB_ID": 7, "JOB_NAME": "fer", "NTASKS": 4, "NTASKS_PER_NODE": 2, "NNODES": 2, "PROCID": 3, "LOCALID": 1}
    for name, value in {**job, "NODEID": 1, "NODELIST": "node[1-2]"}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    cfg = compose("trainer=slurm", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.num_nodes=2")
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # the trainer sets it for the whole process
    trainer = build_trainer(cfg, [], [])
    assert (trainer.world_size, trainer.global_rank, trainer.local_rank) == (4, 3, 1)
    assert cfg.hydra.run.dir == compose("trainer=slurm", config="evaluate").hydra.run.dir == "outputs/slurm_7"


def test_multirun_folders_are_plain_names():
    cfg = compose("data.root=/some/where", "seed=3", "hydra.job.num=5")
    assert "/" not in cfg.hydra.sweep.subdir


def test_no_path_of_a_machine():
    for path in Path(conf_dir()).rglob("*.yaml"):
        text = path.read_text()
        assert "/home/" not in text and "/tmp" not in text and "/Users/" not in text, path


def choices_of(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@pytest.mark.parametrize("name", choices_of("hydra/sweeper/sampler"))
def test_samplers(name):
    sampler = build(compose("hydra/sweeper=optuna", f"hydra/sweeper/sampler={name}").hydra.sweeper.sampler)
    assert isinstance(sampler, optuna.samplers.BaseSampler)


@pytest.mark.parametrize("name", choices_of("hydra/sweeper/pruner"))
def test_pruners(name):
    pruner = build(compose("hydra/sweeper=optuna", f"hydra/sweeper/pruner={name}").hydra.sweeper.pruner)
    assert isinstance(pruner, optuna.pruners.BasePruner)


def test_a_search_follows_the_selection_of_the_run():
    assert compose("hydra/sweeper=optuna").hydra.sweeper.direction == "max"
    assert compose("hydra/sweeper=optuna", "selection.mode=min").hydra.sweeper.direction == "min"


def test_the_storage_comes_from_the_environment(monkeypatch):
    assert compose("hydra/sweeper=optuna").hydra.sweeper.storage is None
    monkeypatch.setenv("FER_SWEEP_STORAGE", "postgresql://host/name")
    assert compose("hydra/sweeper=optuna").hydra.sweeper.storage == "postgresql://host/name"


@pytest.mark.parametrize("budget", ["smoke", "pilot", "paper"])
@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_searches_have_every_budget(name, budget):
    cfg = compose(f"study={name}", f"budget={budget}")
    assert cfg.hydra.mode == RunMode.MULTIRUN
    sampler = cfg.hydra.runtime.choices["hydra/sweeper/sampler"]
    assert cfg.hydra.sweep.dir == f"outputs/studies/{name}_synthetic_{budget}_{sampler}"
    assert cfg.hydra.sweeper.n_trials == cfg.budgets[budget].trials
    assert cfg.trainer.max_epochs == cfg.budgets[budget].epochs
    space = parse_space(
        OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in cfg.hydra.sweeper.params.items()])
    )
    for key in space.searched:
        OmegaConf.select(cfg, key, throw_on_missing=True)
        assert OmegaConf.select(cfg, key) is not None, key


@pytest.mark.parametrize(
    ("name", "budget"),
    [*zip(sorted(set(names("study")) - SEARCHES - OVER_FOLDS - OVER_LENGTHS), cycle(["smoke", "pilot", "paper"]))],
)
def test_grids_report_what_they_run(name, budget):
    """A budget decides epochs, images and seeds; each row of a report has runs, and each run a row and a folder."""
    cfg = compose(f"study={name}", f"budget={budget}")
    assert cfg.hydra.mode == RunMode.MULTIRUN and set(cfg.budgets) == {"smoke", "pilot", "paper"}
    chosen = cfg.budgets[budget]
    assert (cfg.trainer.max_epochs, cfg.trainer.limit_train_batches) == (chosen.epochs, chosen.images)
    assert next(iter(cfg.hydra.sweeper.params.items())) == ("seed", chosen.seeds)
    assert cfg.hydra.sweep.dir.startswith("outputs/studies/") and cfg.hydra.sweep.dir.endswith(f"_{budget}")
    (swept, choices), *_ = [pair for pair in cfg.hydra.sweeper.params.items() if pair[0] != "seed"]
    named = OmegaConf.to_container(cfg.hydra.sweep, resolve=False)["subdir"]
    assert named == f"${{hydra.runtime.choices.{swept}}}_seed${{seed}}"
    rows = [*cfg.report.get("rows", {}).values(), *cfg.report.get("own_rows", {}).values()]
    assert sorted(rows) == sorted(choices.split(","))


@pytest.mark.parametrize(("budget", "epochs", "images"), [("smoke", "3,2", 0.1), ("pilot", "20,8", 1.0)])
def test_the_optimism_of_a_selection_is_measured_at_several_lengths(budget, epochs, images):
    cfg = compose("study=selection_optimism", f"budget={budget}", "baseline=resnet", "seed=1")
    params = dict(cfg.hydra.sweeper.params)
    assert [*params] == ["seed", "baseline", "trainer.max_epochs"] and params["trainer.max_epochs"] == epochs
    assert sorted(params["baseline"].split(",")) == sorted(cfg.report.own_rows.values())
    assert cfg.track_test and cfg.trainer.limit_train_batches == images
    assert cfg.hydra.sweep.subdir == f"resnet_{cfg.trainer.max_epochs}epochs_seed1"
    assert cfg.hydra.sweep.dir == f"outputs/studies/selection_optimism_synthetic_{budget}"


def test_table_5_has_a_run_and_a_folder_for_each_fold():
    cfg = compose("study=psysfa_table5", "data.fold=3", "seed=0", "budget=pilot")
    assert dict(cfg.hydra.sweeper.params) == {"seed": "0", "data.fold": "range(0,10)", "ablation": "psysfa_full"}
    assert cfg.hydra.sweep.subdir == "fold3_seed0" and cfg.data.split == "subject_kfold"
    assert cfg.hydra.sweep.dir == "outputs/studies/psysfa_table5_ckplus_pilot"


def test_the_search_of_the_paper_is_its_table_2():
    sweeper = compose("study=psysfa_mboa", "budget=paper").hydra.sweeper
    space = parse_space(
        OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in sweeper.params.items()])
    ).searched
    assert {key: (found.low, found.high) for key, found in space.items()} == {
        "optimizer.lr": (1e-5, 1e-2),
        "data.batch_size": (8, 64),
        "model.dropout": (0.1, 0.5),
        "model.num_filters": (8, 32),
    }
    assert sweeper.n_trials == 20 + 60 * 2 * 20 and build(sweeper.sampler).population == 20
