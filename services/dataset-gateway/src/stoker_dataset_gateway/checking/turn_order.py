"""In which order turns may stand."""

from collections.abc import Iterator, Sequence

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.rules import FaultCode

_FIRST_ONLY = frozenset({"system", "developer"})
_BEFORE_TOOL = frozenset({"assistant", "tool"})


def order_faults(roles: Sequence[str], *, column: str, is_prompt: bool = False, skip: int = 0) -> Iterator[RowFaulty]:
    """Faults and warnings of one conversation; each kind once. Turns before `skip` have been looked at before."""
    out_of_order = _out_of_order(roles, skip=skip)
    if out_of_order:
        yield RowFaulty(FaultCode.ROLES_OUT_OF_ORDER, column=column, what=out_of_order)
        return
    spoken = [role for role in roles if role not in _FIRST_ONLY]
    if spoken and spoken[0] == "assistant" and skip == 0:
        yield RowFaulty(FaultCode.ASSISTANT_FIRST, column=column)
    repeated = _repeated(roles, skip=skip)
    if repeated:
        yield RowFaulty(FaultCode.REPEATED_ROLE, column=column, role=repeated)
    if not is_prompt and "assistant" in roles and roles[-1] != "assistant":
        yield RowFaulty(FaultCode.LAST_TURN_NOT_ASSISTANT, column=column)


def last_answer(roles: Sequence[str]) -> int:
    """Where the assistant speaks for the last time; 0 if it does not, or only at the start."""
    return next((number for number in range(len(roles) - 1, 0, -1) if roles[number] == "assistant"), 0)


def _out_of_order(roles: Sequence[str], *, skip: int) -> str:
    has_begun, before = False, ""
    for number, role in enumerate(roles):
        if role in _FIRST_ONLY and has_begun and number >= skip:
            return f"Turn {number} is of {role}, which can only stand at the beginning"
        if role == "tool" and before not in _BEFORE_TOOL and number >= skip:
            return f"Turn {number} is a tool's answer, but no assistant spoke before it"
        has_begun = has_begun or role not in _FIRST_ONLY
        before = role
    return ""


def _repeated(roles: Sequence[str], *, skip: int) -> str:
    for number in range(max(skip, 1), len(roles)):
        if roles[number] == roles[number - 1] and roles[number] in ("user", "assistant"):
            return roles[number]
    return ""
