"""How the broker matches subjects: `*` is one token, a `>` at the end one or more."""


def covers(pattern: str, subject: str) -> bool:
    """Whether everything that `subject` (itself perhaps a pattern) matches is matched by `pattern`."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or given[index] == ">":
            return False
        if token not in {"*", given[index]}:
            return False
    return len(given) == len(wanted)


def overlap(left: str, right: str) -> bool:
    """Whether any subject is matched by both patterns."""
    first, second = left.split("."), right.split(".")
    for a, b in zip(first, second, strict=False):
        if ">" in {a, b}:
            return True
        if "*" not in {a, b} and a != b:
            return False
    return len(first) == len(second)
