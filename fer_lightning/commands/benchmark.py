"""`fer benchmark`: times prediction from frame to label, training and HAFEM's attention; compares samplers."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor, nn

from fer_lightning.benchmark import latency, output, peers, pipeline
from fer_lightning.commands.instantiate import (
    build,
    build_classifier,
    build_datamodule,
    build_net,
    build_trainer,
    check_parts,
    compose_net,
    limit_threads,
    one_picture,
    resolve_precision,
)
from fer_lightning.data.store import track
from fer_lightning.errors import UserError, require_known
from fer_lightning.evaluation import efficiency
from fer_lightning.files import write_csv
from fer_lightning.inference.predictor import Predictor
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import print_line
from fer_lightning.training.callbacks import SeedEveryBatch
from fer_lightning.training.checkpoints import load_net
from fer_lightning.training.classifier import ExpressionClassifier
from fer_lightning.training.trainer_options import check_devices

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PARTS = {  # what each measures, and its duration on two cores
    "pipeline": "prediction from frame to label, compared with other packages: a minute",
    "training": "fer train against a plain PyTorch loop; data loading against the network: two minutes",
    "throughput": "faces per second of a folder and a video, one by one and in batches: ten minutes",
    "latency": "HAFEM against its backbone without attention: a minute",
    "samplers": "comparison of samplers on problems with known optima: twenty minutes",
}
OPTIONS = {  # options that each part uses
    "part=pipeline": {"checkpoint", "plugins", "device", "rounds", "count", "backends", "int8", "frames", "threads"}
    | {"peers", "peer_python", "peer_node_modules"},
    "part=pipeline device=cuda": {"checkpoint", "plugins", "device", "rounds", "count", "model", "data", "num_classes"}
    | {"batch", "channels_last", "seed"},
    "part=training": {"training", "data", "model", "loss", "procedure", "augment", "optimizer", "scheduler", "trainer"}
    | {"mixing", "channels_last", "seed"},
    "part=throughput": {"throughput", "checkpoint", "plugins", "device", "backends"},
    "part=latency": {"latency"},
    "part=samplers": {"samplers"},
}
DEVICES = ("cpu", "cuda")
NUM_CLASSES = 7


def run(cfg: DictConfig) -> None:
    """Runs one benchmark, prints its results and writes its tables, records and figures; `part=list` lists them."""
    if cfg.part == "list":
        print("fer benchmark measures one part:")
        for name, description in PARTS.items():
            print(f"  fer benchmark part={name:<10}{description}")
        return
    require_known("part", cfg.part, PARTS)
    require_known("device", cfg.device, DEVICES)
    on_gpu = cfg.part == "pipeline" and cfg.device == "cuda"
    check_typed(cfg, f"part={cfg.part}{' device=cuda' if on_gpu else ''}")
    parts = {
        "training": time_training,
        "throughput": time_files,
        "latency": time_attention,
        "samplers": compare_samplers,
    }
    (time_on_gpu if on_gpu else parts.get(cfg.part, time_pipeline))(cfg)


def check_typed(cfg: DictConfig, choice: str) -> None:
    """Checks that every option on the command line has an effect with the choice, a key of `OPTIONS`.

    Raises:
        UserError: An option has no effect; the message names the part that uses it.
    """
    for name in _typed():
        if name not in OPTIONS[choice] | {"part", "output_dir"}:
            option = f"{cfg.part}.{name}"
            others = " and ".join(other for other, names in OPTIONS.items() if name in names)
            hint = f"use {option}" if OmegaConf.select(cfg, option) is not None else f"it belongs to {others}"
            raise UserError(f"{name} has no effect with {choice}: {hint}.")


def _typed() -> list[str]:
    """Config groups and top-level options on the command line."""
    return [re.split(r"[.=@/]", override.lstrip("+~"))[0] for override in HydraConfig.get().overrides.task]


def time_pipeline(cfg: DictConfig) -> None:
    """Times all programs from frame to label on the CPU; writes `benchmark.csv`, `.json` and `.png`."""
    console = Console()
    processor = efficiency.describe_hardware(torch.device("cpu"), "float32")["processor"]
    cores = os.cpu_count() or 1
    for threads in cfg.threads:
        if threads not in range(1, cores + 1):
            raise UserError(f"threads must be from 1 to {cores}, the cores of this machine; got {threads}.")
    if not cfg.threads or not cfg.backends:
        raise UserError("threads and backends must have at least one entry, for example threads=[1] backends=[torch].")
    python, modules = (Path(cfg[option]) if cfg[option] else None for option in ("peer_python", "peer_node_modules"))
    others, left_out = peers.peer_commands(cfg.peers, python, modules)
    frames = (
        pipeline.read_frames(Path(cfg.frames), cfg.count) if cfg.frames else list(pipeline.astronaut_frames(cfg.count))
    )
    tables: list[pd.DataFrame] = []
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as place:
        with console.status("Preparing the network"):
            net = pipeline.costs(cfg.checkpoint)
            ours = pipeline.own_commands(cfg.checkpoint, list(cfg.backends), cfg.int8, Path(place))
        files = pipeline.write_frames(frames, Path(place))
        for threads in cfg.threads:
            comparison = pipeline.run_comparison({**ours, **others}, files, threads, cfg.rounds, track)
            pipeline.require_labels(comparison, ours, cfg.frames)
            left_out |= comparison.left_out
            tables.append(pipeline.comparison_table(comparison, reference=next(iter(ours))).assign(threads=threads))
            title = f"{len(frames)} frame(s) in {cfg.rounds} rounds, {threads} thread(s) of {processor}"
            title = f"{pipeline.WIDTH} x {pipeline.HEIGHT}, {title}"
            console.print(output.whole_table(tables[-1], title))
            console.print(output.parts_table(tables[-1]))
            figure = f"benchmark_{threads}_threads" if figures else "benchmark"
            figures[figure] = output.draw_pipeline_benchmark(tables[-1], title)
    cost = "Parameters and FLOPs are reported for networks that PyTorch computes."
    if net is not None:
        cost = (
            f"The network has {net['parameters'] / 1e6:.2f} M parameters and {net['flops'] / 1e6:,.0f} MFLOPs (two per "
            f"multiply-add, {net['multiply_adds'] / 1e6:,.0f} M) per face."
        )
    for line in [cost, *(f"Left out: {who}: {reason}" for who, reason in left_out.items())]:
        print_line(console, line)
    shown = Path(cfg.frames).name if cfg.frames else "astronaut"
    facts = {"checkpoint": Path(cfg.checkpoint).name, "net": net, "frames": shown, "left_out": left_out}
    facts |= {"rounds": cfg.rounds, "count": cfg.count}
    table = pd.concat(tables, ignore_index=True)
    _print_files(output.write_benchmark(Path(cfg.output_dir), table, facts, torch.device("cpu"), figures))


def time_on_gpu(cfg: DictConfig) -> None:
    """Times a network on a GPU, `batch` images at a time; writes `benchmark.csv` and `benchmark.json`."""
    device = latency.find_gpu()
    if cfg.batch < 1:
        raise UserError(f"batch must be at least 1; got {cfg.batch}.")
    net, inputs = net_and_input(cfg)
    size = {"parameters": efficiency.parameters(net), "multiply_adds": efficiency.multiply_adds(net, inputs)}
    passes = track(range(cfg.rounds * cfg.count), "Timing")
    batch = [part.repeat_interleave(cfg.batch, dim=0) for part in inputs]
    times = latency.time_net(net, batch, device, passes)
    table = latency.summarise_times(times, ["precision"]).assign(peak_memory_mb=latency.peak_memory(device))
    table["fps"] *= cfg.batch
    console = Console()
    hardware = efficiency.describe_hardware(device, "float32")
    at_once = "one picture" if cfg.batch == 1 else f"{cfg.batch} pictures"
    title = f"{type(net).__name__}, {at_once} at a time, {hardware.get('gpu', hardware['processor'])}"
    console.print(output.speed_table(table, title))
    console.print(
        f"The network has {size['parameters'] / 1e6:.2f} M parameters and {size['multiply_adds'] / 1e6:,.0f} M "
        f"multiply-adds for an image of {' x '.join(map(str, inputs[0].shape[1:]))}.",
        markup=False,
    )
    facts = {"model": type(net).__name__, "net": size, "input": list(batch[0].shape)}
    facts |= {"rounds": cfg.rounds, "count": cfg.count}
    _print_files(output.write_benchmark(Path(cfg.output_dir), table, facts, device, {}))


def net_and_input(cfg: DictConfig) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Network with one image for it: the architecture of the command line, else the trained network.

    Raises:
        UserError: The network does not exist.
    """
    if "model" in _typed():
        return compose_net("benchmark", HydraConfig.get().overrides.task, cfg.num_classes)
    trained = load_net(Path(cfg.checkpoint))
    return trained.net, one_picture(trained.description["preprocessing"])


