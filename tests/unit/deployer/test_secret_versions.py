"""Which version of a secret serves whom, for any history of versions."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from stoker_deployer.vault.versions import SecretVersion, accounts, current, needless, opener
from tests.unit.deployer.rows import NOW


def a_version(number: int, *, account: str = "", retired: bool = False, wiped: bool = False) -> SecretVersion:
    return SecretVersion(
        owner="user-1",
        name="cloud",
        version=number,
        sealed=None if wiped else f"box {number}",
        key_id="k",
        created_at=NOW,
        account_id=account,
        retired_at=NOW + timedelta(hours=number) if retired else None,
    )


@st.composite
def _histories(draw: st.DrawFn) -> list[SecretVersion]:
    # As the vault makes them: only the newest may be live, only retired ones are wiped.
    count = draw(st.integers(1, 6))
    rows = []
    for number in range(1, count + 1):
        retired = number < count or draw(st.booleans())
        wiped = retired and draw(st.booleans())
        account = draw(st.sampled_from(["", "north", "south"]))
        rows.append(a_version(number, account=account, retired=retired, wiped=wiped))
    return rows


@given(rows=_histories())
def test_the_current_one_is_live_and_the_newest(rows: list[SecretVersion]) -> None:
    found = current(rows)
    assert found == (rows[-1] if rows[-1].retired_at is None else None)


@given(rows=_histories(), begun=st.integers(1, 6))
def test_an_attempt_is_never_served_by_another_account(rows: list[SecretVersion], begun: int) -> None:
    found = opener(rows, begun)
    launched = next((row for row in rows if row.version == begun), None)
    if found is None:
        assert launched is None or not any(row.sealed and row.account == launched.account for row in rows)
        return
    assert launched is not None
    assert found.sealed
    assert found.account == launched.account
    better = [row for row in rows if row.account == found.account and row.sealed and row.retired_at is None]
    assert not better or found in better


@given(rows=_histories(), begun=st.integers(1, 6))
def test_a_version_of_an_unknown_account_is_served_by_itself_alone(rows: list[SecretVersion], begun: int) -> None:
    launched = next((row for row in rows if row.version == begun), None)
    if launched is not None and not launched.account_id:
        assert opener(rows, begun) == (launched if launched.sealed else None)


@given(rows=_histories(), used=st.sets(st.integers(1, 6)))
def test_after_wiping_every_attempt_that_goes_on_is_served_as_before(rows: list[SecretVersion], used: set[int]) -> None:
    wiped = {row.version for row in needless(rows, used=used)}
    after = [a_version(row.version, account=row.account_id, retired=True, wiped=True) if row.version in wiped else row
             for row in rows]  # fmt: skip
    for version in used:
        before = opener(rows, version)
        now = opener(after, version)
        assert (before and before.version) == (now and now.version)
    assert all(row.retired_at for row in rows if row.version in wiped)
    assert current(rows) == current(after)


@given(rows=_histories())
def test_accounts_cover_each_version_that_can_be_served_once(rows: list[SecretVersion]) -> None:
    found = accounts(rows)
    covered = [version for _, versions in found for version in versions]
    assert len(covered) == len(set(covered))
    assert set(covered) == {row.version for row in rows if opener(rows, row.version) is not None}
    for able, versions in found:
        assert all(opener(rows, version) == able for version in versions)


def test_without_use_all_that_is_retired_is_needless() -> None:
    rows = [a_version(1, retired=True), a_version(2, retired=True, account="north"), a_version(3)]
    assert [row.version for row in needless(rows, used=set())] == [1, 2]


def test_a_box_is_not_in_the_repr() -> None:
    assert "box 1" not in repr(a_version(1))
