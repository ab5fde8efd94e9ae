"""From override strings to a validated config, for programs; the verbs go through `mergerexp.config.app`."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from mergerexp.config.cell_composer import CellComposer
from mergerexp.config.hydra_adapter import VERSION_BASE
from mergerexp.config.paths import conf_dir, set_machine_defaults
from mergerexp.config.typed import Schema
from mergerexp.config.validate import validate


def compose_cell(config_name: str, overrides: Sequence[str], schema: type[Schema]) -> Schema:
    """Compose and validate the config of a run, as a verb does.

    Parameters
    ----------
    config_name
        The name of the YAML file in ``conf/``, which is that of its verb.
    overrides
        The overrides, as on the command line.
    schema
        The root dataclass of the config.

    Raises
    ------
    ConfigError
        If Hydra or `validate` refuses it, with a line for each mistake.
    """
    set_machine_defaults()
    if not GlobalHydra.instance().is_initialized():
        with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
            return compose_cell(config_name, overrides, schema)
    return validate(CellComposer(config_name, schema).compose(overrides), schema)