def time_training(cfg: DictConfig) -> None:
    """Times training with `fer train` and with a plain loop; writes `bench.csv`."""
    from fer_lightning.benchmark import training

    if cfg.data.side != "none" or getattr(get_class(cfg.loss._target_), "needs_features", False):
        raise UserError(
            "part=training needs a network and a loss without auxiliary inputs and features: use another model or loss."
        )
    if get_class(cfg.procedure._target_) is not ExpressionClassifier:
        raise UserError("part=training compares supervised training with a plain loop: use procedure=supervised.")
    check_parts(cfg)
    check_devices(cfg.trainer, multirun=False)
    limit_threads(cfg.training)
    datamodule = build_datamodule(cfg)
    precision = resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    layout = torch.channels_last if cfg.channels_last else torch.contiguous_format

    def net() -> nn.Module:
        return build_net(cfg, len(datamodule.label_set)).to(memory_format=layout)

    recipe = training.Recipe(
        datamodule,
        net=net,
        classifier=lambda: build_classifier(cfg, net(), datamodule),
        trainer=lambda clock: build_trainer(cfg, [SeedEveryBatch(cfg.seed), clock], []),
        optimizer=build(cfg.optimizer, fused=None),  # torch's default, as in plain scripts
        scheduler=build(cfg.scheduler),
        batches=cfg.training.batches,
        bf16=precision.startswith("bf16"),
        clip=cfg.trainer.gradient_clip_val,
        device=torch.device("cpu" if cfg.trainer.accelerator == "cpu" or not torch.cuda.is_available() else "cuda"),
        workers=cfg.training.workers,
    )
    rates = training.training_rates(recipe, cfg.training.rounds)
    write_csv(Path(cfg.output_dir) / "bench.csv", rates, index_label="round", float_format="%.1f")
    Console().print(output.rates_table(rates, precision))


