"""Many SSE clients in one process: `python -m benchmarks.live.clients HOST PORT PATH KEY COUNT`.

Each says `ready` once, on stdout, when all streams are open. Then a line for each step that has reached every client:
the step and the milliseconds from its sending to each arrival. The sender puts its clock (monotonic, the same for all
processes of a machine) into the step.
"""

import asyncio
import json
import re
import sys
import time

_STEP = re.compile(rb'"step":(\d+).*?"sent":([0-9.e+]+)')
_LONGEST_BLOCK = 2**20


async def main(host: str, port: int, path: str, key: str, count: int) -> None:
    """Follow until killed."""
    arrivals: dict[int, list[float]] = {}
    opened = asyncio.Barrier(count + 1)
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nAccept: text/event-stream\r\n\r\n"

    async def follow() -> None:
        reader, _writer = await opened_stream(host, port, request)
        await opened.wait()
        while line := await reader.readline():
            if found := _STEP.search(line):
                step, sent = int(found.group(1)), float(found.group(2))
                reached = arrivals.setdefault(step, [])
                reached.append((time.monotonic() - sent) * 1000)
                if len(reached) == count:
                    print(json.dumps({"step": step, "ms": arrivals.pop(step)}), flush=True)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(follow())
            if number % 50 == 49:
                await asyncio.sleep(0.2)  # not all in one moment: opening them is not what is measured
        await opened.wait()
        print("ready", flush=True)


async def opened_stream(host: str, port: int, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An open stream, for as long as both are held; a server that is busy is asked again, as every SSE client does."""
    while True:
        reader, writer = await asyncio.open_connection(host, port, limit=_LONGEST_BLOCK)
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0]
        if b" 200 " in status:
            return reader, writer
        if b" 503 " not in status:
            raise RuntimeError((head + await reader.read(2000)).decode(errors="replace"))
        writer.close()
        await asyncio.sleep(2)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])))
