"""A stage of training as a Lightning module: the head on frozen features, or all layers on images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR

from mergerexp.batches.loaders import Batch
from mergerexp.config.schema import OptimizerConfig
from mergerexp.seeding import seed_for
from mergerexp.training.captured import CapturedStep
from mergerexp.training.lightning import LightningOptimizer, pl

HEAD, FINETUNE = "head", "finetune"  # the names of the stages, which are recorded in every checkpoint


class Stage(pl.LightningModule):
    """Cross-entropy training of a network on balanced batches.

    Validation scores give both classes equal weights, as the training batches do: ``val_accuracy`` is the
    mean of the accuracies of the two classes, and ``val_loss`` the mean of their cross-entropies.

    Parameters
    ----------
    name
        The name of the stage, `HEAD` or `FINETUNE`.
    network
        The network, which maps the inputs of a batch to logits (B, 2).
    optimizer
        The settings of the optimiser.
    seed
        The seed of dropout and other random layers.
    freeze_batchnorm
        Whether to use the running statistics of BatchNorm without updating them.
    cuda_graph
        Whether a GPU repeats the step as a captured graph: ``always``, ``auto`` (if it can be captured) or
        ``never``.

    Attributes
    ----------
    steps
        The number of optimiser steps taken so far, in all epochs.
    """

    automatic_optimization = False  # a captured graph holds the optimiser's step too

    def __init__(
        self,
        name: str,
        network: nn.Module,
        optimizer: OptimizerConfig,
        seed: int,
        freeze_batchnorm: bool = False,
        cuda_graph: str = "never",
    ) -> None:
        super().__init__()
        self.freeze_batchnorm = freeze_batchnorm
        self.name, self.network = name, network
        self.optimizer_config, self.seed, self.cuda_graph = optimizer, seed, cuda_graph
        self.steps = 0
        self.train_losses: list[Tensor] = []
        self.val_outputs: list[tuple[Tensor, Tensor]] = []
        self.scores: dict[str, float] = {}

    def on_train_start(self) -> None:
        """Put the network in training mode, since Lightning keeps the mode that it finds."""
        self.network.train()
        # The losses of a checkpoint were read before Lightning had moved anything to the device.
        self.train_losses = [loss.to(self.device) for loss in self.train_losses]
        for layer in self.network.modules():
            if self.freeze_batchnorm and isinstance(layer, _BatchNorm):
                layer.eval()
        for group in self._optimizer().param_groups:
            if isinstance(group["lr"], Tensor):  # the same for that of a checkpoint
                group["lr"] = group["lr"].to(self.device)
        captures = self.cuda_graph != "never"
        self._step = CapturedStep(self._train, self.cuda_graph == "always") if captures else self._train

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the global random numbers (dropout) by the step, so that a resumed run draws the same."""
        seed = seed_for(self.seed, "step", self.name, self.steps)
        # torch.manual_seed would record a stack trace for every device not in use, a quarter of stage 1's
        # time.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take a step down the mean cross-entropy of a balanced batch."""
        self.train_losses.append(self._step(batch))
        warmup = self.lr_schedulers()
        if isinstance(warmup, LambdaLR):
            warmup.step()
        self.steps += 1

    def _optimizer(self) -> LightningOptimizer:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)  # not a list of several
        return optimizer

    def _train(self, batch: Batch) -> Tensor:
        """Do the arithmetic of a step, and return the loss."""
        optimizer = self._optimizer()
        optimizer.zero_grad()
        loss = functional.cross_entropy(self.network(batch.inputs), batch.labels)
        with torch.autocast(self.device.type, enabled=False):  # the precision is that of the forward pass
            self.manual_backward(loss)
            optimizer.step()
        return loss.detach()

    def on_train_epoch_start(self) -> None:
        """Clear the losses of the previous epoch, unless the run resumes within an epoch."""
        self.train_losses.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep logits and labels until the whole fold has been seen."""
        self.val_outputs.append((self.network(batch.inputs).float(), batch.labels))

    def on_validation_epoch_end(self) -> None:
        """Score the validation fold."""
        logits, labels = (torch.cat(part) for part in zip(*self.val_outputs, strict=True))
        self.val_outputs.clear()
        self.scores = balanced_scores(logits, labels)

    def configure_optimizers(self) -> Any:
        """Return the optimiser with its warm-up, as Adam's first steps are long and little informed."""
        optimizer = make_optimizer(self.network, self.optimizer_config)
        steps = self.optimizer_config.warmup_steps
        if steps == 0:
            return optimizer
        warmup = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": warmup, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the name of the stage, and within an epoch its losses so far."""
        within_epoch = self.steps % int(self.trainer.num_training_batches) != 0
        checkpoint["stage"], checkpoint["steps"] = self.name, self.steps
        checkpoint["train_losses"] = [float(loss) for loss in self.train_losses] if within_epoch else []

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the number of steps, and the losses of an epoch that was interrupted."""
        self.steps = checkpoint["steps"]
        self.train_losses = [torch.tensor(loss) for loss in checkpoint["train_losses"]]


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return SGD, Adam or AdamW for all parameters of a network, in a form that a CUDA graph can hold.

    On a CUDA device the learning rate is a tensor there, which a graph reads anew at every step.
    """
    parameters = list(network.parameters())
    decay, lr = config.weight_decay, config.lr
    on_gpu = parameters[0].is_cuda
    rate = torch.tensor(lr, device=parameters[0].device) if on_gpu else lr
    if config.name == "sgd":
        return torch.optim.SGD(parameters, rate, config.momentum, weight_decay=decay, fused=True)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    betas = (config.momentum, 0.999)
    return kind(parameters, rate, betas, weight_decay=decay, fused=True, capturable=on_gpu)


def balanced_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy and cross-entropy of logits (n, 2), averaged over each class and then over both."""
    losses = functional.cross_entropy(logits, labels, reduction="none")
    correct = (logits.argmax(1) == labels).float()
    return {"val_loss": _class_mean(losses, labels), "val_accuracy": _class_mean(correct, labels)}


def _class_mean(values: Tensor, labels: Tensor) -> float:
    """Return the mean over both classes of the mean of each class."""
    return float(torch.stack([values[labels == label].double().mean() for label in (0, 1)]).mean())
