"""Files of weights for the tests: some that do not fill a tiny backbone, and some that do."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import safetensors.torch
import timm
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from safetensors.torch import save_file
from torch import Tensor, nn

BACKBONE, SIZE = "test_resnet", 32
State = dict[str, Tensor]


def whole(name: str = BACKBONE, seed: int = 0) -> nn.Module:
    """Return a network with its classifier, no two tensors of which are alike."""
    generator = torch.Generator().manual_seed(seed)
    network = timm.create_model(name)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.1 + 0.05)
        else:
            value.fill_(7)
    return network


class Called:
    """Something whose unpickling would leave a trace."""

    trace = "unpickled"

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.trace,))


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def changed(state: State, key: str, change: Callable[[Tensor], Tensor]) -> State:
    return {**state, key: change(state[key].clone())}


def with_value(value: float) -> Callable[[Tensor], Tensor]:
    def put(tensor: Tensor) -> Tensor:
        tensor.view(-1)[-1] = value
        return tensor

    return put


def deeper(state: State) -> State:
    """Add a block, as the file of the next deeper architecture has it."""
    block = {key: value.clone() for key, value in state.items() if "layer4.0" in key}
    more = {key.replace("layer4.0", "layer4.1"): value for key, value in block.items()}
    return {**state, **more}


def useless() -> dict[str, Any]:
    """Return, by the name of its file, what does not fill the backbone: bytes, or what is to be saved."""
    network = whole()
    state: State = network.state_dict()
    keys = list(state)
    half = len(keys) // 2
    weight, var = "layer4.0.conv2.weight", "layer4.0.downsample.2.running_var"
    page = b"<!DOCTYPE html><html><body>You are not logged in.</body></html>"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1530912\n"
    return {
        # names
        "unknown-prefix.pth": prefixed(state, "foo."),
        "no-dot.safetensors": prefixed(state, "resnet_"),
        "moco.pth": {
            "state_dict": {
                **prefixed(state, "module.encoder_q."),
                **prefixed(whole(seed=1).state_dict(), "module.encoder_k."),
            }
        },
        "student-teacher.pth": {"student": prefixed(state, "module."), "teacher": state},
        "two-networks.pth": {"model": state, "net": whole(seed=1).state_dict()},
        "bad-average.pth": {
            "state_dict": state,
            "state_dict_ema": changed(state, weight, with_value(float("nan"))),
        },
        "upper-case.pth": {key.upper(): value for key, value in state.items()},
        # parts, and other networks
        "first-half.pth": {key: state[key] for key in keys[:half]},
        "second-half.safetensors": {key: state[key] for key in keys[half:]},
        "one-missing.pth": {key: value for key, value in state.items() if key != weight},
        "classifier-only.pth": {key: state[key] for key in keys if key.startswith("fc.")},
        "deeper.safetensors": deeper(state),
        "shallower.pth": {key: value for key, value in state.items() if not key.startswith("layer4.")},
        "other-backbone.safetensors": whole("test_efficientnet").state_dict(),
        "optimizer.pth": {"optimizer": torch.optim.Adam(network.parameters()).state_dict()},
        "wheel-layout.pth": {"_conv_stem.weight": state[weight], "_blocks.0._bn1.weight": state[weight]},
        # shapes
        "narrower.pth": {
            key: value[: len(value) // 2] if value.ndim else value for key, value in state.items()
        },
        "other-kernel.pth": changed(state, weight, lambda tensor: tensor[..., :2, :2]),
        "flat.pth": {key: value.reshape(-1) for key, value in state.items()},
        # values
        "nan.safetensors": changed(state, weight, with_value(float("nan"))),
        "inf.pth": changed(state, "conv1.0.weight", with_value(float("inf"))),
        "inf-in-buffer.pth": changed(state, var, with_value(-float("inf"))),
        "overflow.pth": changed(state, weight, lambda tensor: with_value(1e300)(tensor.double())),
        "negative-variance.pth": changed(state, var, lambda tensor: -1 - tensor),
        "integers.safetensors": {key: (value * 100).to(torch.int32) for key, value in state.items()},
        "bytes.pth": changed(state, weight, lambda tensor: (tensor * 255).to(torch.uint8)),
        "complex.pth": changed(state, weight, lambda tensor: tensor.to(torch.complex64)),
        "numbers.pth": dict.fromkeys(keys, 1.0),
        "without-data.pth": {key: value.to("meta") for key, value in state.items()},
        # no dictionaries of tensors
        "list.pth": list(state.values()),
        "tensor.pth": state[weight],
        "text.pth": "the weights",
        "empty-dict.pth": {},
        "empty-entry.pth": {"state_dict": {}, "epoch": 3},
        "no-tensors.safetensors": b"\x02\0\0\0\0\0\0\0{}",
        "whole-object.pth": network,
        "code.pth": {"state_dict": state, "callback": Called()},
        # no weights files
        "empty.pth": b"",
        "empty.safetensors": b"",
        "page.pth": page,
        "page.safetensors": page,
        "pointer.bin": pointer,
        "config.pth": json.dumps({"architecture": BACKBONE}).encode(),
        "array.pth": np.arange(7).tobytes(),
    }


def damaged(folder: Path) -> list[Path]:
    """Write weights files that are cut off."""
    files = []
    for ending in ("pth", "safetensors"):
        path = folder / f"cut-off.{ending}"
        save(path, whole().state_dict())
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        files.append(path)
    return files


def wrapped(folder: Path) -> dict[str, Any]:
    """Return, by the name of its file, the weights of `whole` as they are commonly found."""
    network, other = whole(), whole(seed=1)
    state, old = network.state_dict(), other.state_dict()
    head = {"head.0.weight": torch.rand(8, 256), "head.0.bias": torch.rand(8)}
    bare = {key: value for key, value in state.items() if not key.startswith("fc.")}
    parallel = nn.DataParallel(network)
    timms_own = {
        "epoch": 7,
        "arch": BACKBONE,
        "state_dict": old,
        "optimizer": torch.optim.Adam(network.parameters()).state_dict(),
        "version": 2,
        "args": argparse.Namespace(model=BACKBONE, lr=0.1),
        "state_dict_ema": state,
        "metric": 77.1,
    }
    return {
        "plain.pth": state,
        "plain.safetensors": state,
        "pytorch_model.bin": state,
        "renamed.bin": safetensors.torch.save(state),
        "backbone-only.safetensors": bare,
        "state_dict.pth": {"state_dict": state, "epoch": 3},
        "model.pth.tar": {"model": state, "optimizer": {"state": {0: {"exp_avg": torch.rand(3)}}}},
        "model_ema.pth": {"model": old, "model_ema": state},
        "timm.pth.tar": timms_own,
        "parallel.pth": {"state_dict": parallel.state_dict()},
        "compiled.pth": prefixed(state, "_orig_mod."),
        "compiled-parallel.safetensors": prefixed(state, "module._orig_mod."),
        "our-model.safetensors": {**prefixed(bare, "backbone."), **head},
        "lightning.ckpt": lightning_checkpoint(folder, network),
        "half.pth": {
            key: value.half() if value.is_floating_point() else value for key, value in state.items()
        },
        "double.pth": {key: value.double() for key, value in state.items()},
        "no-counters.pth": {key: value for key, value in state.items() if "num_batches" not in key},
        "other-classes.pth": {**state, "fc.weight": torch.rand(37, 256), "fc.bias": torch.rand(37)},
    }


def lightning_checkpoint(folder: Path, network: nn.Module) -> Any:
    """Return what Lightning saves of a module that holds the network beside its loss."""

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = network
            self.criterion = nn.CrossEntropyLoss(weight=torch.ones(2))

    quiet = {"logger": False, "enable_checkpointing": False, "default_root_dir": folder}
    trainer = pl.Trainer(accelerator="cpu", plugins=[LightningEnvironment()], **quiet)  # Slurm or not
    trainer.strategy.connect(Module())
    trainer.save_checkpoint(folder / "lightning")
    return torch.load(folder / "lightning", weights_only=True)


def save(path: Path, content: Any) -> Path:
    """Write one of the files."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    return path
