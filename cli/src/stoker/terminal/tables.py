"""Objects of Stoker as tables."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from stoker.client.models import Dataset, Job, RankedOffer, SavedRecipe
from stoker.terminal.figures import show_bytes
from stoker_shared.money import show_usd
from stoker_shared.rpc.dataset_gateway import ArtifactFacts, RowFault
from stoker_shared.rpc.deployer import BudgetFacts, Offer, ProviderHealth, SecretFacts
from stoker_shared.rpc.metrics import AlertFacts


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table in the style of all others; a column whose name begins with > is of figures."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return made


def fault_table(faults: Iterable[RowFault]) -> Table:
    """What is wrong with which row."""
    made = table(">line", "column", "fault", "excerpt")
    for fault in faults:
        line = str(fault.line) if fault.line else f"row {fault.row}" if fault.row else "file"
        made.add_row(line, escape(fault.column), escape(fault.message), escape(_short(fault.excerpt, 60)))
    return made


def dataset_table(datasets: Iterable[Dataset]) -> Table:
    """Dataset versions, newest first."""
    made = table("dataset", "name", "state", "format", ">rows", ">size", "created")
    for dataset in datasets:
        made.add_row(
            dataset.dataset_version_id,
            escape(dataset.name),
            dataset.state if not dataset.faults_total else f"{dataset.state} ({dataset.faults_total} faults)",
            dataset.data_format.value if dataset.data_format else "",
            f"{dataset.statistics.rows:,}",
            show_bytes(dataset.size_bytes),
            _moment(dataset.created_at),
        )
    return made


def job_table(jobs: Iterable[Job], *, now: datetime) -> Table:
    """Jobs, newest first."""
    made = table("job", "name", "status", ">attempt", "on", ">cost", "reason", "created")
    for job in jobs:
        where = " ".join(part for part in (job.provider, job.gpu_type) if part)
        # While it waits, what it waits for is the news.
        reason = f"{job.queue.reason} (place {job.queue.position})" if job.queue else job.reason or ""
        cost, created = show_usd(job.cost_at(now)), _moment(job.created_at)
        made.add_row(
            job.job_id, escape(job.name), job.status, str(job.attempt), escape(where), cost, escape(reason), created
        )
    return made


def alert_table(alerts: Iterable[AlertFacts]) -> Table:
    """What a job's pods raised, in order."""
    made = table("at", ">attempt", "level", "code", "message")
    for alert in alerts:
        style = "[red]" if alert.level == "error" else "[yellow]"
        made.add_row(
            f"{alert.at.astimezone():%Y-%m-%d %H:%M:%S}",
            str(alert.attempt),
            f"{style}{alert.level}[/]",
            escape(alert.code),
            escape(alert.message),
        )
    return made


def budget_table(budgets: Iterable[BudgetFacts]) -> Table:
    """What is held and spent of which limit."""
    made = table("budget", ">limit", ">spent", ">held", ">free")
    for budget in budgets:
        limit, committed = budget.limit_micro_usd, budget.committed_micro_usd
        made.add_row(
            f"project {escape(budget.name)}" if budget.kind == "project" else "all your jobs",
            "none" if limit is None else show_usd(limit),
            show_usd(committed - budget.held_micro_usd),
            show_usd(budget.held_micro_usd),
            "" if limit is None else show_usd(max(limit - committed, 0)),
        )
    return made


def secret_table(secrets: Iterable[SecretFacts]) -> Table:
    """Which keys are set. Of the key its end at most."""
    made = table("secret", "state", "ends in", "set", ">version")
    for secret in secrets:
        hint = f"...{escape(secret.hint)}" if secret.hint else ""
        made.add_row(
            escape(secret.name), secret.state, hint, f"{secret.set_at:%Y-%m-%d %H:%M} UTC", str(secret.version)
        )
    return made


def artifact_table(artifacts: Iterable[ArtifactFacts]) -> Table:
    """Stored files with their checksums."""
    made = table("file", ">size", ">attempt")
    made.add_column("SHA-256", min_width=64, no_wrap=True)
    for artifact in artifacts:
        made.add_row(escape(artifact.name), show_bytes(artifact.size_bytes), str(artifact.attempt), artifact.sha256)
    return made


def ranked_offer_table(offers: Sequence[RankedOffer]) -> Table:
    """A plan's offers, best first."""
    made = table("provider", "GPU", "place", ">per hour", ">memory", ">needed", "fit", "free")
    for ranked in offers:
        made.add_row(
            *_offer_cells(ranked.offer),
            show_bytes(ranked.capacity_bytes),
            show_bytes(ranked.needed_bytes),
            ranked.fit.replace("_", " "),
            _free(ranked.offer),
        )
    return made


def offer_table(offers: Iterable[Offer]) -> Table:
    """What can be rented, cheapest first."""
    made = table("provider", "GPU", "place", ">per hour", ">memory", "free")
    for offer in offers:
        memory = show_bytes(offer.vram_bytes if offer.gpu_count else offer.memory_bytes)
        made.add_row(*_offer_cells(offer), memory, _free(offer))
    return made


def provider_table(providers: Iterable[ProviderHealth]) -> Table:
    """Whether providers can be used."""
    made = table("provider", "usable", "detail", "next step")
    for provider in providers:
        usable = _yes(provider.is_usable) if provider.is_set_up else "not set up"
        made.add_row(escape(provider.provider), usable, escape(provider.detail), escape(provider.next_step))
    return made


def unknown_machine_lines(providers: Iterable[ProviderHealth]) -> list[str]:
    """Machines that bear a name of ours and that no job knows."""
    return [
        f"[yellow]{escape(provider.provider)} has a machine {escape(machine.name)} that no job of this installation "
        f"knows[/], seen since {_moment(machine.first_seen_at)}. It is not touched; if it is nobody's, end it there."
        for provider in providers
        for machine in provider.unknown_machines
    ]


def recipe_table(recipes: Iterable[SavedRecipe]) -> Table:
    """Saved recipes, newest first."""
    made = table("recipe", "name", ">version", "method", "model", "created")
    for saved in recipes:
        recipe = saved.recipe
        model, created = escape(recipe.model.name_or_path), _moment(saved.created_at)
        made.add_row(saved.recipe_id, escape(saved.name), str(saved.version), recipe.method, model, created)
    return made


def _offer_cells(offer: Offer) -> tuple[str, str, str, str]:
    gpu = f"{offer.gpu_count} x {offer.gpu_type}" if offer.gpu_count else offer.gpu_type
    return escape(offer.provider), escape(gpu), escape(offer.place), show_usd(offer.price_micro_usd_per_hour)


def _moment(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment else ""


def _yes(value: bool) -> str:  # noqa: FBT001 - a word for a flag
    return "yes" if value else "no"


def _free(offer: Offer) -> str:
    # "low stock" is worth knowing: it may be gone when the job begins.
    return f"yes, {offer.stock} stock" if offer.is_available and offer.stock else _yes(offer.is_available)


def _short(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."
