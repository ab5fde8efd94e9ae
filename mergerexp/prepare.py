"""``python -m mergerexp.prepare``: make a data set on disk."""

from __future__ import annotations

import time

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.schema import PrepareConfig
from mergerexp.console import console


def prepare(call: Call[PrepareConfig]) -> Done:
    """Prepare the data sets of a call and say what they hold.

    Parameters
    ----------
    call
        The data sets' configs.

    Raises
    ------
    DataError
        If inputs are unusable, or a data set that is there was damaged.
    """
    # Imported here, so that --help and a refusal need not wait for pandas.
    from mergerexp.data.build import classes_text, prepare_dataset
    from mergerexp.data.store import Dataset, verify

    for cfg in call.configs:
        started = time.perf_counter()
        dataset = Dataset.open(prepare_dataset(cfg.data, cfg.paths.datasets))
        verify(dataset)
        counts = classes_text(dataset.meta["counts"])
        seconds = time.perf_counter() - started
        console.print(f"{dataset.path}: {counts}; {cfg.data.size} px; {seconds:.1f} s", soft_wrap=True)
    return Done()


def main() -> None:
    """Run the verb."""
    run_app("prepare", PrepareConfig, prepare)


if __name__ == "__main__":
    main()
