"""What is kept of jobs that have ended, and for how long."""

from dataclasses import dataclass
from datetime import timedelta

from stoker_dataset_gateway.artifacts.checkpoints import PREFIX
from stoker_dataset_gateway.artifacts.recording import DELETE_AT_ONCE, ArtifactRecorder
from stoker_dataset_gateway.artifacts.repository import ArtifactRepository
from stoker_dataset_gateway.foundation import Foundation
from stoker_shared.logging import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How long things are kept. `checkpoints` and `others` count from the end of the job's last attempt, None: always.

    `uploads` counts from the last part that came; `answers` is how long a finished upload can be asked about.
    """

    checkpoints: timedelta | None
    others: timedelta | None
    uploads: timedelta
    answers: timedelta


class Retention:
    """Applies the rules, a batch at a time."""

    def __init__(self, foundation: Foundation, recorder: ArtifactRecorder, *, rules: RetentionRules) -> None:
        self._database = foundation.database
        self._recorder = recorder
        self._clock = foundation.clock
        self._rules = rules
        self._artifacts = ArtifactRepository()

    async def sweep(self) -> None:
        """Apply the rules once."""
        ended = await self._recorder.abandon_uploads(lifetime=self._rules.uploads, keep_stored=self._rules.answers)
        if ended:
            logger.info("abandoned artifact uploads ended", count=ended)
        for is_checkpoint, keep in ((True, self._rules.checkpoints), (False, self._rules.others)):
            if keep is not None:
                await self._delete_older(keep, is_checkpoint=is_checkpoint)

    async def _delete_older(self, keep: timedelta, *, is_checkpoint: bool) -> None:
        while True:
            async with self._database.transaction() as session:
                found = await self._artifacts.of_jobs_ended_before(
                    session,
                    self._clock.now() - keep,
                    prefix=PREFIX,
                    has_prefix=is_checkpoint,
                    limit=DELETE_AT_ONCE,
                )
            if not found:
                return
            deleted = await self._recorder.remove(found, why="retention")
            logger.info("artifacts deleted by retention", count=deleted, keep_days=keep.days, checkpoints=is_checkpoint)
            if len(found) < DELETE_AT_ONCE:
                return
