"""The data check: a whole file, row by row, as it streams past."""

from stoker_dataset_gateway.checking.file_check import FileCheck, check_file
from stoker_dataset_gateway.checking.file_kinds import name_fault
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.result import CheckResult

__all__ = ["CheckLimits", "CheckResult", "FileCheck", "check_file", "name_fault"]
