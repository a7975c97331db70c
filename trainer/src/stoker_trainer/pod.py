"""`python -m stoker_trainer.pod`: one attempt on a rented machine, from the download to the exit report."""

import logging
import os
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stoker_trainer.artifacts import ArtifactGateway
from stoker_trainer.checkpoint_download import CheckpointGateway, GatewayAway, fetch_checkpoint
from stoker_trainer.checkpoint_upload import CheckpointUploader
from stoker_trainer.config import TrainingConfig, parse_config
from stoker_trainer.delivery import Delivery
from stoker_trainer.download import Renewal, download_dataset
from stoker_trainer.environment import PodEnvironment, hide_secrets, read_environment
from stoker_trainer.errors import EXIT_SUCCESS, InvalidEnvironment, Terminated, TrainerError, as_trainer_error
from stoker_trainer.files import read_json, write_json
from stoker_trainer.masking import Masker
from stoker_trainer.reporter import Reporter, ReporterSettings
from stoker_trainer.signals import TerminationWatch
from stoker_trainer.tee import Tee
from stoker_trainer.train import Outcome, run
from stoker_trainer.upload import upload_folder

LANDED = "landed"
_SECONDS_TO_REPORT = 5.0


@dataclass(frozen=True)
class Ending:
    """How the attempt ended. `summary` is the exit report's, None after a failure: then an empty one is sent."""

    exit_code: int
    reason: str
    message: str
    summary: dict[str, Any] | None = None


def main() -> int:
    """Run the attempt described by the environment; the exit code says how it ended."""
    watch = TerminationWatch()
    watch.install()
    try:
        pod = read_environment(os.environ)
    except InvalidEnvironment as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201 - there is nobody to report to yet
        return error.exit_code
    hide_secrets(os.environ)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it prints addresses with tokens
    return Attempt(pod, watch=watch).run()


