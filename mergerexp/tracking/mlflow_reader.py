"""Reading a study from an MLflow store, and keeping with its runs what is measured later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import Run

from mergerexp.config.schema import TrackingConfig
from mergerexp.errors import UserError, describe, without_credentials
from mergerexp.seals import sha256
from mergerexp.tracking.pending import problem_to_mend
from mergerexp.tracking.record import authorship, log_file
from mergerexp.tracking.store import keep_view, open_store
from mergerexp.tracking.store_file import SYNC, StoreFile
from mergerexp.tracking.study import Study
from mergerexp.tracking.study_reader import StudyReader
from mergerexp.tracking.tags import EXPORT, HASH, REPORT

ALIAS = "newest"  # of the version of a registered model that was exported last


class NoAnswerError(UserError):
    """MLflow does not answer."""


class MlflowReader(StudyReader):
    """Reads a study from an MLflow store.

    Parameters
    ----------
    tracking
        The store, and the experiment in it.

    Raises
    ------
    UserError
        If there is no such store or experiment, or the store does not answer.
    """

    def __init__(self, tracking: TrackingConfig) -> None:
        self.tracking, self.name = tracking, tracking.experiment
        with self._answering():
            self._client, uri = open_store(tracking, create=False)
        self.uri = without_credentials(uri).rstrip("/")
        self._known: dict[str, Run] = {}  # those that were found, so that MLflow is not asked for each file

    def _runs(self) -> tuple[str, Sequence[Run]]:
        with self._answering():
            experiment = self._client.get_experiment_by_name(self.name)
            assert experiment is not None  # `open_store` has seen it
            runs = self._search(experiment.experiment_id)
            found = [run for run in runs if run.data.tags.keys().isdisjoint({REPORT, EXPORT})]
            self._known |= {run.info.run_id: run for run in found}
        if not found:
            raise UserError(f"experiment {self.name} in {self.uri} has no runs; {SYNC}")
        return experiment.experiment_id, found

    def has(self, run_id: str, name: str) -> bool:
        """Tell whether a run has an artifact.

        Raises
        ------
        NoAnswerError
            If MLflow does not answer.
        """
        with self._answering():
            return name in [file.path for file in self._client.list_artifacts(run_id)]

    def check_writable(self) -> None:
        """Refuse a store in a file where nothing can be kept with the runs.

        Raises
        ------
        UserError
            If the file or its folder can't be written.
        """
        file = StoreFile.of(self.tracking.uri)
        if file is not None and not file.is_writable():
            raise UserError(
                f"{file.path} and its folder can't be written, and what is measured is kept there"
            )

    def add_artifact(self, run_id: str, path: Path) -> None:
        """Keep a file with a run.

        Raises
        ------
        NoAnswerError
            If MLflow does not answer.
        """
        with self._answering():
            log_file(self._client, run_id, path)

    def add_report(self, study: Study, title: str, report: Path) -> None:
        """Keep a report in the experiment of its study, as the artifact of a run that is no run of the study.

        Parameters
        ----------
        study
            The study.
        title
            The title of the report; an earlier report with this title is replaced.
        report
            The page.

        Raises
        ------
        UserError
            If MLflow does not answer, or the store can't be written.
        """
        self.check_writable()
        with self._answering():
            runs = self._search(study.experiment_id)
            earlier = [run.info.run_id for run in runs if run.data.tags.get(REPORT) == title]
            if earlier:
                run_id = earlier[0]
            else:
                tags = {REPORT: title, **authorship(report, "aggregate")}
                made = self._client.create_run(study.experiment_id, tags=tags, run_name=f"report of {title}")
                run_id = made.info.run_id
            keep_view(self._client, self._client.get_experiment(study.experiment_id))
            self._client.log_artifact(run_id, str(report))
            self._client.set_terminated(run_id)

    def register_model(self, study: Study, name: str, model_id: str, packed: Path) -> int:
        """Keep a model in the experiment of its study, and register it under the alias `ALIAS`.

        Parameters
        ----------
        study
            The study that it was exported from.
        name
            The name of the registered model, of which this becomes a version.
        model_id
            The identity of the model. If it is registered already, that version is returned.
        packed
            A folder in MLflow's own layout of models.

        Returns
        -------
        int
            The version.

        Raises
        ------
        UserError
            If MLflow does not answer, or the store can't be written.
        """
        self.check_writable()
        with self._answering():
            if not self._client.search_registered_models(f"name = '{name}'"):
                self._client.create_registered_model(name)
            for known in self._client.search_model_versions(f"name = '{name}'"):
                if known.tags.get(EXPORT) == model_id:
                    return int(known.version)
            tags = {EXPORT: model_id, **authorship(packed, "export")}
            run = self._client.create_run(study.experiment_id, tags=tags, run_name=f"model {name}").info
            self._client.log_artifacts(run.run_id, str(packed), "model")
            self._client.set_terminated(run.run_id)
            made = self._client.create_model_version(
                name, f"{run.artifact_uri}/model", run.run_id, tags={EXPORT: model_id}
            )
            self._client.set_registered_model_alias(name, ALIAS, made.version)
            return int(made.version)

    def fetch_model(self, name: str, version: int, folder: Path) -> Path:
        """Put a registered version of a model into a folder, and return its path.

        Raises
        ------
        NoAnswerError
            If MLflow does not answer, or has no such version.
        """
        with self._answering():
            run_id = str(self._client.get_model_version(name, str(version)).run_id)
            return Path(self._client.download_artifacts(run_id, "model", str(folder)))

    def download(self, run_id: str, name: str, folder: Path) -> Path:
        """Do what `StudyReader.download` does.

        Raises
        ------
        NoAnswerError
            If MLflow does not answer, or does not deliver such a file.
        UserError
            If the file is not as it was logged, or MLflow does not know its hash.
        """
        with self._answering():
            return self._fetch(run_id, name, folder)

    def _fetch(self, run_id: str, name: str, folder: Path) -> Path:
        """Do what `download` does, but raise whatever the store's driver raises."""
        run = self._known.get(run_id)
        path = self._download(run_id, run, name, folder)
        expected = None if run is None else run.data.tags.get(f"{HASH}{name}")
        if expected is None or sha256(path) != expected:  # as it was recorded since
            expected = self._client.get_run(run_id).data.tags.get(f"{HASH}{name}")
        if expected is None:
            raise UserError(f"MLflow lacks the hash of {name}: {SYNC}")
        if sha256(path) != expected:
            raise UserError(
                f"{name} in MLflow is damaged, or was changed since it was logged: its hash does not match"
            )
        return path

    def _download(self, run_id: str, run: Run | None, name: str, folder: Path) -> Path:
        if run is None or "?" in run.info.artifact_uri:
            return Path(self._client.download_artifacts(run_id, name, str(folder)))
        from mlflow.artifacts import download_artifacts

        # The client would ask the store for the run again, which takes 20 times as long as the file.
        address = f"{run.info.artifact_uri}/{name}"
        return Path(
            download_artifacts(artifact_uri=address, dst_path=str(folder), tracking_uri=self.tracking.uri)
        )

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Say in one line what the store's driver raises when the store does not answer."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if problem := problem_to_mend(error, self.tracking.uri):
                raise NoAnswerError(problem) from error
            where, why = without_credentials(str(self.tracking.uri)), describe(error)
            raise NoAnswerError(f"{where}: MLflow does not answer ({why})") from error

    def _search(self, experiment_id: str) -> list[Run]:
        """Return all runs of an experiment, which MLflow delivers in pages."""
        page = self._client.search_runs([experiment_id])
        found = list(page)
        while page.token:
            page = self._client.search_runs([experiment_id], page_token=page.token)
            found += page
        return found
