"""The demo from its beginning to its end: what a user would do by hand, through the public client."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from stoker.client import Client
from stoker.client.models import Dataset, Job, Plan
from stoker.client.transfer import hash_file
from stoker.commands.artifacts import latest_attempt
from stoker.demo.base_model import fetch_base_model
from stoker.demo.errors import JobNotCompleted
from stoker.demo.plan import ASKED, BUDGET_USD, QUESTION, DemoOptions, DemoResult, demo_recipe
from stoker.demo.programs import run_program
from stoker.demo.runpod import SimulatedRunpod
from stoker.demo.sites import Site, ThisMachine
from stoker.demo.stages import Stages
from stoker.terminal.board import LOSS
from stoker.terminal.plans import print_plan
from stoker.terminal.tables import artifact_table
from stoker.terminal.watching import end_lines, watch
from stoker_shared.clock import Clock
from stoker_shared.rpc.dataset_gateway import ArtifactFacts


class Demo:
    """One run of the demo. Works in one folder, which keeps the model and the stack for the next run."""

    def __init__(self, options: DemoOptions, *, console: Console, clock: Clock) -> None:
        self._options = options
        self._folder = options.folder.absolute()
        self._console = console
        self._clock = clock
        self._site: Site = SimulatedRunpod() if options.provider == "runpod" else ThisMachine()
        self._stages = Stages(console, left_out=self._site.stages_left_out)
        self.result = DemoResult(stages=self._stages.seconds)

    def run(self) -> DemoResult:
        """All stages.

        Raises:
            StokerError: a stage failed; the stack is stopped all the same.
        """
        with self._stages.stage("model"):
            model = fetch_base_model(self._folder / "model")
            self._console.print(f"      {model}")
        with self._stages.stage("dataset"):
            file = self._write_dataset()
        self._site.prepare(self._folder, model, stages=self._stages)
        stack = self._site.stack(self._folder / "stack")
        try:
            with self._stages.stage("stack"):
                stack.start()
            with Client(data_dir=stack.data_dir) as client:
                self._console.print(f"      api {client.server.url}")
                self._cancel_leftovers(client)
                result_folder = self._main_path(client, file, model)
            with self._stages.stage("compare"):
                self._compare(model, result_folder)
        finally:
            with self._stages.stage("stop"):
                stack.stop()
        return self.result

    def _cancel_leftovers(self, client: Client) -> None:
        # A stack goes on with unfinished jobs; one of an interrupted demo would hold the only slot of this machine.
        for job in client.jobs():
            if not job.is_over:
                client.cancel(job.job_id)
                self._console.print(f"      {job.job_id} of an interrupted run is cancelled")

    def _main_path(self, client: Client, file: Path, model: Path) -> Path:
        with self._stages.stage("upload"):
            dataset = self._upload(client, file)
        with self._stages.stage("plan"):
            plan = self._plan(client, dataset, model)
        with self._stages.stage("train"):
            job = self._train(client, plan)
        with self._stages.stage("download"):
            folder = self._download(client, job)
        self._site.settle(client, job, result=self.result, stages=self._stages)
        return folder

    def _write_dataset(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "python-stdlib.jsonl"
        run_program(
            [sys.executable, "-m", "stoker.demo.dataset", str(file), ASKED],
            what="The writing of the dataset",
            log_file=self._folder / "dataset.log",
            timeout=120,
            next_step="This is a fault of the demo: please report it.",
        )
        rows = file.read_text(encoding="utf-8").splitlines()
        self._console.print(f"      {len(rows):,} rows in {file}; {ASKED} is left out, to be asked about later")
        self._console.print(f"      {rows[0]}", markup=False)
        return file

    def _upload(self, client: Client, file: Path) -> Dataset:
        dataset = client.upload_dataset(file, name="Python standard library")
        self._console.print(
            f"      {dataset.dataset_version_id}: {dataset.statistics.rows:,} rows {dataset.state}, "
            f"{dataset.faults_total} faults, sha256 {dataset.sha256}",
        )
        self.result.dataset = dataset.model_dump(mode="json", include={"dataset_version_id", "sha256", "size_bytes"})
        self.result.dataset["rows"] = dataset.statistics.rows
        return dataset

    def _plan(self, client: Client, dataset: Dataset, model: Path) -> Plan:
        recipe = demo_recipe(self._site.model_name(model), self._options)
        plan = client.plan(dataset, recipe=recipe, budget_usd=BUDGET_USD, **self._site.choice())
        print_plan(plan, self._console)
        self.result.forecast = plan.forecast.model_dump(mode="json") if plan.forecast else {}
        return plan

    def _train(self, client: Client, plan: Plan) -> Job:
        launched = client.launch(plan)
        watch(client.follow(launched.job_id), job=launched, console=self._console, clock=self._clock)
        job = client.job(launched.job_id)
        for line in end_lines(job, now=self._clock.now()):
            self._console.print(line)
        self.result.job = job.model_dump(mode="json")
        if job.status != "completed":
            why = " ".join(text for text in (job.message, job.detail) if text)
            raise JobNotCompleted(job.job_id, status=job.status, why=why, logs=self._folder / "stack/logs")
        self.result.cost_micro_usd = job.spent_micro_usd
        steps = {point.step: point.values[LOSS] for point in client.metrics(job.job_id) if LOSS in point.values}
        self.result.losses = [loss for _, loss in sorted(steps.items()) if loss is not None]
        return job

    def _download(self, client: Client, job: Job) -> Path:
        folder = self._folder / "result" / job.job_id
        artifacts = latest_attempt(client.artifacts(job.job_id))
        for artifact in artifacts:
            client.download_artifact(artifact, folder)
        self._console.print(artifact_table(artifacts))
        self._console.print(f"      in {folder}")
        self.result.artifacts = [_checked(artifact, folder) for artifact in artifacts]
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        self.result.held_out = metrics["held_out"]
        return folder

    def _compare(self, model: Path, result_folder: Path) -> None:
        output = run_program(
            [sys.executable, "-m", "stoker_trainer.compare", str(model), str(result_folder), "--prompt", QUESTION],
            what="The comparison of both models",
            log_file=self._folder / "compare.log",
            timeout=600,
            next_step=f"The whole output is in {self._folder / 'compare.log'}.",
        )
        self.result.answers = json.loads(output)["prompts"][0]


def _checked(artifact: ArtifactFacts, folder: Path) -> dict[str, Any]:
    # The client has compared already; the demo looks at the file that lies there, once more.
    on_disk = hash_file(folder / artifact.name).sha256
    return artifact.model_dump(mode="json", include={"name", "size_bytes", "sha256"}) | {"sha256_on_disk": on_disk}
