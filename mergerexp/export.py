"""``python -m mergerexp.export``: the fold models of a study become a folder that rates elsewhere."""

from __future__ import annotations

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.survey_schema import ExportConfig
from mergerexp.console import console
from mergerexp.errors import require_torch
from mergerexp.tracking.store_file import check_store


def export(call: Call[ExportConfig]) -> Done:
    """Write the model folders of the chosen studies, and say where they are.

    Parameters
    ----------
    call
        Which studies, usually one.

    Raises
    ------
    UserError
        If torch is not installed, or as `mergerexp.survey.exporter` says.
    """
    require_torch("exporting networks")
    for cfg in call.configs:
        check_store(cfg.tracking.uri)  # before the imports, which take seconds
    from mergerexp.survey.exporter import Exporter

    for cfg in call.configs:
        model = Exporter(cfg).export()
        folds = ", ".join(map(str, model.folds))
        console.print(f"{model.path}: model {model.model_id}, folds {folds}", soft_wrap=True)
    return Done()


def main() -> None:
    """Run the verb."""
    run_app("export", ExportConfig, export)


if __name__ == "__main__":
    main()
