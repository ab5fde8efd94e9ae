"""The one error of bad data; apart, so that worker processes can import it without pandas."""


class DataError(ValueError):
    """Input data or a data set that cannot be used; the message says which and what to do."""
