"""Profile the kernels in which the bare eager step spends its time on the GPU."""

from __future__ import annotations

from collections import Counter

from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.measure import GPU, WARM_UP, bare_step, noise, protocol, report, settings, synchronize

STEPS = 20


def main() -> None:
    """Report the kernels that take most of the time of a small mini-batch, with their shares of it."""
    if not GPU:
        report("no GPU to profile")
        return
    for setting in settings(batches=(16,)):
        run = protocol(setting, noise(4 * setting.batch, setting.size, 2 * setting.batch))
        step = bare_step(run)
        for _ in range(WARM_UP):
            step()
        synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            for _ in range(STEPS):
                step()
            synchronize()
        times: Counter[str] = Counter()
        launches: Counter[str] = Counter()
        for event in seen.key_averages():
            times[event.key] += event.self_device_time_total
            launches[event.key] += event.count
        total = sum(times.values())
        setting.report(
            "a step", kernels=sum(launches.values()) // STEPS, gpu_ms=round(total / STEPS / 1000, 2)
        )
        for name, each in times.most_common(22):
            share = round(100 * each / total, 1)
            setting.report("kernel", name=name[:110], percent=share, launches=launches[name] // STEPS)


if __name__ == "__main__":
    main()
