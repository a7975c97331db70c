"""From rows to what is told of an upload."""

from stoker_dataset_gateway.datasets.schemas import facts_of
from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_dataset_gateway.errors import DatasetRejected
from stoker_dataset_gateway.uploads.tables import DECIDED, UNFINISHED, Upload, UploadState
from stoker_shared.rpc.dataset_gateway import UploadProblem, UploadStatus
from stoker_shared.trace import current_trace_id


def status_of(upload: Upload, version: DatasetVersion) -> UploadStatus:
    """How far an upload is, that is unfinished or decided."""
    facts = facts_of(version) if upload.state in DECIDED else None
    problem = UploadProblem(**upload.problem, trace_id=current_trace_id()) if upload.problem else None
    if facts is not None and upload.state == UploadState.REJECTED:
        rejected = DatasetRejected(facts)
        problem = UploadProblem(
            code=rejected.code,
            status=rejected.status,
            title=rejected.title,
            detail=rejected.detail,
            next_step=rejected.next_step,
            trace_id=current_trace_id(),
        )
    return UploadStatus.model_validate(
        {
            "state": upload.state,
            "offset_bytes": upload.offset_bytes,
            "size_bytes": upload.size_bytes,
            "checked_bytes": upload.checked_bytes,
            "expires_at": upload.expires_at if upload.state in UNFINISHED else None,
            "facts": facts,
            "problem": problem,
        }
    )
