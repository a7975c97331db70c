"""`/v1/datasets`: asked of the dataset gateway, which owns them."""

from typing import Annotated

from fastapi import APIRouter, Query

from stoker_api.datasets.schemas import NewDataset
from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.paths import DatasetVersionPath
from stoker_api.responses import NOT_FOUND, UNAUTHORISED, UNAVAILABLE
from stoker_shared.rpc.dataset_gateway import (
    DESCRIBE,
    LIST,
    OPEN_UPLOAD,
    DatasetFacts,
    DatasetList,
    DescribeDataset,
    ListDatasets,
    UploadOpened,
)

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], responses={**UNAUTHORISED, **UNAVAILABLE})


@router.post("", status_code=201, summary="Open an upload")
async def open_upload(wanted: NewDataset, account: CurrentAccount, parts: PartsOfRequest) -> UploadOpened:
    """Answers with the URL and token to send the bytes to, by tus 1.0 or with one `PUT`.

    Content that is stored already needs no upload. An unfinished upload of the same file is opened again: `HEAD` on
    its URL tells where to go on.
    """
    return await parts.rpc.ask(OPEN_UPLOAD, wanted.request_of(account.user_id))


@router.get("", summary="List datasets")
async def list_datasets(
    account: CurrentAccount, parts: PartsOfRequest, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> DatasetList:
    """Your dataset versions, newest first."""
    return await parts.rpc.ask(LIST, ListDatasets(owner=account.user_id, limit=limit))


@router.get("/{dataset_version_id}", summary="Get a dataset version", responses=NOT_FOUND)
async def get_dataset(
    dataset_version_id: DatasetVersionPath, account: CurrentAccount, parts: PartsOfRequest
) -> DatasetFacts:
    """State, format, statistics, and the faults of a rejected file with their lines."""
    question = DescribeDataset(owner=account.user_id, dataset_version_id=dataset_version_id)
    return await parts.rpc.ask(DESCRIBE, question)
