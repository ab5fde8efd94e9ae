"""Model folders in MLflow's registry: packed in its own layout without a pickle, and loaded back from it.

``mlflow.pyfunc.load_model("models:/NAME@newest")`` gives an object whose ``predict`` rates images.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from numpy.typing import NDArray

from mergerexp.errors import UserError
from mergerexp.survey.model_folder import ModelFolder
from mergerexp.survey.networks import FoldNetwork
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.study import Study


def register(reader: MlflowReader, study: Study, name: str, model: ModelFolder) -> int:
    """Register a model folder as a version of a model, load it back from there, and return the version.

    Parameters
    ----------
    reader
        The store.
    study
        The study that was exported.
    name
        The name of the registered model.
    model
        The model folder.

    Raises
    ------
    UserError
        If the store can't be written or does not answer, or gives back another model.
    """
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / "packed"
        mlflow.pyfunc.save_model(
            packed, loader_module=__name__, data_path=str(model.path), pip_requirements=["mergerexp[train]"]
        )
        version = reader.register_model(study, name, model.model_id, packed)
        again = mlflow.pyfunc.load_model(str(reader.fetch_model(name, version, Path(scratch))))
    found: RegisteredModel = again.get_raw_model()
    if found.model_id != model.model_id:
        raise UserError(f"{name} version {version} in MLflow is model {found.model_id}, not {model.model_id}")
    return version


class RegisteredModel:
    """What MLflow loads: the networks of all folds.

    Parameters
    ----------
    folder
        The model folder.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self.model_id, scaling = folder.model_id, folder.scaling
        self._networks = [FoldNetwork.load(folder.fold_path(fold), scaling) for fold in folder.folds]

    def get_raw_model(self) -> RegisteredModel:
        """Return itself, which MLflow asks for by this name."""
        return self

    def predict(
        self, model_input: NDArray[np.uint8], params: dict[str, Any] | None = None
    ) -> NDArray[np.floating]:
        """Return the logits of images, uint8, shape (n, size, size, 3), as shape (n, folds, 2)."""
        return np.stack([network.logits(model_input) for network in self._networks], axis=1)


def _load_pyfunc(path: str) -> RegisteredModel:
    """Load what `register` packed; MLflow calls this by its name."""
    return RegisteredModel(ModelFolder.open(Path(path)))
