"""What the two kinds of measured processes share: they begin with `ready`, and answer each line with their counts."""

import asyncio
import json
import sys
from collections.abc import Callable


async def answer_questions(counts: Callable[[], dict[str, int]]) -> None:
    """Print `ready`, then the counts for each line that comes in; return when the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("ready", flush=True)
    while await reader.readline():
        print(json.dumps(counts()), flush=True)
