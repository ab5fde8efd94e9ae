"""What can become of an object of a survey: it is rated, or has one of these reasons why not."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The values of the column status; an object with any but `RATED` has no probabilities."""

    RATED = "rated"
    NO_IMAGE = "no image"
    UNREADABLE = "unreadable"
    NO_IMAGING = "no imaging"
    WRONG_SIZE = "wrong size"
    DUPLICATE = "duplicate id"
    SEEN = "seen by all networks"


MEANINGS = {
    Status.RATED: "at least one network rated the object",
    Status.NO_IMAGE: "there is no image: the file is missing, or the cell is empty",
    Status.UNREADABLE: "the image can't be decoded without guessing; the reason says why",
    Status.NO_IMAGING: "the image is black or of one colour, as archives deliver outside their footprint",
    Status.WRONG_SIZE: "the image has another size in pixels than those of the training set",
    Status.DUPLICATE: "another row with the same id has the rating",
    Status.SEEN: "every network was trained on the object or stopped by it",
}