def time_files(cfg: DictConfig) -> None:
    """Times predictions of a folder of pictures and of a video, one by one and in batches; writes `throughput.csv`."""
    options = cfg.throughput
    with tempfile.TemporaryDirectory() as place, ExitStack() as opened:
        predictors = {}
        for backend in cfg.backends:
            for size in options.batch_sizes:
                predictor = Predictor(
                    cfg.checkpoint,
                    backend,
                    thorough=False,
                    threads=options.threads,
                    batch_size=size,
                    device=cfg.device,
                )
                name = f"{backend}, {'one by one' if size == 1 else f'batches of {size}'}"
                predictors[name] = opened.enter_context(predictor)
        sources = pipeline.write_sources(options.pictures, options.frames, Path(place))
        pipeline.measure_throughput(predictors, pipeline.write_sources(1, 1, Path(place, "warm_up")), [0])
        rounds = track(range(options.rounds), "Timing")
        times = pipeline.measure_throughput(predictors, sources, rounds)
    write_csv(Path(cfg.output_dir) / "throughput.csv", times, index=False, float_format="%.4g")
    title = f"From file to label, median of {options.rounds} rounds, {options.threads} thread(s) of the network"
    Console().print(output.throughput_table(times, title))


def time_attention(cfg: DictConfig) -> None:
    """Times each network with and without its attention, by PyTorch and by ONNX Runtime; writes `latency.csv`."""
    nets, inputs, exported = {}, {}, {}
    with Console().status("Exporting the networks"), tempfile.TemporaryDirectory() as place:
        for name, options in cfg.latency.nets.items():
            for title, overrides in ((name, options), (output.without_attention(name), [*options, *cfg.latency.bare])):
                nets[title], inputs[title] = compose_net("benchmark", overrides, NUM_CLASSES)
                session = open_exported(nets[title], inputs[title], Path(place, "net.onnx"))
                run = partial(session.run, None, {"image": inputs[title][0].numpy()})
                exported[title.replace(name, f"{name} onnxruntime")] = run
    times = efficiency.latency(nets, inputs, track(range(cfg.latency.rounds), "Timing PyTorch"))
    rounds = track(range(cfg.latency.rounds), "Timing ONNX Runtime")
    times = times.join(efficiency.thread_milliseconds(exported, rounds))
    write_csv(Path(cfg.output_dir) / "latency.csv", times, index_label="round", float_format="%.6f")
    names = [*cfg.latency.nets, *(f"{name} onnxruntime" for name in cfg.latency.nets)]
    Console().print(output.latency_table(times, names))


