"""Good and bad files, each with the verdicts that it must get: of the gateway's check, of the trainer, of TRL."""

from tests.support.corpus.bad_files import BAD_FILES
from tests.support.corpus.bad_rows import BAD_ROWS
from tests.support.corpus.case import Case
from tests.support.corpus.good_files import GOOD_FILES
from tests.support.corpus.good_rows import GOOD_ROWS
from tests.support.corpus.preferences import PREFERENCE_CASES

CORPUS: list[Case] = [*GOOD_FILES, *GOOD_ROWS, *PREFERENCE_CASES, *BAD_FILES, *BAD_ROWS]

__all__ = ["CORPUS", "Case"]
