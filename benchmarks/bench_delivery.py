"""A file of 1 GiB over loopback: through the gateway, by redirect, from the store itself, from nginx with sendfile.

One Python client fetches all of them, in turn, in one run. Then sixteen downloads at once, with the gateway's memory.

    python -m benchmarks.bench_delivery [MEBIBYTES [ROUNDS]]
"""

import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.gateway_stack import KEY, PART_BYTES, RunningGateway, Servers, running_gateway, running_servers
from tests.support.ports import free_port

MEBIBYTES = 1024
ROUNDS = 5
AT_ONCE = 16
READ_BYTES = 2**20
STORE = "the store directly"
STREAM = "gateway stream"
REDIRECT = "gateway redirect"
NGINX = "nginx sendfile"
_NGINX_CONFIG = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log; {user}
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile on; tcp_nopush on;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


def main() -> None:
    """Measure and print; the last line is the stream against the store."""
    size = (int(sys.argv[1]) if len(sys.argv) > 1 else MEBIBYTES) * 2**20
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="stoker-bench-")))
        folder.chmod(0o755)
        servers = cleanup.enter_context(running_servers(folder))
        file = make_file(folder / "files", size)
        servers.client.fput_object(servers.bucket.bucket, KEY, str(file), part_size=PART_BYTES)
        # Sixteen at once and many rounds with few tokens are more than one token is meant for.
        ample = {"token_requests_per_minute": "60000", "token_burst": "60000"}
        stream = cleanup.enter_context(running_gateway(servers, log_file=folder / "stream.log", **ample))
        redirect = cleanup.enter_context(
            running_gateway(
                servers,
                log_file=folder / "redirect.log",
                redirect_endpoint=f"http://{servers.bucket.endpoint}",
                **ample,
            )
        )
        addresses = {
            STORE: lambda: store_address(servers),
            STREAM: as_it_is(stream.download_url(size_bytes=size)),
            REDIRECT: as_it_is(redirect.download_url(size_bytes=size)),
        }
        nginx = cleanup.enter_context(running_nginx(folder))
        if nginx is not None:
            addresses[NGINX] = as_it_is(f"{nginx}/{file.name}")
        seconds, cpu = measure(addresses, rounds=rounds, size=size, gateway=stream)
        report_memory(stream, addresses[STREAM](), size=size)
        report(seconds, size=size, cpu=cpu)


def as_it_is(address: str) -> Callable[[], str]:
    """An address that does not change."""
    return lambda: address


def make_file(folder: Path, size: int) -> Path:
    """Random bytes; what is compressible might be stored in another way."""
    folder.mkdir()
    file = folder / "file.bin"
    with file.open("wb") as target:
        for _ in range(size // READ_BYTES):
            target.write(os.urandom(READ_BYTES))
    return file


def store_address(servers: Servers) -> str:
    """A presigned address."""
    return servers.client.presigned_get_object(servers.bucket.bucket, KEY, expires=timedelta(minutes=5))


@contextmanager
def running_nginx(folder: Path) -> Iterator[str | None]:
    """The rival from the Debian package; None, said plainly, if it is not on this machine."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        print("nginx is not installed (apt-get install nginx-light): its line is missing below")
        yield None
        return
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_NGINX_CONFIG.format(folder=folder, port=port, user=user))
    process = subprocess.Popen([program, "-c", str(config), "-p", str(folder)], stderr=subprocess.DEVNULL)
    try:
        yield until_it_answers(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def until_it_answers(address: str) -> str:
    """The address, once somebody listens."""
    for _ in range(100):
        try:
            http.client.HTTPConnection(urlsplit(address).netloc, timeout=1).connect()
        except OSError:
            time.sleep(0.05)
        else:
            return address
    raise RuntimeError(f"nothing listens at {address}")


def measure(
    addresses: dict[str, Callable[[], str]], *, rounds: int, size: int, gateway: RunningGateway
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of each download, all ways in turn, after one round that nobody counts; and the gateway's CPU seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in addresses}
    cpu: list[float] = []
    process = psutil.Process(gateway.pid)
    for number in range(rounds + 1):
        for name, address in addresses.items():
            before = sum(process.cpu_times()[:2])
            started = time.perf_counter()
            fetch(address(), size=size)
            if number:
                seconds[name].append(time.perf_counter() - started)
                if name == STREAM:
                    cpu.append(sum(process.cpu_times()[:2]) - before)
    return seconds, cpu


def fetch(address: str, *, size: int) -> None:
    """Read a whole file into nothing, following one redirect; as fast as the standard library can."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Accept-Encoding": "identity"})
    answer = connection.getresponse()
    if answer.status == http.client.TEMPORARY_REDIRECT:
        answer.read()
        connection.close()
        return fetch(str(answer.headers["Location"]), size=size)
    if answer.status != http.client.OK:
        raise RuntimeError(f"status {answer.status} from {parts.netloc}")
    received, buffer = 0, memoryview(bytearray(READ_BYTES))
    while count := answer.readinto(buffer):
        received += count
    connection.close()
    if received != size:
        raise RuntimeError(f"{received} of {size} bytes from {parts.netloc}")
    return None


def report_memory(gateway: RunningGateway, address: str, *, size: int) -> None:
    """Sixteen downloads at once, and the most memory that the gateway had meanwhile."""
    process, is_over, most = psutil.Process(gateway.pid), threading.Event(), [0]
    before = process.memory_info().rss

    def watch() -> None:
        while not is_over.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: fetch(address, size=size), range(AT_ONCE)))
    taken = time.perf_counter() - started
    is_over.set()
    watching.join()
    total = AT_ONCE * size / 2**20 / taken
    print(f"{AT_ONCE} at once: {total:.0f} MiB/s together, peak RSS {most[0] >> 20} MiB ({before >> 20} MiB before)")


def report(seconds: dict[str, list[float]], *, size: int, cpu: list[float]) -> None:
    """Each way, and the ratios of medians."""
    speeds = {name: size / 2**20 / statistics.median(values) for name, values in seconds.items()}
    for name, speed in speeds.items():
        spread = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f} s"
        print(f"{name:20s} {speed:7.0f} MiB/s  (median of {len(seconds[name])}, {spread})")
    print(f"gateway CPU          {statistics.median(cpu) * 2**30 / size:7.2f} s per GiB streamed")
    if NGINX in speeds:
        print_ratio("stream against nginx", speeds[STREAM], speeds[NGINX])
    print_ratio("redirect against the store", speeds[REDIRECT], speeds[STORE])
    print_ratio("bench-delivery", speeds[STREAM], speeds[STORE])


def print_ratio(name: str, ours: float, rival: float) -> None:
    """One comparison."""
    print(f"{name} ratio={ours / rival:.2f} (us {ours:.0f} MiB/s / rival {rival:.0f} MiB/s)")


if __name__ == "__main__":
    main()
