"""Rows per second of the whole-file check, against loading the same file with `datasets` and checking it TRL's way.

Both read the same JSON Lines file of chat rows from disk, each in a process of its own, imports not counted. Ours also
computes the SHA-256, counts duplicates and what the default split would leak, and looks for private data. The rival is
`datasets.load_dataset("json")` with a fresh cache, then a plain loop over its rows with `trl`'s `is_conversational`
and a look at each turn's role and content; it says nothing of lines, columns or duplicates.

    python -m benchmarks.bench_check [--rows 1000000] [--rounds 1]
"""

import argparse
import hashlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_BLOCK_BYTES = 2**20
_ROLES = frozenset({"system", "user", "assistant", "tool"})


def main() -> None:
    """Measure both, alternating, and print the ratio of the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--measure", choices=_SIDES)
    parser.add_argument("--file", type=Path)
    arguments = parser.parse_args()
    if arguments.measure:
        _measure(_SIDES[arguments.measure], arguments.file)
        return
    with tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
        file = Path(folder) / "chat.jsonl"
        _write_rows(file, arguments.rows)
        print(f"{arguments.rows:,} chat rows, {file.stat().st_size / 1e6:,.0f} MB; {os.cpu_count()} cores, shared")
        speeds: dict[str, list[float]] = {side: [] for side in _SIDES}
        for _ in range(arguments.rounds):
            for side, measured in speeds.items():
                measured.append(_run(side, file, arguments.rows))
    us, rival = (statistics.median(speeds[side]) for side in _SIDES)
    print(f"bench-check ratio={us / rival:.2f} (us {us:,.0f} rows/s / rival {rival:,.0f} rows/s)")


def _run(side: str, file: Path, rows: int) -> float:
    command = [sys.executable, "-m", "benchmarks.bench_check", "--measure", side, "--file", str(file)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    found = json.loads(answer)
    assert found["rows"] == rows, found
    speed = rows / found["seconds"]
    print(
        f"{side:>5}: {speed:>9,.0f} rows/s, {found['seconds']:.1f} s ({found['cpu']:.1f} s of CPU), "
        f"peak memory {found['peak_mib']:,} MiB "
        f"({found['peak_mib'] - found['start_mib']:,} more than at the start), {found['says']}"
    )
    return speed


def _measure(side: Callable[[Path], Callable[[], tuple[int, str]]], file: Path) -> None:
    work = side(file)
    start_mib = _peak_mib()
    began, began_cpu = time.perf_counter(), time.process_time()
    rows, says = work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    found = {"rows": rows, "says": says, "seconds": seconds, "cpu": cpu, "start_mib": start_mib}
    found["peak_mib"] = _peak_mib()
    print(json.dumps(found))


def _us(file: Path) -> Callable[[], tuple[int, str]]:
    from stoker_dataset_gateway.checking import check_file

    digest = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK_BYTES):
                digest.update(block)
                yield block

    def work() -> tuple[int, str]:
        result = check_file(blocks(), file.name)
        assert not result.faults, result.faults
        found = result.statistics
        return found.rows, f"{found.duplicate_rows} duplicates, SHA-256 {digest.hexdigest()[:8]}"

    return work


def _rival(file: Path) -> Callable[[], tuple[int, str]]:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from datasets import disable_progress_bars, load_dataset
    from trl.data_utils import is_conversational

    disable_progress_bars()

    def work() -> tuple[int, str]:
        with tempfile.TemporaryDirectory(prefix="bench-check-", dir=file.parent) as cache:
            rows = load_dataset("json", data_files=str(file), split="train", cache_dir=cache)
            good = sum(1 for row in rows if is_conversational(row) and all(map(_is_good_turn, row["messages"])))
        return good, "no duplicates counted, no SHA-256"

    return work


def _is_good_turn(turn: dict[str, str]) -> bool:
    return turn["role"] in _ROLES and isinstance(turn["content"], str) and bool(turn["content"].strip())


_SIDES: dict[str, Callable[[Path], Callable[[], tuple[int, str]]]] = {"us": _us, "rival": _rival}


def _write_rows(file: Path, rows: int) -> None:
    choice = random.Random(7)
    words = ["".join(choice.choices("etaoinshrdlu", k=choice.randint(2, 9))) for _ in range(5000)]
    texts = [" ".join(choice.choices(words, k=choice.randint(8, 40))) for _ in range(20_000)]
    with file.open("w") as opened:
        for number in range(rows):
            turns = [("system", "You are a helpful assistant."), ("user", f"{choice.choice(texts)} {number}?")]
            turns += [("assistant", f'{choice.choice(texts)}.\n"{choice.choice(texts)}"')]
            row = {"messages": [{"role": role, "content": content} for role, content in turns]}
            opened.write(json.dumps(row) + "\n")


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
