"""`fer evaluate`: scores of a checkpoint on any data set; classes are matched by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fer_lightning.commands.finish import ending, finish_run, open_loggers, score_run
from fer_lightning.commands.instantiate import build_trainer, data_for, limit_threads, plain
from fer_lightning.data.attributes import read_attributes
from fer_lightning.data.corruptions import select_corruptions
from fer_lightning.data.samples import SPLITS
from fer_lightning.errors import printable, require_known
from fer_lightning.evaluation.cross_dataset import predict_shared
from fer_lightning.evaluation.scoring import Inference
from fer_lightning.inference.card import card_of
from fer_lightning.models.weighted_voting import TTA
from fer_lightning.results.fairness import score_by_group
from fer_lightning.results.metrics_schema import identity
from fer_lightning.results.prior import AS_TRAINED, PriorShift
from fer_lightning.results.run_record import describe_code
from fer_lightning.training.checkpoints import load_net
from fer_lightning.training.trainer_options import check_devices


def run(cfg: DictConfig) -> float:
    """Evaluates one checkpoint as configured.

    Returns:
        Its accuracy.
    """
    require_known("split", cfg.split, SPLITS)
    tta = "mirror" if cfg.flip else cfg.tta
    require_known("tta", tta, TTA)
    check_devices(cfg.trainer, multirun=HydraConfig.get().mode == RunMode.MULTIRUN)
    limit_threads(cfg)
    trained = load_net(Path(cfg.checkpoint))
    corruptions = select_corruptions(cfg.corruptions, trained.description["preprocessing"].get("side", "none"))
    datamodule = data_for(cfg, trained)
    attributes = None
    if groups := cfg.groups or (cfg.attributes and "all"):
        attributes = read_attributes(datamodule.samples, datamodule.ids(cfg.split).tolist(), groups, cfg.attributes)
    run = trained.record
    variant = dict(run.get("variant") or identity(run.get("overrides", ()))["variant"])
    if tta != "none":
        variant["tta"] = tta
    prior = AS_TRAINED
    if cfg.prior != "training":
        prior = PriorShift.of(plain(cfg)["prior"], card_of(trained, cfg.checkpoint))
        variant["prior"] = prior.name
    scored_net = {
        **run,
        "variant": variant,
        "model": type(trained.net).__name__,
        "protocol": datamodule.protocol.to_dict(),
    }
    loggers = open_loggers(cfg, scored_net, "evaluate")
    trainer = build_trainer(cfg, [], loggers)
    inference = Inference(trained.net, cfg.channels_last, tta, prior)
    shared = predict_shared(trainer, inference, datamodule, cfg.split, trained.classes)
    scored = score_run(
        trainer, inference, trained, datamodule, {cfg.split: shared}, cfg.elsewhere, corruptions, describe_code()
    )
    of_evaluation = {
        "variant": variant,
        **({"trained_seed": run["seed"]} if "seed" in run else {}),
        **({"track_test": True} if run.get("track_test") else {}),
        "trained_under": trained.description["protocol"],
        "checkpoint": printable(cfg.checkpoint),
        "left_out": shared.left_out,
        "never_right": list(shared.never_right),
    }
    if attributes is not None:
        of_evaluation["fairness"] = score_by_group(shared.table, attributes, shared.classes)
    record = replace(scored, metrics={**of_evaluation, **scored.metrics})
    if trainer.is_global_zero:
        with ending(loggers):
            finish_run(record, datamodule, Path(cfg.output_dir), loggers)
    return float(record.metrics["splits"][cfg.split]["accuracy"])
