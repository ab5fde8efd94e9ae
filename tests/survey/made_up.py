"""Parts of a survey that nobody rated, of any length, for what works on rows alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from mergerexp.survey.columns import rating_columns, schema_of
from mergerexp.survey.parts import Parts

PART = 128 * 64  # rows
# In SQL: which of several rows with one id comes first, and by which of two networks it must not be rated.
IS_USABLE = "status in ('rated', 'seen by all networks')"
RANK = f"case when {IS_USABLE} then n_models else 127 end"
BITS = (
    f"case when {IS_USABLE} then (p_m0 is null)::int + 2 * (p_m1 is null)::int "
    "when matched_by is null or matched_by = 'id' then 0 else 3 end"
)


def ratings(rng: np.random.Generator, ids: np.ndarray, positive: str = "merger") -> pa.Table:
    """Return made-up rows of two networks: some without a rating, some of the training set, some tied."""
    n = len(ids)
    p = rng.beta(0.3, 2.0, (n, 2)).round(3)  # rounded, so that many are equal
    seen, failed = rng.random(n) < 0.05, rng.random(n) < 0.02
    p[seen, 0] = np.nan
    p[failed] = np.nan
    with np.errstate(divide="ignore"):
        logits = np.log(p / (1 - p))
    is_rated = ~np.isnan(p).all(axis=1)
    best = np.where(is_rated, np.nansum(p, axis=1) / np.maximum(1, (~np.isnan(p)).sum(axis=1)), np.nan)
    mean = 1 / (1 + np.exp(-np.nanmean(np.where(is_rated[:, None], logits, 0.0), axis=1)))
    values = {
        "objid": ids,
        "id_system": np.full(n, "made up"),
        "ra": rng.uniform(0, 360, n),
        "dec": rng.uniform(-90, 90, n),
        "p_m0": p[:, 0],
        "p_m1": p[:, 1],
        "p_best": best,
        "p_logitmean": np.where(is_rated, mean, np.nan),
        "logit_sd": np.full(n, np.nan),
        "n_models": (~np.isnan(p)).sum(axis=1).astype(np.int16),
        "in_training_set": seen,
        "matched_by": np.where(seen, "file", None),
        "p_calibrated": best,
        "status": np.where(is_rated, "rated", "unreadable"),
        "reason": np.where(is_rated, None, "not an image"),
        "image_sha256": [rng.bytes(32).hex() for _ in range(n)],
        "model_id": np.full(n, "made-up"),
    }
    schema = schema_of(rating_columns((0, 1), positive, np.issubdtype(ids.dtype, np.integer)))
    return pa.Table.from_arrays(
        [pa.array(values[field.name], field.type, from_pandas=True) for field in schema], schema=schema
    )


def write_parts(folder: Path, ids: np.ndarray, seed: int = 0) -> Parts:
    """Write the parts of a survey with some ids."""
    parts = Parts(folder, "made-up", len(ids), 64, PART // 64)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(len(parts)):
        parts.write(number, [ratings(rng, ids[number * PART : (number + 1) * PART])])
    return parts
