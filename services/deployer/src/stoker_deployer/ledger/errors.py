"""What can go wrong in the ledger."""

from stoker_shared.errors import StokerError


class BudgetRowMissing(StokerError):
    """A budget that a job draws from has no row, although it was just locked."""

    code = "budget_row_missing"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"A budget above {job_id} has no row.", next_step="Nothing was posted; look whether rows were deleted."
        )
