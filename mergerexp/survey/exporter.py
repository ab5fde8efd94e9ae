"""Freezing the fold models of a study into a model folder."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mergerexp.analysis.intervals import bootstrap_scores
from mergerexp.batches.images import Scaling
from mergerexp.config.schema import SplitConfig
from mergerexp.config.survey_schema import ExportConfig
from mergerexp.console import ProgressReport
from mergerexp.data.sources.folder.stamp import DECODING
from mergerexp.data.splits import Split, make_split
from mergerexp.data.store import Dataset, find_dataset
from mergerexp.errors import UserError
from mergerexp.files import folder_name, read_json, write_json, written_folder
from mergerexp.frames import records
from mergerexp.hashing import digest
from mergerexp.models.ancestors import ABOUT, SEEN
from mergerexp.models.stored import StoredNetwork
from mergerexp.runs.provenance import command_line, git_state, software
from mergerexp.runs.run_folder import MODEL, PREDICTIONS, WEIGHTS
from mergerexp.seals import FILES, digests
from mergerexp.seeding import seed_for
from mergerexp.survey.ancestry import Ancestry
from mergerexp.survey.calibration import draw_parts, write_calibrators
from mergerexp.survey.card import write_card
from mergerexp.survey.drift import image_statistics, quantiles
from mergerexp.survey.inputs.prepared import own_id_system, position_columns
from mergerexp.survey.model_folder import (
    BACKBONE,
    CALIBRATORS,
    FORMAT,
    HEAD,
    ONNX,
    REFERENCES,
    TESTS,
    ModelFolder,
    fold_name,
)
from mergerexp.survey.networks import FoldNetwork, write_network, write_onnx
from mergerexp.survey.references import choose_references, decode_references, reference_rows
from mergerexp.survey.seen import seen_table, with_ancestors
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.run_folder_reader import RunFolderReader
from mergerexp.tracking.selection import run_title
from mergerexp.tracking.study import Study
from mergerexp.tracking.study_reader import StudyReader

log = logging.getLogger(__name__)
SMALLEST_TOLERANCE = 1e-5  # of a logit that is computed on another machine
LARGEST_DIFFERENCE = 1e-3  # of a logit from the recorded one: beyond it the network is another one
SAMPLE = 1024  # stamps whose statistics a survey's are compared with
TEST_COLUMNS = ["fold", "objid", "label", "logit_0", "logit_1", "part"]


@dataclass(frozen=True)
class FoldRun:
    """A run whose network is exported.

    Attributes
    ----------
    run
        Its row of `Study.runs`.
    split
        The galaxies that trained, validated and tested it.
    test
        The predictions of its test galaxies, with logits, in the order of ``split.test``.
    part
        The part of each test galaxy, without which a calibrator is fitted.
    """

    run: dict[str, Any]
    split: Split
    test: pd.DataFrame
    part: NDArray[np.int8]

    @property
    def fold(self) -> int:
        """The test fold."""
        return int(self.run["fold"])


class Exporter:
    """Exports one method of a study, at one size and with one seed.

    Parameters
    ----------
    cfg
        What is exported, and where to.

    Raises
    ------
    UserError
        If there is no such study, method, size or seed, folds are missing, or the data set or the model that
        the networks started from is not there.
    """

    def __init__(self, cfg: ExportConfig) -> None:
        self.cfg, self.reader = cfg, _reader(cfg)
        found = self.reader.find(cfg.sweep, cfg.where)
        study = self.reader.with_predictions(replace(found, runs=choose_runs(found, cfg)))
        self.study, self.runs = study, choose_runs(study, cfg)  # again: a fold may be damaged
        first = self.runs["run_id"].iloc[0]
        self.settings, tags = study.settings[first], study.tags[first]
        self.ancestry = Ancestry.of(self.settings, tags, Path(cfg.paths.galaxies))
        content_hash, name = tags["mergerexp.data.content_hash"], self.settings["data.name"]
        self.dataset = find_dataset(Path(cfg.paths.datasets), content_hash, name)
        self.crop = float(self.settings.get("data.crop", "1.0"))
        self.id_system = cfg.id_system or own_id_system(self.dataset)
        self.title = f"{study.name} {self.runs['arm'].iloc[0]}"

    def export(self) -> ModelFolder:
        """Write the folder, and open it again.

        Raises
        ------
        UserError
            If a network does not rate its test galaxies as the study recorded, or another model is in the
            folder's place.
        """
        path = Path(self.cfg.models) / (self.cfg.name or folder_name(self.title, "model"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            made = Path(scratch) / "model"
            with written_folder(made) as partial:
                self._write(partial)
            new = ModelFolder.open(made)
            if path.exists():
                if ModelFolder.open(path).model_id != new.model_id:
                    raise UserError(f"{path} holds another model: choose another name=NAME, or remove it")
                log.info("%s: the same model is there already", path)
            else:
                shutil.move(made, path)
        model = ModelFolder.open(path)
        if self.cfg.register and isinstance(self.reader, MlflowReader):
            self._register(self.reader, model)
        return model

    def _register(self, reader: MlflowReader, model: ModelFolder) -> None:
        from mergerexp.survey.registry import register  # with MLflow's models, which take a while to load

        try:
            version = register(reader, self.study, model.path.name, model)
        except UserError as error:  # a colleague's store may be read only
            log.warning("%s: MLflow does not have this model", error)
        else:
            log.info("MLflow has it as models:/%s/%d", model.path.name, version)

    def _write(self, folder: Path) -> None:
        runs = [self._read(run) for run in records(self.runs)]
        scaling, folds, references = None, [], []
        with ProgressReport("exporting", len(runs)) as progress:
            for each in runs:
                about, rows, scaling = self._write_fold(folder / fold_name(each.fold), each)
                folds.append(about)
                references.append(rows)
                progress.advance(1, f"fold {each.fold}")
        assert scaling is not None
        pd.concat(references, ignore_index=True).to_parquet(folder / REFERENCES, index=False)
        seen = self._seen(runs)
        seen.to_parquet(folder / SEEN, index=False)
        tests = [each.test.assign(fold=each.fold, part=each.part)[TEST_COLUMNS] for each in runs]
        pd.concat(tests, ignore_index=True).to_parquet(folder / TESTS, index=False)
        about = self._about(runs, folds, scaling)
        about["model_id"] = _model_id(about, digests(folder, _files(folder)), seen)
        write_card(folder, about)
        write_json(folder / ABOUT, {**about, FILES: digests(folder, _files(folder))})

    def _read(self, run: dict[str, Any]) -> FoldRun:
        """Recompute a run's split, and read the predictions of its test galaxies with their logits."""
        settings = self.study.settings[run["run_id"]]
        split_settings = SplitConfig(
            folds=int(settings["split.folds"]),
            seed=int(settings["split.seed"]),
            subset_of=settings["split.subset_of"],
            negatives=settings["split.negatives"],
        )
        split = make_split(
            self.dataset.labels, self.dataset.groups, split_settings, int(run["fold"]), float(run["subset"])
        )
        with tempfile.TemporaryDirectory() as scratch:
            table = pd.read_parquet(self.reader.download(run["run_id"], PREDICTIONS, Path(scratch)))
        test = table[table["split"] == "test"].set_index("objid", drop=False)
        objids = self.dataset.objids[split.test]
        if len(test) != len(objids) or not test.index.isin(objids).all():
            raise UserError(
                f"{run_title(run)}: its test galaxies are not those of its fold in {self.dataset.path}"
            )
        test = test.loc[objids].reset_index(drop=True)
        part = draw_parts(test, seed_for(int(settings["split.seed"]), "calibration", int(run["fold"])))
        return FoldRun(run, split, test, part)

    def _write_fold(self, folder: Path, each: FoldRun) -> tuple[dict[str, Any], pd.DataFrame, Scaling]:
        """Write a fold's model; return its entry in ``model.json``, its references and its scaling."""
        folder.mkdir()
        with tempfile.TemporaryDirectory() as scratch:
            for name in (MODEL, WEIGHTS):
                self.reader.download(each.run["run_id"], name, Path(scratch))
            about = read_json(Path(scratch) / MODEL)
            stored = StoredNetwork.load(Path(scratch), torch.device("cpu"))
        given = about["input"]
        scaling = Scaling(tuple(given["mean"]), tuple(given["std"]), float(given["scale"]))
        write_network(folder, about["backbone"], given["size"], self.crop, stored.classifier, scaling)
        write_calibrators(folder / CALIBRATORS, each.test, each.part)
        network = FoldNetwork.load(folder, scaling)
        root = self.settings.get("data.root")
        chosen = choose_references(each.test, self.cfg.references)
        source = None if root is None else Path(root).expanduser()
        rows = reference_rows(chosen, self.dataset, source, self.crop, each.fold)
        differences = self._differences(network, rows, each.run)
        if self.cfg.onnx:
            write_onnx(folder / ONNX, network.float(), given["size"])
        return (
            {
                "fold": each.fold,
                "run": each.run["run_name"],
                "run_id": each.run["run_id"],
                "backbone": about["backbone"],
                **differences,
                "metrics": self.study.metrics[each.run["run_id"]],
            },
            rows,
            scaling,
        )

    def _differences(self, network: FoldNetwork, rows: pd.DataFrame, run: dict[str, Any]) -> dict[str, float]:
        """Compare the logits of the references with the recorded ones, and with those in float64."""
        size = len(self.dataset.images[0])
        stamps = decode_references(rows["image"].tolist(), rows["kind"].tolist(), size, self.crop)
        single = network.logits(stamps)
        recorded = float(np.abs(single - rows[["logit_0", "logit_1"]].to_numpy()).max())
        if not recorded <= LARGEST_DIFFERENCE:
            raise UserError(
                f"{run_title(run)}: its network gives logits that differ by {recorded:.2g} from those that "
                f"were recorded; at most {LARGEST_DIFFERENCE:g} may come from another machine's arithmetic"
            )
        double = network.double().logits(stamps)
        precision = float(np.abs(single - double).max())
        tolerance = max(SMALLEST_TOLERANCE, 10 * max(precision, recorded))
        return {"float32_to_float64": precision, "now_to_recorded": recorded, "tolerance": tolerance}

    def _seen(self, runs: list[FoldRun]) -> pd.DataFrame:
        own = seen_table(
            self.dataset,
            {each.fold: each.split for each in runs},
            {each.fold: each.part for each in runs},
            self.id_system,
            position_columns(self.dataset),
            self.cfg.stamp_arcsec,
        )
        theirs = self.ancestry.seen()
        return own if theirs is None else with_ancestors(own, theirs, [each.fold for each in runs])

    def _about(self, runs: list[FoldRun], folds: list[dict[str, Any]], scaling: Scaling) -> dict[str, Any]:
        negative, positive = self.dataset.class_names
        tests = pd.concat([each.test.assign(fold=each.fold) for each in runs], ignore_index=True)
        scores = bootstrap_scores(
            tests["label"], tests["p_m"], tests["fold"], seed=self.cfg.seed_of_intervals, unit=tests["group"]
        )
        labels = self.dataset.labels
        return {
            "format": FORMAT,
            "name": self.title,
            "classes": {"positive": positive, "negative": negative},
            "input": {
                "size": len(self.dataset.images[0]),
                "arcsec": self.cfg.stamp_arcsec,
                "crop": self.crop,
                "channels": "RGB",
                "decoding": DECODING,
                "scaling": {"mean": list(scaling.mean), "std": list(scaling.std), "scale": scaling.scale},
                "formula": "(pixel / scale - mean) / std",
                "image_size": _image_size(self.dataset),
                "statistics": quantiles(image_statistics(self._sample())),
            },
            "data": {
                "name": self.settings["data.name"],
                "content_hash": self.dataset.content_hash,
                "objects": len(labels),
                "prevalence": float(tests["label"].mean()),
                "trained_at_prevalence": 0.5,
            },
            "study": {
                "experiment": self.study.name,
                "arm": str(self.runs["arm"].iloc[0]),
                "subset": float(self.runs["subset"].iloc[0]),
                "seed": int(self.runs["seed"].iloc[0]),
                "n_train": int(self.runs["n_train"].iloc[0]),
            },
            "id_system": self.id_system,
            "ancestors": self.ancestry.described(),
            "folds": folds,
            "metrics": scores.set_index("metric")[["value", "low", "high"]].to_dict("index"),
            "made": {"command": command_line(), "git": git_state(), "software": software()},
        }

    def _sample(self) -> NDArray[np.uint8]:
        """Return stamps that show what the networks were trained on, evenly spread over the data set."""
        rows = np.unique(np.linspace(0, len(self.dataset) - 1, SAMPLE).round().astype(np.int64))
        return np.array(self.dataset.images[rows])


