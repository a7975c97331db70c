"""Token statistics of a stored version: counted where the tokenizer is at hand, estimated elsewhere."""

import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from stoker_dataset_gateway.checking.checker import Checker, StoredFile, TokenJob
from stoker_dataset_gateway.datasets.repository import DatasetRepository
from stoker_dataset_gateway.datasets.schemas import facts_of
from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_dataset_gateway.lengths.counting import TokenFigures, TokenRequest
from stoker_shared.database import Database
from stoker_shared.errors import Conflict, NotFound
from stoker_shared.object_store.address import StoreAddress
from stoker_shared.rpc.dataset_gateway import DatasetStatistics, MeasureTokens, TokenStatistics

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class CountingRules:
    """At most `most_rows` rows of the first `most_bytes` bytes are counted, for no longer than `within`.

    `model_root`: only folders below it are looked at; None for any folder.
    """

    most_rows: int
    most_bytes: int
    within: timedelta
    model_root: Path | None = None


class LengthService:
    """Answers how long rows are."""

    def __init__(self, database: Database, checker: Checker, *, address: StoreAddress, rules: CountingRules) -> None:
        self._database = database
        self._checker = checker
        self._address = address
        self._rules = rules
        self._versions = DatasetRepository()

    async def token_statistics(self, request: MeasureTokens) -> TokenStatistics:
        """Tokens a row, by the model's own tokenizer if its folder can be read here, else by a stated estimate.

        Raises:
            NotFound: no such version of this owner.
            Conflict: it is not stored.
        """
        async with self._database.transaction() as session:
            version = await self._versions.of_owner(session, request.dataset_version_id, owner=request.owner)
        if version is None:
            raise NotFound("dataset", request.dataset_version_id, next_step="List your datasets, or upload the file.")
        if version.state != "stored":
            raise Conflict(f"The dataset {version.id} is {version.state}, not stored.", next_step="Upload it whole.")
        statistics = facts_of(version).statistics
        folder = self._folder(request.name_or_path)
        if folder is None:
            return estimated(statistics, max_length=request.max_length, why="the model is not in a folder here")
        figures = await self._counted(version, folder, rows=statistics.rows, max_length=request.max_length)
        if figures is None or not figures.lengths:
            why = "the folder has no tokenizer.json" if figures is not None else "counting failed or took too long"
            return estimated(statistics, max_length=request.max_length, why=why)
        return counted(figures, rows=statistics.rows, max_length=request.max_length)

    async def _counted(
        self, version: DatasetVersion, folder: Path, *, rows: int, max_length: int
    ) -> TokenFigures | None:
        stride = max(1, math.ceil(rows / self._rules.most_rows))
        file = StoredFile(
            address=self._address,
            key=version.object_key or "",  # a stored version has one, says the table
            filename=version.filename,
            sha256=version.sha256,
            size_bytes=version.size_bytes,
        )
        request = TokenRequest(str(folder), max_length, stride, self._rules.most_bytes)
        return await self._checker.count_tokens(TokenJob(file, request), within=self._rules.within)

    def _folder(self, name_or_path: str) -> Path | None:
        folder = Path(name_or_path)
        if not folder.is_absolute() or not (folder / "tokenizer.json").is_file():
            return None
        root = self._rules.model_root
        return folder if root is None or folder.resolve().is_relative_to(root.resolve()) else None


def counted(figures: TokenFigures, *, rows: int, max_length: int) -> TokenStatistics:
    """What was counted, as it is told."""
    lengths, measured = figures.lengths, len(figures.lengths)
    basis = ["the model's tokenizer", "its chat template" if figures.has_template else "it has no chat template"]
    if measured < rows:
        part = "" if figures.is_whole else f" of the first {figures.rows_passed}"
        basis.append(f"every {math.ceil(figures.rows_passed / measured)}th row{part}")
    if figures.refused:
        basis.append(f"{figures.refused} of the counted rows are refused by the chat template")
    return TokenStatistics(
        rows=rows,
        rows_measured=measured,
        tokens_p50=_percentile(lengths, 50),
        tokens_p95=_percentile(lengths, 95),
        tokens_max=lengths[-1],
        tokens_total=round(sum(lengths) / measured * rows),
        truncated_share=sum(length > max_length for length in lengths) / measured,
        is_exact=True,
        basis="; ".join(basis),
        rendered_sample=figures.sample,
    )


def estimated(statistics: DatasetStatistics, *, max_length: int, why: str) -> TokenStatistics:
    """A guess from characters, and what it rests on."""
    longest = math.ceil(statistics.characters_max / CHARACTERS_PER_TOKEN)
    return TokenStatistics(
        rows=statistics.rows,
        rows_measured=0,
        tokens_p50=math.ceil(statistics.characters_p50 / CHARACTERS_PER_TOKEN),
        tokens_p95=math.ceil(statistics.characters_p95 / CHARACTERS_PER_TOKEN),
        tokens_max=longest,
        tokens_total=math.ceil(statistics.characters_total / CHARACTERS_PER_TOKEN),
        truncated_share=0.0 if longest <= max_length else None,
        is_exact=False,
        basis=f"characters / {CHARACTERS_PER_TOKEN}, without the chat template; {why}",
    )


def _percentile(lengths: list[int], percent: int) -> int:
    """Nearest rank of sorted lengths."""
    return lengths[max(0, -(-len(lengths) * percent // 100) - 1)]
