"""Time `keras.applications` on images in memory, with Keras 3 on torch. No mergerexp is needed.

KERAS_BACKEND=torch python keras_training.py NETWORK SIZE BATCH THREADS SECONDS PRECISION
"""

from __future__ import annotations

import json
import sys
import time

import keras
import numpy as np
import torch


class Clock(keras.callbacks.Callback):
    """Counts mini-batches after the first three, and stops the training when the time is over."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.seen, self.started, self.took = seconds, 0, 0.0, 0.0

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Count the mini-batch, and read the clock."""
        self.seen += 1
        if self.seen == 3:
            self.started = time.perf_counter()
        elif self.seen > 3:
            self.took = time.perf_counter() - self.started
            self.model.stop_training = self.took >= self.seconds


def main() -> None:
    """Print versions and images a second as JSON."""
    network, (size, batch, threads), limit = sys.argv[1], map(int, sys.argv[2:5]), float(sys.argv[5])
    torch.set_num_threads(threads)
    if sys.argv[6] == "bf16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    make = getattr(keras.applications, network)
    model = make(weights=None, classes=2, input_shape=(size, size, 3))
    model.compile(optimizer=keras.optimizers.AdamW(2e-4), loss="sparse_categorical_crossentropy")
    images = np.random.default_rng(0).random((4 * batch, size, size, 3), dtype=np.float32)
    labels = np.arange(len(images)) % 2
    clock = Clock(limit)
    model.fit(images, labels, batch_size=batch, epochs=10_000, verbose=0, callbacks=[clock])
    rate = (clock.seen - 3) * batch / clock.took
    print(json.dumps({"versions": {"keras": keras.__version__, "torch": torch.__version__}, "rate": rate}))


if __name__ == "__main__":
    main()