class Attempt:
    """One attempt: reports all it does, and leaves a marker so that a restarted container does not train again."""

    def __init__(self, pod: PodEnvironment, *, watch: TerminationWatch) -> None:
        self._pod = pod
        self._watch = watch
        self._marker = pod.WORKSPACE / f"finished-attempt-{pod.JOB_ATTEMPT}.json"
        pod.WORKSPACE.mkdir(parents=True, exist_ok=True)
        masker = Masker(pod.secrets)
        self._stdout = Tee(sys.stdout, masker=masker, on_line=lambda line: self._reporter.line("stdout", line))
        self._stderr = Tee(sys.stderr, masker=masker, on_line=lambda line: self._reporter.line("stderr", line))
        self._mask = masker
        self._reporter = Reporter(
            ReporterSettings(
                metrics_url=pod.METRICS_API_URL,
                alerts_url=pod.ALERT_API_URL,
                attempt=pod.JOB_ATTEMPT,
                spool_folder=pod.WORKSPACE / "spool" / f"attempt-{pod.JOB_ATTEMPT}",
                report_every=timedelta(seconds=pod.STOKER_REPORT_SECONDS),
                heartbeat_every=timedelta(seconds=pod.STOKER_HEARTBEAT_SECONDS),
                sends_lines=pod.STOKER_SEND_LOGS,
            ),
            delivery=Delivery(token=pod.JOB_TOKEN.get_secret_value()),
            masker=masker,
            echo=self._stdout.print_only,
        )

    def run(self) -> int:
        """Do the work, report the end, return the exit code."""
        sys.stdout, sys.stderr = self._stdout, self._stderr
        finished = read_json(self._marker)
        if finished is not None:
            self._reporter.log(f"attempt {self._pod.JOB_ATTEMPT} ended before ({finished['reason']}); not run again")
            self._reporter.flush(limit=self._pod.retry_for)
            return int(finished["exit_code"])
        self._reporter.start()
        ending = self._work_to_the_end()
        with self._watch.deferred():  # a second SIGTERM may not cut off the report
            return self._close(ending)

    def _work_to_the_end(self) -> Ending:
        try:
            outcome = self._work()
        except Exception as error:  # noqa: BLE001 - whatever it was, the control plane is told
            return self._failure(error)
        if outcome.landing:
            steps, why = outcome.metrics["train"]["steps"], outcome.stopped_because
            return Ending(EXIT_SUCCESS, LANDED, f"landed after step {steps}: {why}", exit_summary(outcome.metrics))
        stopped = f"stopped early: {outcome.stopped_because}" if outcome.stopped_because else "training finished"
        return Ending(EXIT_SUCCESS, "success", stopped, summary=exit_summary(outcome.metrics))

    def _work(self) -> Outcome:
        pod, report = self._pod, self._reporter
        config = parse_config(pod.TRAINING_CONFIG)
        data = download_dataset(
            pod.DATASET_URL.get_secret_value(),
            folder=pod.WORKSPACE / "data",
            filename=pod.DATASET_FILENAME,
            sha256=pod.DATASET_SHA256,
            log=report.log,
            give_up_after=pod.retry_for,
            renewal=Renewal(pod.renewal_url, pod.JOB_TOKEN.get_secret_value()),
        )
        self._note_oddities(config)
        report.control()
        config = config.on_this_machine(data_path=data, output_dir=pod.WORKSPACE / "fine_tuned_model")
        return self._trained_and_stored(config)

    def _trained_and_stored(self, config: TrainingConfig) -> Outcome:
        sha256 = self._pod.DATASET_SHA256.lower()
        if not config.upload_checkpoints:
            outcome = run(
                config,
                report=self._reporter,
                watch=self._watch,
                dataset_sha256=sha256,
                fetch_checkpoint=self._fetch_checkpoint,
            )
            self._store(outcome)
            return outcome
        uploader = self._checkpoint_uploader(config)
        uploader.start()
        patience = self._pod.STOKER_CHECKPOINT_FLUSH_SECONDS
        try:
            outcome = run(
                config,
                report=self._reporter,
                watch=self._watch,
                dataset_sha256=sha256,
                on_checkpoint=uploader.offer,
                fetch_checkpoint=self._fetch_checkpoint,
            )
            patience = 0.0  # the result is there: nobody will go on from a checkpoint
            if outcome.landing:
                self._store(outcome)  # first of all, while the last checkpoint is on its way
                patience = self._seconds_until(outcome.landing.deadline)
        finally:
            with self._watch.deferred():
                if patience and self._watch.has_time:
                    patience = self._pod.STOKER_LANDING_SECONDS - self._watch.seconds_since_request
                uploader.close(patience_seconds=patience)
        if self._watch.is_requested and not self._watch.has_time:
            raise Terminated
        if not outcome.landing:
            self._store(outcome)
        return outcome

    def _store(self, outcome: Outcome) -> None:
        count = upload_folder(
            outcome.output,
            url=self._pod.ARTIFACTS_API_URL,
            token=self._pod.JOB_TOKEN.get_secret_value(),
            log=self._reporter.log,
            give_up_after=self._pod.retry_for,
        )
        self._reporter.log(f"{count} files stored")

    def _seconds_until(self, deadline: str | None) -> float:
        # Until a machine is taken away; the exit report needs a moment too.
        if deadline is None:
            return self._pod.STOKER_CHECKPOINT_FLUSH_SECONDS
        left = (datetime.fromisoformat(deadline) - datetime.now(UTC)).total_seconds() - _SECONDS_TO_REPORT
        return min(max(left, 0.0), self._pod.STOKER_RETRY_SECONDS)

    def _fetch_checkpoint(self, folder: Path, fingerprint: str) -> None:
        """What an earlier attempt has stored. Without it training begins at the first step, and a person is told."""
        pod, report = self._pod, self._reporter
        if not pod.RESUME_CHECKPOINTS:
            report.log("training begins at the first step: checkpoints of earlier attempts are not wanted")
            return
        gateway = CheckpointGateway(
            pod.checkpoints_url, token=pod.JOB_TOKEN.get_secret_value(), log=report.log, give_up_after=pod.retry_for
        )
        try:
            fetch_checkpoint(gateway, folder, fingerprint=fingerprint, log=report.log)
        except (GatewayAway, OSError) as error:
            report.alert("warning", "checkpoint_not_fetched", f"no checkpoint of an earlier attempt is used: {error}")
        finally:
            gateway.close()

    def _checkpoint_uploader(self, config: TrainingConfig) -> CheckpointUploader:
        gateway = ArtifactGateway(
            self._pod.ARTIFACTS_API_URL,
            token=self._pod.JOB_TOKEN.get_secret_value(),
            log=self._reporter.log,
            give_up_after=self._pod.retry_for,
        )
        return CheckpointUploader(
            gateway,
            folder=self._pod.WORKSPACE / "outgoing-checkpoints",
            keep=config.keep_uploaded_checkpoints,
            log=self._reporter.log,
            warn=lambda code, text: self._reporter.alert("warning", code, text),
            on_stored=lambda seconds: self._reporter.took("upload", seconds),
        )

    def _note_oddities(self, config: TrainingConfig) -> None:
        if config.model.name_or_path != self._pod.MODEL_NAME:
            self._reporter.log(f"MODEL_NAME is {self._pod.MODEL_NAME}; the configuration's model is used")
        if not self._pod.DEFAULT_PRETOKENIZE:
            self._reporter.log("DEFAULT_PRETOKENIZE=false is not supported: rows are always tokenised before training")

    def _failure(self, error: Exception) -> Ending:
        known: TrainerError = as_trainer_error(error)
        if type(known) is not type(error):
            traceback.print_exception(error)  # to stderr and so to the log; the exit report stays readable
        message = self._mask(str(known))
        self._reporter.alert("error", known.reason, message)
        return Ending(known.exit_code, known.reason, message)

    def _close(self, ending: Ending) -> int:
        self._stdout.close()
        self._stderr.close()
        report = {
            "exit_code": ending.exit_code,
            "reason": ending.reason,
            "message": ending.message,
            "last_lines": self._reporter.last_lines,
            "summary": ending.summary or {},
        }
        if ending.exit_code != Terminated.exit_code:  # after a SIGTERM a restart may resume
            self._mark(ending)
        was_taken = self._reporter.finish(report, limit=self._flush_limit(ending))
        self._stdout.print_only(f"exit {ending.exit_code} ({ending.reason}), reports taken: {was_taken}")
        return ending.exit_code

    def _mark(self, ending: Ending) -> None:
        try:
            write_json(self._marker, {"exit_code": ending.exit_code, "reason": ending.reason})
        except OSError as error:  # a full disk is no reason to be silent about the end
            self._reporter.log(f"warning: a restarted container will train again, {self._marker} is missing: {error}")

    def _flush_limit(self, ending: Ending) -> timedelta:
        if ending.exit_code == EXIT_SUCCESS:
            return self._pod.retry_for
        # A failed machine costs money for nothing: it does not wait long to be heard.
        return timedelta(seconds=self._pod.STOKER_FAILURE_FLUSH_SECONDS)


def exit_summary(metrics: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the exit report. Losses in nats per token."""
    return {
        "held_out_loss_before": metrics["held_out"]["loss_before"],
        "held_out_loss_after": metrics["held_out"]["loss_after"],
        "train_loss": metrics["train"]["loss_last"],
        "steps": metrics["train"]["steps"],
        "tokens": metrics["train"]["tokens"],
        "resumed_from_step": metrics["train"]["resumed_from_step"],
    }


if __name__ == "__main__":
    sys.exit(main())
