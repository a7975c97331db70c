"""Files that were damaged anywhere: the check never falls over, and the trainer reads what passes and nothing else."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker_dataset_gateway.checking import CheckResult, check_file
from stoker_trainer.config import METHOD_FORMATS
from stoker_trainer.data import check_rows
from stoker_trainer.errors import DatasetMethodMismatch, DatasetUnreadable
from tests.support.corpus.good_files import CHATS
from tests.support.corpus.writing import KINDS, PACKINGS

PAIRS = [{"prompt": f'Grüße {number} "q"\n, x', "completion": f"a,{number}\r\nb 世"} for number in range(4)]
SPICE = (
    *(
        b'"',
        b'""',
        b"\n",
        b"\r",
        b",",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\\",
        b"'",
        b" ",
        b"\t",
        b"\x00",
        b"\x0b",
        b"\x1c",
    ),
    *(
        b"\xff",
        b"\xc2\x85",
        b"\xef\xbb\xbf",
        "\u2028".encode(),
        b"\\u0000",
        b"\\ud800",
        b"NaN",
        b"1e999",
        b"null",
        b"\x1a",
    ),
)
ONLY_AT_THE_GATEWAY = ({"too_few_rows"}, {"not_parquet"})
"""Faults alone with which the trainer may still read a file: it trains on one row, and finds Parquet by its end."""

places = st.floats(0, 1, exclude_max=True)
damages = st.one_of(
    st.tuples(st.just("cut"), places, st.integers(1, 12)),
    st.tuples(st.just("insert"), places, st.sampled_from(SPICE)),
    st.tuples(st.just("replace"), places, st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("copy"), places, st.integers(1, 60)),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.sampled_from([PAIRS, CHATS]),
    damage=st.lists(damages, min_size=1, max_size=3),
    packing=st.sampled_from(["", "", "", *PACKINGS]),
)
def test_the_trainer_reads_what_passes_and_nothing_else(
    kind: str, rows: list[dict[str, object]], damage: list[tuple[str, float, int | bytes]], packing: str
) -> None:
    suffix, written = KINDS[kind]
    content = PACKINGS[packing](damaged(written(rows), damage))
    name = f"data{suffix}{packing}"
    result = check_file([content], name)
    if result.data_format is not None and result.data_format.value not in METHOD_FORMATS["sft"]:
        return
    if set(result.fault_counts) in ONLY_AT_THE_GATEWAY:
        return
    refusal = refused_by_trainer(content, name, result)
    assert bool(refusal) == bool(result.faults), refusal or result.faults


def damaged(content: bytes, damage: list[tuple[str, float, int | bytes]]) -> bytes:
    for kind, place, what in damage:
        at = int(place * len(content))
        if isinstance(what, bytes):
            content = content[:at] + what + content[at + (kind == "replace") :]
        elif kind == "cut":
            content = content[:at] + content[at + what :]
        else:
            content = content[:at] + content[at // 2 : at // 2 + what] + content[at:]
    return content


def refused_by_trainer(content: bytes, name: str, result: CheckResult) -> str:
    data_format = result.data_format.value if result.data_format else "prompt_completion"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            check_rows(path, data_format=data_format, conversion=result.conversion)  # type: ignore[arg-type]
        except (DatasetMethodMismatch, DatasetUnreadable) as error:
            return str(error)
    return ""
