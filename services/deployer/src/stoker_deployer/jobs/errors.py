"""What can go wrong with a job's row."""

from stoker_shared.errors import StokerError


class ClaimLost(StokerError):
    """Somebody else has the job now, or it moved on: whatever was computed is dropped."""

    code = "claim_lost"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"The claim on {job_id} is lost.", next_step="Nothing is to be done: its holder goes on.")
        self.job_id = job_id


class SecondMachine(StokerError):
    """A provider holds more than one machine for one attempt."""

    code = "second_machine"
