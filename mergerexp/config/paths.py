"""Where the configuration lives."""

from pathlib import Path


def conf_dir() -> Path:
    """Return the folder of the YAML files: ``conf/`` of a checkout, or the copy inside a wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "conf"
    return checkout if (checkout / "train.yaml").is_file() else package / "conf"
