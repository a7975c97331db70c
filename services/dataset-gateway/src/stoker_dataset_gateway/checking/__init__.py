"""The data check: a whole file, row by row, as it streams past."""

from stoker_dataset_gateway.checking.file_kinds import name_fault

__all__ = ["name_fault"]
