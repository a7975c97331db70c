"""Answers every request with itself: `python -m benchmarks.echo URL SEED_FILE SUBJECT`."""

import asyncio
import sys

import nats
from nats.aio.msg import Msg


async def main(url: str, seed_file: str, subject: str) -> None:
    """Answer until killed."""
    client = await nats.connect(url, nkeys_seed=seed_file)

    async def echo(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(subject, cb=echo)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
