"""Pages of an answer. NATS carries 1 MB, so they are cut by bytes too: an empty page is the end, a short one is not."""

from collections.abc import Iterable
from typing import TypeVar

from stoker_shared.messages import Message

MessageT = TypeVar("MessageT", bound=Message)

MAX_PAGE_BYTES = 700_000


def fitting(items: Iterable[MessageT]) -> list[MessageT]:
    """As many of the first items as fit, at least one. Control characters grow sixfold in JSON, hence the count."""
    page: list[MessageT] = []
    size = 0
    for item in items:
        size += len(item.model_dump_json().encode()) + 1
        if page and size > MAX_PAGE_BYTES:
            break
        page.append(item)
    return page
