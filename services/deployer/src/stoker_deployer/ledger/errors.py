"""What can go wrong in the ledger."""

from stoker_shared.errors import StokerError, UserError


class BudgetRowMissing(StokerError):
    """A budget that a job draws from has no row, although it was just locked."""

    code = "budget_row_missing"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"A budget above {job_id} has no row.", next_step="Nothing was posted; look whether rows were deleted."
        )


class BudgetMisnamed(UserError):
    """A budget of a project needs the project's name; a user's own has none."""

    code = "budget_misnamed"
    status = 422
    title = "Which budget?"

    def __init__(self, kind: str) -> None:
        wanted = "needs the name of the project" if kind == "project" else "has no name"
        super().__init__(f"A budget of kind {kind!r} {wanted}.", next_step="Name a project, or set the user's budget.")
