"""From rows to what is told."""

from typing import Any

from stoker_dataset_gateway.checking import CheckResult
from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_shared.rpc.dataset_gateway import DatasetFacts


def facts_of(version: DatasetVersion) -> DatasetFacts:
    """All that is known of a version."""
    return DatasetFacts.model_validate(
        {
            **version.report,
            "dataset_version_id": version.id,
            "owner": version.owner,
            "name": version.name,
            "filename": version.filename,
            "state": version.state,
            "sha256": version.sha256,
            "size_bytes": version.size_bytes,
            "created_at": version.created_at,
        }
    )


def report_of(result: CheckResult) -> dict[str, Any]:
    """What the check found, as the row keeps it."""
    return {
        "data_format": result.data_format.value if result.data_format else None,
        "conversion": result.conversion.value if result.conversion else None,
        "fits_methods": result.fits_methods,
        "statistics": result.statistics.model_dump(mode="json"),
        "faults_total": result.faults_total,
        "fault_counts": result.fault_counts,
        "faults": [fault.model_dump(mode="json") for fault in result.faults],
        "warning_counts": result.warning_counts,
        "warnings": [warning.model_dump(mode="json") for warning in result.warnings],
        "sample": result.sample,
    }
