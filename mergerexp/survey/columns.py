"""The columns of a catalogue of ratings, each defined in one sentence; see docs/science.md §4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from mergerexp.survey.statuses import MEANINGS

MEANINGS_OF_STATUS = "; ".join(f"{status}: {meaning}" for status, meaning in MEANINGS.items())
FRIENDLY = (
    "objid", "ra", "dec", "p_best", "p_calibrated", "p_prior", "n_models", "in_training_set", "status",
    "reason",
)  # fmt: skip
PAPER_FIRST = {
    "": "p_best",
    "_CALIBRATED": "p_calibrated",
}  # the column in front of each of the paper's files


@dataclass(frozen=True)
class Column:
    """A column of the catalogue.

    Attributes
    ----------
    name
        Its name.
    type
        Its type in Arrow.
    meaning
        What it is, in one sentence.
    unit
        Its unit; empty if it has none.
    """

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""

    @property
    def field(self) -> pa.Field:
        """The column as a field of a schema, with its meaning and unit as metadata."""
        about = {"description": self.meaning} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.type, metadata=about)


def rating_columns(folds: Sequence[int], positive: str, has_integer_ids: bool) -> list[Column]:
    """Return the columns that are known when an object is rated.

    Parameters
    ----------
    folds
        The folds that have a network.
    positive
        The name of the rare class.
    has_integer_ids
        Whether ids are integers.
    """
    of_fold = [
        Column(
            f"p_m{fold}",
            pa.float64(),
            f"Softmax of network {fold} for {positive}, which holds where half of the objects are of each "
            "class; null where this network was trained on the object or stopped by it.",
        )
        for fold in folds
    ]
    return [
        Column("objid", pa.int64() if has_integer_ids else pa.string(), "Id of the object in id_system."),
        Column("id_system", pa.string(), "Name of the system within which equal ids mean one object."),
        Column("ra", pa.float64(), "Right ascension (ICRS), where it was given.", "deg"),
        Column("dec", pa.float64(), "Declination (ICRS), where it was given.", "deg"),
        *of_fold,
        Column(
            "p_best", pa.float64(), "Mean of the p_m that are there; it holds where half are of each class."
        ),
        Column(
            "p_logitmean", pa.float64(), "Probability whose logit is the mean of the logits of these p_m."
        ),
        Column(
            "logit_sd", pa.float64(), "Standard deviation of these logits; null for fewer than two networks."
        ),
        Column("n_models", pa.int16(), "Number of networks that rated the object."),
        Column(
            "in_training_set", pa.bool_(), "Whether a network, or one it started from, has seen the object."
        ),
        Column("matched_by", pa.string(), "How the object was found among those seen; null if it was not."),
        Column(
            "p_calibrated",
            pa.float64(),
            f"Probability of {positive} where as many objects are of it as in the labelled data set: by "
            "Platt's map of each fold, fitted without the object, and the mean of the calibrated logits.",
        ),
        Column("status", pa.string(), f"{MEANINGS_OF_STATUS}."),
        Column("reason", pa.string(), "What exactly was wrong; null for rated objects."),
        Column("image_sha256", pa.string(), "SHA-256 of the image file; null where the input has none."),
        Column("model_id", pa.string(), "Identity of the model folder."),
    ]


def prior_column(positive: str, prevalence: float) -> Column:
    """Return the column that the whole survey has to be known for."""
    return Column(
        "p_prior",
        pa.float64(),
        f"Probability of {positive} where a fraction {prevalence:.6g} of the objects is of it, as in the "
        "survey: p_calibrated with its odds shifted.",
    )


def schema_of(columns: Sequence[Column], metadata: dict[str, str] | None = None) -> pa.Schema:
    """Return the schema of a table with some columns."""
    return pa.schema([column.field for column in columns], metadata=metadata)
