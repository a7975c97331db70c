"""Names of artifacts: a relative path that can never lead anywhere else."""

from stoker_shared.errors import RequestInvalid

MAX_NAME_BYTES = 512
MAX_PART_BYTES = 255
RESERVED_PREFIX = "uploads/"
"""Below the artifacts of a job this is the address of uploads by parts."""


def checked_name(name: str) -> str:
    """The name as it is, if it is a plain relative path such as `adapter/model.safetensors`.

    Raises:
        RequestInvalid: absolute, with `..`, `.`, empty parts, backslashes, control characters, or too long.
    """
    fault = _fault(name)
    if fault:
        raise RequestInvalid(
            f"The artifact's name {fault}.",
            next_step="Use a relative path with slashes, such as adapter/model.safetensors.",
            fields={"name": fault},
        )
    return name


def _fault(name: str) -> str:
    parts = name.split("/")
    checks = (
        (not name, "is empty"),
        (name.startswith("/"), "is an absolute path"),
        ("\\" in name, "has a backslash"),
        (not name.isprintable(), "has control characters"),
        (any(part in {".", ".."} for part in parts), "has a part . or .."),
        (name.startswith(RESERVED_PREFIX), f"begins with {RESERVED_PREFIX}, which is taken"),
        (any(part == "" for part in parts), "has an empty part"),
        (any(part != part.strip() for part in parts), "has a part that begins or ends with a space"),
        (len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES, f"is longer than {MAX_NAME_BYTES} bytes"),
        (
            any(len(part.encode("utf-8", "replace")) > MAX_PART_BYTES for part in parts),
            f"has a part longer than {MAX_PART_BYTES} bytes",
        ),
    )
    return next((text for is_so, text in checks if is_so), "")
