"""The protocol of Ackermann et al. 2018: training of the head on the frozen backbone, then of all layers."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch

from mergerexp.batches.images import ImageStore
from mergerexp.batches.loaders import (
    FeatureEvaluation,
    ImageEvaluation,
    Lent,
    TrainingBatches,
    augmented_images,
    random_views,
)
from mergerexp.config.schema import OptimizerConfig, TrainConfig, TwoStagesConfig
from mergerexp.data.splits import Split
from mergerexp.data.store import Dataset
from mergerexp.errors import UserError
from mergerexp.models.activations import without_copies
from mergerexp.models.classifier import Classifier, create_classifier, input_scaling
from mergerexp.models.depthwise import with_quick_gradients
from mergerexp.models.features import FrozenFeatures
from mergerexp.models.pointwise import with_matrix_products
from mergerexp.models.stored import save_network
from mergerexp.models.weights import WeightsFile
from mergerexp.runs.endings import BEST_EPOCH, EPOCHS, HAS_DIVERGED
from mergerexp.seals import check_signed
from mergerexp.seeding import seed_for
from mergerexp.training.callbacks import (
    BestWeights,
    EpochProgress,
    History,
    LastCheckpoint,
    OwnSignals,
    PlainFiles,
)
from mergerexp.training.lightning import LightningEnvironment, pl
from mergerexp.training.machine import LIGHTNING_PRECISION, Machine
from mergerexp.training.predictions import predict_split
from mergerexp.training.stage import FINETUNE, HEAD, Stage, balanced_scores
from mergerexp.training.trained_model import Row, TrainedModel

log = logging.getLogger(__name__)
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # importing it sets a level
# Lightning asks for a check that is safe before a fork. The optimiser makes it at every step, and on a
# machine without NVIDIA's library it searches the disk. No process forks here.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


class TwoStageTraining:
    """The training of one run, which begins at its checkpoint if there is one.

    Parameters
    ----------
    cfg
        The config of the run.
    dataset
        The data set.
    split
        The galaxies that train, validate and test.
    weights
        The file of the backbone's weights; None for random ones.
    machine
        The machine to compute on.
    checkpoint
        The path of ``last.ckpt``.
    saved
        A function that is called with the history after every checkpoint at the end of an epoch.
    """

    def __init__(
        self,
        cfg: TrainConfig,
        dataset: Dataset,
        split: Split,
        weights: WeightsFile | None,
        machine: Machine,
        checkpoint: Path,
        saved: Callable[[list[Row]], None],
    ) -> None:
        self.cfg, self.dataset, self.split, self.machine = cfg, dataset, split, machine
        self.checkpoint, self.saved = checkpoint, saved
        self.history = History()
        self.run_seed = seed_for(cfg.seed, "run", cfg.fold, str(cfg.subset))
        seed = seed_for(self.run_seed, "initialisation")
        self.weights_id = f"{cfg.model.backbone} {weights.sha256 if weights else f'random {seed}'}"
        self.classifier = create_classifier(
            cfg.model.backbone, cfg.data.size, cfg.model.head_units, weights, seed
        ).to(device=machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        without_copies(self.classifier.backbone)
        if machine.device.type == "cpu":
            with_matrix_products(with_quick_gradients(self.classifier.backbone))
        scaling = input_scaling(self.classifier.backbone, cfg.model.normalization)
        self.images = ImageStore(dataset.images, scaling, machine.device)

    def train(self) -> TrainedModel:
        """Run the stages that are not complete; return the network of the best epoch and its predictions."""
        stage = checkpointed_stage(self.checkpoint)
        passes = 0
        if isinstance(self.cfg.init, TwoStagesConfig) and stage != FINETUNE:
            passes = self.train_head(resume=stage == HEAD)
        best = self._finetune(resume=stage == FINETUNE)
        self.classifier.load_state_dict(best.weights)
        rows, batch = self.history.rows, self.cfg.trainer.eval_batch
        return TrainedModel(
            predictions=predict_split(self.classifier, self.images, self.dataset, self.split, batch),
            save=lambda folder: save_network(folder, self.classifier, self.images.scaling, self.cfg),
            history=rows,
            metrics={
                BEST_EPOCH: float(best.epoch),
                HAS_DIVERGED: float(best.diverged),
                EPOCHS: float(sum(row["stage"] == FINETUNE for row in rows)),
                "run/epochs": float(len(rows)),
                "run/backbone_passes": float(passes),
            },
        )

    def train_head(self, resume: bool) -> int:
        """Run stage 1, which trains the head on features of the frozen backbone.

        Parameters
        ----------
        resume
            Whether to begin at the checkpoint.

        Returns
        -------
        int
            The number of images that went through the backbone, which is 0 if the bank holds all features.
        """
        cfg, labels, device = self.cfg, self.dataset.labels, self.machine.device
        content_hash = self.dataset.content_hash
        features = FrozenFeatures(
            self.classifier.backbone, self.images, cfg, weights_id=self.weights_id, content_hash=content_hash
        )
        train, val = self.split.train, self.split.val
        inputs, seed = random_views(features.training(train), device), seed_for(self.run_seed, HEAD)
        batches = TrainingBatches(inputs, labels[train], cfg.trainer.per_class, seed, device)
        evaluation = FeatureEvaluation(features.plain(val), labels[val], device)
        adam = OptimizerConfig(
            name="adam", lr=cfg.init.head_lr, momentum=0.9, weight_decay=0.0, warmup_steps=0
        )
        stage = Stage(HEAD, self.classifier.head, adam, self.run_seed, cuda_graph=self.machine.cuda_graph)
        self.fit(stage, batches, evaluation, cfg.init.head_epochs, [], resume)
        return features.passes

    def _finetune(self, resume: bool) -> BestWeights:
        """Run stage 2, which trains all layers until the validation accuracy no longer improves."""
        cfg, labels = self.cfg, self.dataset.labels
        train, val = self.split.train, self.split.val
        inputs, seed = augmented_images(self.images, train, cfg.augment), seed_for(self.run_seed, FINETUNE)
        batches = TrainingBatches(inputs, labels[train], cfg.trainer.per_class, seed, self.machine.device)
        augment = cfg.augment if cfg.augment.validation else None
        evaluation = ImageEvaluation(self.images, val, labels[val], cfg.trainer.eval_batch, augment)
        optimizer = dataclasses.replace(cfg.optimizer, lr=cfg.optimizer.lr * cfg.init.lr_factor)
        best = BestWeights(cfg.trainer.patience)
        if isinstance(cfg.init, TwoStagesConfig) and not resume:
            # The result of stage 1 is the first candidate, as fine-tuning must not end worse than it began.
            best.compare(_evaluate(self.classifier, evaluation), -1, self.classifier)
        frozen, graph = cfg.init.freeze_batchnorm, self.machine.cuda_graph
        stage = Stage(FINETUNE, self.classifier, optimizer, self.run_seed, frozen, graph)
        self.fit(stage, batches, evaluation, cfg.trainer.max_epochs, [best], resume)
        return best

    def fit(
        self,
        stage: Stage,
        batches: TrainingBatches,
        evaluation: ImageEvaluation | FeatureEvaluation,
        epochs: int,
        callbacks: list[pl.Callback],
        resume: bool,
    ) -> None:
        """Train a stage to its end, with its checkpoints.

        Parameters
        ----------
        stage
            The stage.
        batches
            The training batches.
        evaluation
            The validation batches.
        epochs
            The largest number of epochs.
        callbacks
            Further callbacks.
        resume
            Whether to begin at the checkpoint.

        Raises
        ------
        KeyboardInterrupt
            If the training was interrupted.
        """
        every_s = self.cfg.trainer.checkpoint_every_s
        # The checkpoint comes last, as it holds the state of the other callbacks at the end of the epoch.
        saving = LastCheckpoint(self.checkpoint, every_s, lambda: self.saved(self.history.rows))
        shown = EpochProgress(self.cfg.trainer.progress)
        trainer = pl.Trainer(
            accelerator=self.machine.device.type,
            precision=LIGHTNING_PRECISION[self.machine.precision],
            devices=1,
            max_epochs=epochs,
            callbacks=[OwnSignals(), *callbacks, shown, self.history, saving],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            plugins=[LightningEnvironment(), PlainFiles()],  # the launcher requeues on Slurm
            default_root_dir=self.checkpoint.parent,
        )
        batches.position = lambda: stage.steps
        with (
            closing(shown),
            closing(Lent(batches)) as training,
            closing(Lent(evaluation)) as validation,
            warnings.catch_warnings(),
        ):
            # The batches depend on the step alone, so that resuming within an epoch needs no state of a
            # loader.
            warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
            warnings.filterwarnings("ignore", message=".*running without CUDA graph capture.*")
            path = self.checkpoint if resume else None
            interrupt = signal.getsignal(signal.SIGINT)
            try:
                trainer.fit(stage, training, validation, ckpt_path=path, weights_only=True)
            except SystemExit:
                # Lightning reacts to Ctrl-C by ignoring further ones and leaving, which is undone here.
                signal.signal(signal.SIGINT, interrupt)
                raise KeyboardInterrupt from None
            finally:
                stage.network.to(self.machine.device)  # Lightning has moved it to the CPU


def checkpointed_stage(checkpoint: Path) -> str | None:
    """Return the stage of the checkpoint; None if there is none that can be used."""
    if not checkpoint.is_file():
        return None
    try:
        check_signed(checkpoint)
    except UserError as error:
        log.warning("%s: the run starts anew", error)
        checkpoint.unlink()
        return None
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if "steps" not in content:
        log.warning("%s is of an older version of mergerexp: the run starts anew", checkpoint)
        checkpoint.unlink()
        return None
    stage: str = content["stage"]
    log.info("resuming in stage %s", stage)
    return stage


@torch.inference_mode()
def _evaluate(classifier: Classifier, evaluation: ImageEvaluation) -> dict[str, float]:
    """Return the validation scores of a network outside of training."""
    classifier.eval()
    logits, labels = zip(
        *((classifier(batch.inputs).float(), batch.labels) for batch in evaluation), strict=True
    )
    return balanced_scores(torch.cat(logits), torch.cat(labels))
