"""Time a plain training loop: timm's network on one fixed mini-batch. No mergerexp is needed.

python bare_training.py NETWORK SIZE BATCH THREADS SECONDS PRECISION
"""

from __future__ import annotations

import json
import sys
import time

import timm
import torch


def main() -> None:
    """Print versions and images a second as JSON."""
    network, (size, batch, threads), limit = sys.argv[1], map(int, sys.argv[2:5]), float(sys.argv[5])
    mixed = sys.argv[6] == "bf16"
    torch.set_num_threads(threads)
    model = timm.create_model(network, num_classes=2).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 2

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    for _ in range(3):
        step()
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < limit:
        step()
        steps += 1
    rate = steps * batch / (time.perf_counter() - started)
    print(json.dumps({"versions": {"torch": torch.__version__, "timm": timm.__version__}, "rate": rate}))


if __name__ == "__main__":
    main()
