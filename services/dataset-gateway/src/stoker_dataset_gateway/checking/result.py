"""What a check found."""

from dataclasses import dataclass, field

from stoker_dataset_gateway.checking.faults import RowFaulty, fault_of
from stoker_dataset_gateway.checking.rules import FaultCode
from stoker_shared.recipe import FORMATS_OF_METHODS, Conversion, DataFormat
from stoker_shared.rpc.dataset_gateway import DatasetStatistics, RowFault


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Without faults the file can be trained on with any of `fits_methods`. Warnings stop nothing."""

    data_format: DataFormat | None
    statistics: DatasetStatistics
    faults: list[RowFault]
    fault_counts: dict[str, int]
    sample: str
    conversion: Conversion | None = None
    warnings: list[RowFault] = field(default_factory=list)
    warning_counts: dict[str, int] = field(default_factory=dict)

    @property
    def faults_total(self) -> int:
        """All faults, listed or not."""
        return sum(self.fault_counts.values())

    @property
    def fits_methods(self) -> list[str]:
        """Methods that can learn from these rows."""
        if self.data_format is None or self.fault_counts:
            return []
        return sorted(method for method, formats in FORMATS_OF_METHODS.items() if self.data_format in formats)


def check_failed(reason: str) -> CheckResult:
    """What is told of a file on which the check itself ended without a result, more than once."""
    fault = fault_of(RowFaulty(FaultCode.CHECK_FAILED, reason=reason), line=0)
    return CheckResult(
        data_format=None,
        statistics=DatasetStatistics(),
        faults=[fault],
        fault_counts={fault.code: 1},
        sample="",
    )
