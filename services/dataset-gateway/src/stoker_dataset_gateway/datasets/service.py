"""Questions about dataset versions."""

from stoker_dataset_gateway.datasets.repository import DatasetRepository
from stoker_dataset_gateway.datasets.schemas import facts_of
from stoker_shared.database import Database
from stoker_shared.errors import NotFound
from stoker_shared.rpc.dataset_gateway import DatasetFacts, DatasetList, DescribeDataset, ListDatasets


class DatasetService:
    """Answers what the api and the deployer ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._versions = DatasetRepository()

    async def describe(self, request: DescribeDataset) -> DatasetFacts:
        """One version.

        Raises:
            NotFound: none, or somebody else's.
        """
        async with self._database.transaction() as session:
            version = await self._versions.of_owner(session, request.dataset_version_id, owner=request.owner)
        if version is None:
            raise NotFound("dataset", request.dataset_version_id, next_step="List your datasets, or upload the file.")
        return facts_of(version)

    async def list(self, request: ListDatasets) -> DatasetList:
        """The newest versions of an owner, with figures and counts; `describe` also has faults and sample."""
        async with self._database.transaction() as session:
            versions = await self._versions.newest(session, owner=request.owner, limit=request.limit)
        return DatasetList(datasets=[_brief(facts_of(version)) for version in versions])


def _brief(facts: DatasetFacts) -> DatasetFacts:
    # A thousand versions with all their faults would not fit into a message of the broker.
    return facts.model_copy(update={"faults": [], "warnings": [], "sample": ""})
