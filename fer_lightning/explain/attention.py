"""Attention maps of the networks that have attention."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from fer_lightning.explain.gradcam import differentiable, ordinary
from fer_lightning.layers.cbam import CBAM
from fer_lightning.layers.transformer import MultiHeadAttention
from fer_lightning.models.attention_transformer import AttentionTransformer
from fer_lightning.models.dan import DAN
from fer_lightning.models.hafem import HAFEM
from fer_lightning.models.psysfa_net import PsySFANet
from fer_lightning.models.two_stage import TwoStage
from fer_lightning.models.vit import ViT


def attention_maps(net: nn.Module, image: Tensor) -> dict[str, np.ndarray]:
    """Attention maps of a network over the places of an image.

    Args:
        net: Network, which is not modified.
        image: Normalised images (B, C, H, W).

    Returns:
        Non-negative maps float32 (B, h, w) by name; empty for networks without such attention.

        - PsySFA-Net: for each source of the fusion, the attention to its cells, averaged over heads and queries. All
          sources of a face together sum to 1.
        - DAN: the spatial attention of each head.
        - HAFEM: the spatial attention of CBAM, and the attention to each cell in the last transformer block.
        - ViT, AttentionTransformer: the attention of the class token in the last block, averaged over heads.
        - TwoStage: the weight of each place.
    """
    with differentiable(net) as network, torch.no_grad():
        maps = _attention(network, ordinary(image))
        return {name: weights.float().cpu().numpy() for name, weights in maps.items()}


def _attention(net: nn.Module, image: Tensor) -> dict[str, Tensor]:
    if isinstance(net, PsySFANet):
        return _fusion(net, image)
    if isinstance(net, DAN):
        heads = net.spatial_attention(image).unbind(1)
        return {f"head {number}": head for number, head in enumerate(heads, start=1)}
    if isinstance(net, HAFEM):
        return _hafem(net, image)
    if isinstance(net, (ViT, AttentionTransformer)):
        prefix, rows, columns = net.gradcam_tokens
        attended = _weights(net, net.blocks[-1].get_submodule("attention"), image).mean(1)[:, 0, prefix:]
        return {"class token, last block": attended.unflatten(1, (rows, columns))}
    if isinstance(net, TwoStage):
        return {"places": net.patches.place_weights(net.cnn(image))[:, 0]}
    return {}


def _fusion(net: PsySFANet, image: Tensor) -> dict[str, Tensor]:
    if net.fusion is None:
        return {}
    attended = net.fusion_attention(image).mean((1, 2))
    cells = attended.unflatten(1, (len(net.blocks), net.fusion.grid, net.fusion.grid))
    return {f"{name} cells": weights for name, weights in zip(net.blocks, cells.unbind(1))}


def fusion_shares(net: PsySFANet, image: Tensor) -> np.ndarray:
    """Attention of each of the M sources of a network's fusion to each other, for normalised images (B, C, H, W).

    Returns:
        float32 (B, M, M): query, then key, in the order of `net.blocks`, averaged over heads and cells; every row sums
        to 1.
    """
    with differentiable(net) as network, torch.no_grad():
        weights = cast(PsySFANet, network).fusion_attention(ordinary(image)).mean(1)
        sources = len(net.blocks)
        apart = weights.unflatten(2, (sources, -1)).unflatten(1, (sources, -1))
        return apart.sum(4).mean(2).cpu().numpy()


def _hafem(net: HAFEM, image: Tensor) -> dict[str, Tensor]:
    maps = {}
    if isinstance(net.cbam, CBAM):
        (features,) = net.backbone(image)
        maps["CBAM"] = net.cbam.spatial.weights(net.cbam.channel(features))[:, 0]
    if len(net.transformer):
        attended = _weights(net, net.transformer[-2].get_submodule("attention"), image).mean((1, 2))
        maps["cells, last block"] = attended.unflatten(1, net.grid)
    return maps


def _weights(net: nn.Module, attention: nn.Module, image: Tensor) -> Tensor:
    """Weights (B, heads, T, T) of an attention module of a network."""
    inputs: list[Tensor] = []
    handle = attention.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    net(image)
    handle.remove()
    return cast(MultiHeadAttention, attention).weights(inputs[0])