def _reader(cfg: ExportConfig) -> StudyReader:
    """Return the reader of the store, or of the run folders where there is none."""
    if cfg.tracking.uri is None:
        return RunFolderReader(Path(cfg.paths.runs), cfg.tracking.experiment)
    return MlflowReader(cfg.tracking)


def choose_runs(study: Study, cfg: ExportConfig) -> pd.DataFrame:
    """Return the runs of the chosen method, size and seed, one for each fold.

    Raises
    ------
    UserError
        If the choice is not there or not unique, or folds are missing.
    """
    networks = study.networks
    if not networks:
        raise UserError(f"{study.name} has no networks, and rules and forests are not exported")
    if cfg.method is None and len(networks) > 1:
        raise UserError(f"method: choose one of {', '.join(networks)}")
    arm = cfg.method or networks[0]
    if arm not in networks:
        raise UserError(f"method={arm}: no such network; there are {', '.join(networks)}")
    runs = study.runs[study.runs["arm"] == arm]
    chosen: Mapping[str, float | None] = {"subset": cfg.subset, "seed": cfg.seed}
    for key, value in chosen.items():
        known = sorted(set(runs[key]))
        if value is not None and value not in known:
            raise UserError(f"{key}={value:g}: {arm} has {', '.join(f'{each:g}' for each in known)}")
        default = known[-1] if key == "subset" else known[0]
        runs = runs[runs[key] == (default if value is None else value)]
    folds = int(study.settings[runs["run_id"].iloc[0]]["split.folds"])
    missing = sorted(set(range(folds)) - set(runs["fold"]))
    if missing and not cfg.allow_partial:
        raise UserError(
            f"{arm} subset={runs['subset'].iloc[0]:g} seed={runs['seed'].iloc[0]} lacks "
            f"fold {', '.join(map(str, missing))}: train it, or allow_partial=true exports the others"
        )
    return runs.sort_values("fold")


def _image_size(dataset: Dataset) -> list[int] | None:
    """Return the width and height of all images before they became stamps; None if these differ."""
    sizes = dataset.catalogue.filter(["width", "height"]).drop_duplicates()
    return [int(value) for value in sizes.iloc[0]] if sizes.shape == (1, 2) else None


def _model_id(about: Mapping[str, Any], hashes: Mapping[str, str], seen: pd.DataFrame) -> str:
    """Return the hash of all that decides what an object is rated as, and by which networks."""
    return digest(
        {
            "input": {key: value for key, value in about["input"].items() if key != "statistics"},
            "classes": about["classes"],
            "files": {
                name: sha256
                for name, sha256 in hashes.items()
                if Path(name).name in (BACKBONE, HEAD, CALIBRATORS)
            },
            "seen": digest(seen.to_csv(index=False)),  # not its file, whose bytes depend on Parquet's version
        }
    )


def _files(folder: Path) -> list[str]:
    """Return the files of a model folder whose hashes are listed, relative to it."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ABOUT]
    return sorted(str(path.relative_to(folder)) for path in found)