def open_exported(net: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> InferenceSession:
    """Session of ONNX Runtime, with one thread, of a network without auxiliary input."""
    from fer_lightning.deploy.onnx import export_onnx  # no other part needs the packages of the export
    from fer_lightning.inference.onnx_classifier import open_session

    _, channels, size, _ = inputs[0].shape
    export_onnx(net.eval(), {"preprocessing": {"channels": channels, "image_size": size, "side": "none"}}, path)
    return open_session(path, threads=1)


def compare_samplers(cfg: DictConfig) -> None:
    """Runs every sampler on every problem with every seed; writes the measurements, regrets, ranks and their figures.

    `benchmark.csv` is updated after every study, and its studies are not repeated: a comparison that was stopped
    continues with the same `output_dir`. A sampler that is not installed is left out.
    """
    from fer_lightning.benchmark import samplers

    folder, options = Path(cfg.output_dir), cfg.samplers
    studies = samplers.plan_studies(
        options.names, options.problems, options.seeds, list(options.budgets), dict(options.most)
    )
    left_out = {name: reason for name in options.names if (reason := samplers.why_not(name))}
    studies = [study for study in studies if study.sampler not in left_out]
    if not studies:
        raise UserError(*left_out.values(), "No study is left: samplers.names needs a sampler that is installed.")
    progress = partial(track, work="Searching")
    workers = options.workers or os.cpu_count() or 1
    results = samplers.run_studies(studies, folder / "benchmark.csv", workers, progress)
    ranks, regrets = samplers.rank_samplers(results), samplers.median_regrets(results)
    write_csv(folder / "regrets.csv", regrets, float_format="%.3g")
    write_csv(folder / "ranks.csv", ranks, index=False, float_format="%.3g")
    save_figures(folder, {"ranks": output.draw_search_ranks(ranks), **output.draw_search_tests(regrets)})
    console = Console()
    console.print(output.rank_table(ranks, results["problem"].nunique(), options.seeds))
    for reason in left_out.values():
        print_line(console, f"Left out: {reason}")


def _print_files(files: list[Path]) -> None:
    print_line(Console(), f"Written: {', '.join(map(str, files))}")
