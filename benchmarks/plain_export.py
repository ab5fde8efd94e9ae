"""Rate a model folder's reference objects where there is no mergerexp, MLflow or Lightning.

    python benchmarks/plain_export.py MODEL_FOLDER [MODEL_FOLDER ...]

This needs timm, torch, onnxruntime, Pillow, pandas and pyarrow alone. Each fold's backbone is loaded as timm
loads it, its head by the recipe of the model card, and its ONNX file by onnxruntime, where there is one. Both
rate the prepared stamps in batches of 1, 3 and 32, and the logits are compared with those of the study. Where
the references have JPEG files, timm's own transform decodes these too.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

BATCHES = (1, 3, 32)
ABSENT = ("mergerexp", "mlflow", "pytorch_lightning", "lightning", "hydra")


def stamps_of(rows: pd.DataFrame) -> np.ndarray:
    """Return the stamps of references that were kept as PNG, uint8, shape (n, size, size, 3)."""
    return np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in rows["image"]])


def in_batches(rate: Any, images: Any, batch: int) -> np.ndarray:
    """Return the logits of images that are rated so many at once."""
    return np.concatenate([rate(images[at : at + batch]) for at in range(0, len(images), batch)])


class Plain:
    """A fold's network, from timm and two files."""

    def __init__(self, folder: Path, scaling: dict[str, Any]) -> None:
        self.backbone = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        head = load_file(folder / "head.safetensors")
        layers = [torch.nn.Linear(*head[f"{at}.weight"].shape[::-1]) for at in (0, 2)]
        self.head = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
        self.head.load_state_dict(head)
        self.scaling = scaling

    @torch.inference_mode()
    def rate(self, scaled: torch.Tensor) -> np.ndarray:
        """Return the logits of scaled images, shape (n, 3, size, size)."""
        return np.asarray(self.head(self.backbone(scaled)))

    def rate_stamps(self, stamps: np.ndarray) -> np.ndarray:
        """Return the logits of stamps, scaled by the formula of model.json."""
        mean, std = (torch.tensor(self.scaling[key])[:, None, None] for key in ("mean", "std"))
        pixels = torch.from_numpy(stamps).permute(0, 3, 1, 2) / self.scaling["scale"]
        return self.rate((pixels - mean) / std)

    def rate_files(self, files: list[bytes]) -> np.ndarray:
        """Return the logits of image files, decoded and scaled as timm would."""
        transform: Any = timm.data.create_transform(
            **timm.data.resolve_data_config(self.backbone.pretrained_cfg)
        )
        images = [transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in files]
        return self.rate(torch.stack(images))


def onnx_rate(path: Path) -> Any:
    """Return a function that rates stamps with an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def compare(folder: Path) -> bool:
    """Print how far the logits of a model folder's references are from those of the study."""
    about = json.loads((folder / "model.json").read_text())
    references, is_good = pd.read_parquet(folder / "references.parquet"), True
    print(f"{folder.name}: {about['folds'][0]['backbone']}, scaling {about['input']['scaling']}")
    for fold in about["folds"]:
        path, rows = folder / f"fold{fold['fold']}", references[references["fold"] == fold["fold"]]
        recorded = rows[["logit_0", "logit_1"]].to_numpy()
        network, bound, found = Plain(path, about["input"]["scaling"]), fold["tolerance"], {}
        if (rows["kind"] == "stamp").all():
            stamps = stamps_of(rows)
            rates = {"timm": network.rate_stamps}
            if (path / "model.onnx").is_file():
                rates["onnxruntime"] = onnx_rate(path / "model.onnx")
            for name, rate in rates.items():
                for batch in BATCHES:
                    given = np.concatenate([stamps] * -(-batch // len(stamps)))
                    expected = np.concatenate([recorded] * (len(given) // len(stamps)))
                    found[f"{name} {batch}"] = np.abs(in_batches(rate, given, batch) - expected).max()
            is_good &= all(value <= bound for value in found.values())
        else:
            logits = network.rate_files(rows["image"].tolist())
            found["timm's transform of the JPEG files"] = np.abs(logits - recorded).max()
            p_m = [1 / (1 + np.exp(each[:, 0] - each[:, 1])) for each in (logits, recorded)]
            found["the same in p_m"] = np.abs(p_m[0] - p_m[1]).max()
        told = ", ".join(f"{name}: {value:.1e}" for name, value in found.items())
        print(f"  fold {fold['fold']}, at most {bound:.1e} allowed; {told}")
    return is_good


def main() -> int:
    """Compare each folder; return 1 if a logit is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    folders = parser.parse_args().folders
    there = [name for name in ABSENT if importlib.util.find_spec(name)]
    print(f"torch {torch.__version__}, timm {timm.__version__}; of ours: {', '.join(there) or 'nothing'}")
    results = [compare(folder) for folder in folders]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
