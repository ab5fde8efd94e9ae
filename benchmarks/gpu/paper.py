"""Time the parts of the paper's study (13,003 images of 299 px, Xception), and add up its 40 runs."""

from __future__ import annotations

import statistics
import time

from benchmarks.gpu.measure import (
    PAPER,
    PAPER_SIZE,
    SCRATCH,
    SMALL,
    Setting,
    finetuning,
    noise,
    protocol,
    report,
)
from mergerexp.training.predictions import predict_split

SUBSETS = (0.1, 0.17, 0.3, 0.5, 1.0)
EPOCHS, FOLDS, INITS = 40, 4, 2


def main() -> None:
    """Time the features of the head stage, epochs of fine-tuning and the predictions, and add them up."""
    setting = Setting(PAPER, PAPER_SIZE, 16)
    objects, mergers = (400, 100) if SMALL else (13_003, 3_003)
    started = time.perf_counter()
    dataset = noise(objects, setting.size, mergers)
    head_stage = ("init=random_frozen_head", "init.head_epochs=40", "subset=0.1")
    run = protocol(setting, dataset, *head_stage, f"paths.features={SCRATCH}/bank")
    report("images to the device", gb=round(dataset.images.nbytes / 1e9, 2), s=since(started))

    started = time.perf_counter()
    passes = run.train_head(resume=False)
    first = time.perf_counter() - started
    started = time.perf_counter()
    again = protocol(setting, dataset, *head_stage, f"paths.features={SCRATCH}/bank")
    again.train_head(resume=False)
    head = time.perf_counter() - started  # the network has the same seed, so the bank has all its features
    bank = passes / max(first - head, 1e-9)
    setting.report("features of the frozen backbone", images_per_s=round(bank, 1), images=passes)
    setting.report("head stage on the full bank", s=round(head, 2), steps=40 * -(-150 // 8))

    epochs = {}
    for subset in (SUBSETS[0], SUBSETS[-1]):
        run = protocol(setting, dataset, f"subset={subset}")
        finetuning(run, epochs=3 if SMALL else 5)
        seconds = [row["seconds"] for row in run.history.rows]
        setting.report("epochs of fine-tuning, validated and saved", s=seconds, subset=subset)
        epochs[subset] = statistics.median(seconds[1:])
    started = time.perf_counter()
    table = predict_split(run.classifier, run.images, dataset, run.split, run.cfg.trainer.eval_batch)
    predict = time.perf_counter() - started
    setting.report("validation and test galaxies rated in float32", s=round(predict, 2), images=len(table))

    share = sum(SUBSETS)
    # An epoch takes a constant, and a part that grows with the subset.
    slope = (epochs[SUBSETS[-1]] - epochs[SUBSETS[0]]) / (SUBSETS[-1] - SUBSETS[0])
    one_each = sum(epochs[SUBSETS[0]] + slope * (subset - SUBSETS[0]) for subset in SUBSETS)
    tuned = one_each * EPOCHS * FOLDS * INITS
    # Features are computed once for all runs, of each image as it is and in eight training views at most.
    views = objects * 9 / bank
    heads = head * len(SUBSETS) * FOLDS
    rated = predict * share * FOLDS * INITS
    report(
        "the paper's 40 runs, one after the other, added up from these parts",
        minutes=round((tuned + views + heads + rated) / 60, 1),
        finetuning_s=round(tuned),
        features_s=round(views),
        heads_s=round(heads),
        predictions_s=round(rated),
    )


def since(started: float) -> float:
    """Return the seconds since a reading of `time.perf_counter`."""
    return round(time.perf_counter() - started, 2)


if __name__ == "__main__":
    main()
