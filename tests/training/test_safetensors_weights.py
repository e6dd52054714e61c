from __future__ import annotations

import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from fer_lightning.errors import UserError
from fer_lightning.training.safetensors_weights import StoredNet, read_safetensors, write_safetensors

DESCRIPTION = {"model": {}, "classes": ["a", "b"], "protocol": {}, "preprocessing": {}, "data": {}}
KERNEL = torch.linspace(-3, 3, 12).reshape(3, 4)
STORED = StoredNet(
    {"kernel": KERNEL, "view": KERNEL.T, "bias": torch.tensor([0.1, 1e6]), "count": torch.tensor(7)},
    DESCRIPTION,
    5,
    {"seed": 1},
)


def test_all_comes_back(tmp_path):
    path = tmp_path / "net.safetensors"
    write_safetensors(STORED, path, half=False)
    back = read_safetensors(path)
    assert (back.description, back.epoch, back.record) == (DESCRIPTION, 5, {"seed": 1})
    assert back.weights.keys() == STORED.weights.keys()
    for name, value in STORED.weights.items():
        assert torch.equal(back.weights[name], value) and back.weights[name].dtype == value.dtype


def test_half_rounds_matrices_alone(tmp_path):
    path = tmp_path / "net.safetensors"
    write_safetensors(STORED, path, half=True)
    weights = load_file(path)
    assert weights["kernel"].dtype == torch.float16 and torch.equal(weights["kernel"], KERNEL.half())
    assert torch.equal(weights["bias"], STORED.weights["bias"])
    assert weights["count"].dtype == torch.int64


def test_a_weight_too_large_for_16_bits(tmp_path):
    stored = StoredNet({"kernel": torch.full((2, 2), 1e6)}, DESCRIPTION, 1, {})
    with pytest.raises(UserError, match=r"got 1e\+06 in kernel: omit half"):
        write_safetensors(stored, tmp_path / "net.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def test_others_may_read_it(tmp_path):
    write_safetensors(STORED, tmp_path / "net.safetensors", half=False)
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def spoilt(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "spoil", [spoilt, lambda content: b"", lambda content: b"no such format", lambda content: b"\xff" * len(content)]
)
def test_broken_files(tmp_path, spoil):
    path = tmp_path / "net.safetensors"
    write_safetensors(STORED, path, half=False)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match="is damaged, or was not written by fer export"):
        read_safetensors(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"description": "{", "epoch": "1", "record": "{}"},
    ],
)
def test_foreign_files(tmp_path, metadata):
    save_file({"kernel": KERNEL}, tmp_path / "net.safetensors", metadata)
    with pytest.raises(UserError, match="was not written by fer export"):
        read_safetensors(tmp_path / "net.safetensors")
