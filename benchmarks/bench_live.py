"""From `POST` of a step to its arrival on 1, 100 and 1,000 SSE clients, against sse-starlette on uvicorn alone.

Ours is the whole way: token and body checked, on the broker's disk before the answer, through NATS to the api, to every
stream. The rival keeps and checks nothing. Same clients, same steps, in turn, in the same run.

    python -m benchmarks.bench_live [STEPS [CLIENTS]]
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.bench_submit import QUIET, wait_for_call, with_instant_machines
from stoker_shared.bus import Bus, BusSettings, RpcClient
from stoker_shared.rpc.metrics import ADMIT, AdmitAttempt
from stoker_shared.tokens import mint_token, token_hash
from tests.support.live_stack import LiveStack, live_stack, tiny_recipe
from tests.support.ports import free_port
from tests.support.tiny_model import conversations, write_rows

CLIENTS = (1, 100, 1000)
STEPS = 60
PAUSE_SECONDS = 0.5
WARM_UP = 5
ROOM = {
    "STOKER_API_MAX_EVENT_STREAMS": "2000",
    # The job is as good as the figures that we send for it: nobody must find it silent.
    "STOKER_DEPLOYER_HEARTBEAT_TIMEOUT": "3600",
    "STOKER_DEPLOYER_START_TIMEOUT": "3600",
}

Post = Callable[[int], None]


def main() -> None:
    """Measure and print; the last line compares 95th percentiles at the most clients."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    counts = (int(sys.argv[2]),) if len(sys.argv) > 2 else CLIENTS
    os.environ.update(QUIET | ROOM)
    os.environ["PYTHONPATH"] = os.pathsep.join((str(Path.cwd()), os.environ.get("PYTHONPATH", "")))
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="stoker-bench-")))
        stack = cleanup.enter_context(live_stack(folder / "stack", services=with_instant_machines()))
        rival_url = cleanup.enter_context(bare_server())
        worst = {}
        for count in counts:
            ours = measure_ours(stack, folder, clients=count, steps=steps)
            rival = measure_rival(rival_url, clients=count, steps=steps)
            report(count, ours, rival)
            worst = {"us": percentile(ours, 95), "rival": percentile(rival, 95)}
    ratio = worst["us"] / worst["rival"]
    print(
        f"bench-live ratio={ratio:.2f} (us {worst['us']:.0f} ms / rival {worst['rival']:.0f} ms,"
        f" p95 at {counts[-1]} clients)"
    )


def measure_ours(stack: LiveStack, folder: Path, *, clients: int, steps: int) -> list[float]:
    """Milliseconds of each arrival of each step of a new job."""
    job_id = launched(stack, folder)
    token = asyncio.run(admitted(stack, job_id))
    url = urlsplit(stack.stack.urls["api"])
    key = stack.stack.layout.api_key_file.read_text().strip()
    with (
        following(url.hostname or "", url.port or 0, f"/v1/jobs/{job_id}/events", key, clients) as arrivals,
        httpx.Client(base_url=stack.stack.urls["metrics"], headers={"Authorization": f"Bearer {token}"}) as http,
    ):
        return measure(lambda step: post_step(http, f"/v1/jobs/{job_id}/metrics", step), arrivals, steps)


def measure_rival(url: str, *, clients: int, steps: int) -> list[float]:
    """The same for the rival."""
    address = urlsplit(url)
    with (
        following(address.hostname or "", address.port or 0, "/events", "none", clients) as arrivals,
        httpx.Client(base_url=url) as http,
    ):
        return measure(lambda step: post_step(http, "/steps", step), arrivals, steps)


def measure(post: Post, arrivals: Iterator[dict[str, Any]], steps: int) -> list[float]:
    """Post a step, wait until every client has it, pause."""
    found: list[float] = []
    for step in range(1, WARM_UP + steps + 1):
        post(step)
        arrived = next(arrivals)
        if arrived["step"] != step:
            raise RuntimeError(f"step {arrived['step']} arrived where {step} was due")
        if step > WARM_UP:
            found += arrived["ms"]
        time.sleep(PAUSE_SECONDS)
    return found


def post_step(http: httpx.Client, path: str, step: int) -> None:
    """One step with some values, and when it was sent."""
    values = {"loss": 1.0 / step, "learning_rate": 1e-4, "grad_norm": 0.5, "sent": time.monotonic()}
    point = {"sequence": step, "step": step, "at": datetime.now(UTC).isoformat(), "values": values}
    body = json.dumps({"attempt": 1, "points": [point]}, separators=(",", ":"))
    http.post(path, content=body, headers={"Content-Type": "application/json"}).raise_for_status()


@contextmanager
def following(host: str, port: int, path: str, key: str, count: int) -> Iterator[Iterator[dict[str, Any]]]:
    """Clients that follow; yields what they tell, step by step."""
    command = [sys.executable, "-m", "benchmarks.live.clients", host, str(port), path, key, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline().strip() != "ready":
                raise RuntimeError("the clients could not follow")
            yield (json.loads(line) for line in process.stdout)
        finally:
            process.kill()


@contextmanager
def bare_server() -> Iterator[str]:
    """The rival's address."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "benchmarks.live.bare", str(port)]) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 60
            while not answers(url):
                if time.monotonic() > deadline:
                    raise TimeoutError("the rival did not start within 60 s")
                time.sleep(0.1)
            yield url
        finally:
            process.kill()


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        return httpx.get(f"{url}/steps").status_code == httpx.codes.METHOD_NOT_ALLOWED
    except httpx.TransportError:
        return False


def launched(stack: LiveStack, folder: Path) -> str:
    """A job whose machine runs and says nothing."""
    dataset = stack.client.upload_dataset(write_rows(folder / "rows.jsonl", conversations()))
    recipe = tiny_recipe(Path("/instant"), steps=1)
    plan = stack.client.plan(dataset.dataset_version_id, recipe=recipe, provider="local", budget_usd="100")
    job_id = stack.client.launch(plan).job_id
    wait_for_call(stack, job_id)
    return job_id


async def admitted(stack: LiveStack, job_id: str) -> str:
    """One more token for the job's attempt, as the deployer asks for it."""
    facts = stack.stack.facts
    if facts is None:
        raise RuntimeError("the stack is not running")
    bus = Bus(BusSettings(url=facts.nats.url, service="deployer", seed_file=facts.keys.nkey_seed_files["deployer"]))
    await bus.broker.connect()
    token, owner = mint_token(), stack.client.me().user_id
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    admit = AdmitAttempt(
        job_id=job_id, attempt=1, owner=owner, job_token_sha256=token_hash(token), expires_at=expires_at
    )
    await RpcClient(bus).ask(ADMIT, admit)
    await bus.stop()
    return token.get_secret_value()


def percentile(values: list[float], percent: int) -> float:
    """Of many values."""
    return statistics.quantiles(values, n=100)[percent - 1]


def report(clients: int, ours: list[float], rival: list[float]) -> None:
    """One line for each."""
    for name, values in (("us", ours), ("rival", rival)):
        told = "  ".join(f"p{percent} {percentile(values, percent):7.1f} ms" for percent in (50, 95, 99))
        print(f"{clients:5d} clients  {name:6s} {told}  ({len(values)} arrivals)", flush=True)


if __name__ == "__main__":
    main()
