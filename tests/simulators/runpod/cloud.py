"""The truth of the simulated cloud: who has which pods, what stands free, what is spent.

Decided here, since no public document says: a pod of which GET still tells within `gone_after` seconds of its end is
TERMINATED; a second DELETE in that time is 204 again; a dead host leaves a pod RUNNING without `runtime`.
"""

import asyncio
import secrets
import shutil
import string
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from stoker_shared.clock import Clock
from stoker_shared.tasks import end_tasks
from tests.simulators.runpod.accounts import Account, Accounts
from tests.simulators.runpod.catalogue import CPU_FLAVOURS, CUDA_VERSIONS, DATA_CENTERS, Catalogue
from tests.simulators.runpod.container import Container
from tests.simulators.runpod.image import image_environment, make_image, shared_packages
from tests.simulators.runpod.meter import total
from tests.simulators.runpod.pod import ACTIONS, HOLDS_MACHINE, Pod, Status
from tests.simulators.runpod.problems import NO_BALANCE, NO_CAPACITY, Problem, not_found
from tests.simulators.runpod.requests import CreatePod, Gpu
from tests.simulators.runpod.rules import Rules
from tests.simulators.runpod.surroundings import pod_environment

_ALPHABET = string.ascii_lowercase + string.digits
_WATCH_SECONDS = 0.1


class Cloud:
    """All accounts, pods and machines."""

    def __init__(self, rules: Rules, *, folder: Path, clock: Clock) -> None:
        self.rules, self.clock = rules, clock
        self.accounts, self.catalogue = Accounts(rules), Catalogue(rules)
        self.pods: dict[str, Pod] = {}
        self._folder = folder
        self._packages = folder / "image-packages"
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to watch balances. Pods of an earlier run are not known any more, and their folders are removed."""
        await asyncio.to_thread(shutil.rmtree, self._folder / "pods", ignore_errors=True)
        (self._folder / "pods").mkdir(parents=True)
        if self.rules.image != "none":
            await asyncio.to_thread(shared_packages, self._packages, self.rules.image)
        self._begin(self._watch_balances(), "watch balances")

    async def close(self) -> None:
        """End everything that runs."""
        await end_tasks(list(self._tasks))
        running = [pod.container for pod in self.pods.values() if pod.container is not None]
        await asyncio.gather(*(container.kill() for container in running))
        await asyncio.to_thread(shutil.rmtree, self._folder / "pods", ignore_errors=True)

    # What callers ask

    def create(self, account: Account, order: CreatePod) -> Pod:
        """A new pod, in PROVISIONING.

        Raises:
            Problem: what stands in the way.
        """
        data_center = self._place(account, order)
        identifier = "".join(secrets.choice(_ALPHABET) for _ in range(14))
        pod = Pod(
            id=identifier,
            account=account,
            order=order,
            data_center=data_center,
            key=f"rpa_{secrets.token_urlsafe(30)}",
            folder=self._folder / "pods" / identifier,
            created_at=self.clock.now(),
        )
        self.pods[pod.id] = pod
        self.accounts.admit_pod(pod.key, account, pod.id)
        self._set(pod, "PROVISIONING")
        pod.work = self._begin(self._boot(pod, self.rules.provisioning), f"boot {pod.id}")
        return pod

    def find(self, account: Account, pod_id: str) -> Pod:
        """A pod of an account.

        Raises:
            Problem: 404 unknown, gone, or not told of yet.
        """
        pod = self.pods.get(pod_id)
        if pod is None or pod.account is not account or not self._is_told_of(pod):
            raise not_found()
        return pod

    def listed(self, account: Account) -> list[Pod]:
        """What an account has, oldest first."""
        return [pod for pod in self.pods.values() if pod.account is account and self._is_told_of(pod)]

    def act(self, pod: Pod, action: str, *, by: str) -> None:
        """Start, stop, restart or terminate.

        Raises:
            Problem: 409 not in this status, 400 no machine is free to start it on.
        """
        if action == "terminate":
            self.terminate(pod, by=by)
            return
        if action not in ACTIONS[pod.status] or (pod.locked and action != "start"):
            reason = "the pod is locked" if pod.locked else f"pod is {pod.status}"
            raise Problem(409, f"action {action!r} is not allowed: {reason}")
        {"start": self._start, "stop": self.stop, "restart": self._restart}[action](pod)

    def terminate(self, pod: Pod, *, by: str) -> None:
        """Delete a pod for good. Its money stops at once, its processes have `terminate_grace`."""
        if pod.status == "TERMINATED":
            return
        pod.ended_by = by
        self._set(pod, "TERMINATED")
        self._replace_work(pod, lambda: self._tear_down(pod))

    # Blows of fate

    def stop(self, pod: Pod, grace: float | None = None) -> None:
        """Give the machine back; the disk stays."""
        self._set(pod, "EXITED")
        self._replace_work(pod, lambda: self._stop_soon(pod, self.rules.terminate_grace if grace is None else grace))

    def lose_host(self, pod: Pod, status: Status) -> None:
        """The machine is dead; the API goes on saying `status`, and charging for it."""
        pod.is_lost = True
        self._set(pod, status)
        self._replace_work(pod, lambda: self._halt(pod, 0))

    def fail(self, pod: Pod) -> None:
        """An error of the container that nothing mends."""
        self._set(pod, "ERROR")
        self._replace_work(pod, lambda: self._halt(pod, 0))

    def vanish(self, pod: Pod, *, by: str) -> None:
        """Gone at once, without a word."""
        self.terminate(pod, by=by)
        pod.ended_at = self.clock.now() - timedelta(seconds=self.rules.gone_after)

    # Money and stock

    def balance(self, account: Account) -> Decimal:
        """What is left."""
        now = self.clock.now()
        spent = total(pod.meter.until(now) for pod in self.pods.values() if pod.account is account)
        return account.deposited - spent.total

    def spending_per_hour(self, account: Account) -> Decimal:
        """What its pods cost an hour now."""
        rates = (pod.rate(self.catalogue) for pod in self.pods.values() if pod.account is account)
        return total(rate for rate in rates if rate is not None).total

    def free(self, gpu: str, cloud: str) -> dict[str, int]:
        """GPUs that nobody holds, by data centre."""
        left = self.catalogue.stock(gpu, cloud)
        for pod in self.pods.values():
            order = pod.order
            is_one = order.gpu is not None and order.gpu.id == gpu and order.cloud == cloud
            if is_one and pod.status in HOLDS_MACHINE and pod.data_center in left:
                left[pod.data_center] = max(0, left[pod.data_center] - pod.gpu_count)
        return left

    def _place(self, account: Account, order: CreatePod) -> str | None:
        if any(refused in order.image for refused in self.rules.refused_images):
            raise Problem(422, f"image {order.image!r} could not be found on its registry")
        if order.templateId or order.mounts.network:
            raise not_found()  # there are no templates and no network volumes here
        unknown = set(order.dataCenterIds) - set(DATA_CENTERS)
        if unknown:
            raise Problem(400, f"unknown data center: {', '.join(sorted(unknown))}")
        data_center = self._free_place(order)
        self._demand_credit(account, order)
        return data_center

    def _free_place(self, order: CreatePod) -> str | None:
        if order.gpu is None:
            if order.cpu is None or order.cpu.id not in CPU_FLAVOURS:
                raise Problem(400, "unknown cpu flavor")
            return (order.dataCenterIds or list(DATA_CENTERS))[0]
        if order.gpu.id not in self.catalogue.gpus:
            raise Problem(400, f"unknown gpu type: {order.gpu.id}")
        free = self.free(order.gpu.id, order.cloud) if _has_cuda_for(order.gpu) else {}
        wanted = order.dataCenterIds or list(free)
        place = next((name for name in wanted if free.get(name, 0) >= order.gpu.count), None)
        if place is None:
            raise Problem(400, NO_CAPACITY)
        return place

    def _demand_credit(self, account: Account, order: CreatePod) -> None:
        wish = Pod("", account, order, None, "", Path(), self.clock.now())
        rate = wish.rate(self.catalogue)
        hourly = rate.total if rate else Decimal(0)
        if self.balance(account) < hourly * self.rules.hours_of_credit_to_deploy:
            raise Problem(402, NO_BALANCE)
        if self.spending_per_hour(account) + hourly > account.rules.spend_limit_per_hour:
            raise Problem(400, f"the spend limit of ${account.rules.spend_limit_per_hour}/hr would be exceeded")

    # Life of a pod

    def _start(self, pod: Pod) -> None:
        gpu, place = pod.order.gpu, pod.data_center
        if gpu and place and self.free(gpu.id, pod.order.cloud).get(place, 0) < gpu.count:
            raise Problem(400, "There are not enough free GPUs on the host machine to start this pod.")
        pod.is_lost = False
        self._set(pod, "PROVISIONING")
        self._replace_work(pod, lambda: self._boot(pod, 0, is_wiped=True))

    def _restart(self, pod: Pod) -> None:
        self._replace_work(pod, lambda: self._run_again(pod))

    async def _boot(self, pod: Pod, provisioning: float, *, is_wiped: bool = False) -> None:
        await self._reach(pod, "PROVISIONING", provisioning)
        self._set(pod, "STARTING")
        pod.log.add(self.clock.now(), "system", f"create container {pod.order.image}")
        if is_wiped:
            await asyncio.to_thread(self._wipe, pod)
        await asyncio.to_thread(self._lay_out, pod)
        await self._reach(pod, "STARTING", self.rules.starting)
        self._run(pod)

    async def _reach(self, pod: Pod, status: Status, seconds: float) -> None:
        await asyncio.sleep(self.rules.scaled(seconds))
        while pod.stuck == status:  # noqa: ASYNC110 - a fault may be taken back at any time
            await asyncio.sleep(_WATCH_SECONDS)

    async def _run_again(self, pod: Pod) -> None:
        await self._halt(pod, self.rules.terminate_grace)
        await asyncio.to_thread(self._wipe, pod)
        await asyncio.to_thread(self._lay_out, pod)
        self._run(pod)

    def _run(self, pod: Pod) -> None:
        pod.restarts_before += pod.container.starts if pod.container else 0
        pod.container = Container(
            pod.order.args,
            environment=pod_environment(pod, image_environment(pod.folder, self.rules)),
            folder=pod.folder,
            log=pod.log,
            clock=self.clock,
            pause=self.rules.scaled(self.rules.restart_pause),
        )
        pod.container.start(lambda: self._came_up(pod))

    def _came_up(self, pod: Pod) -> None:
        pod.started_at = pod.started_at or self.clock.now()
        if pod.status != "RUNNING":
            self._set(pod, "RUNNING")

    async def _stop_soon(self, pod: Pod, grace: float) -> None:
        await asyncio.sleep(self.rules.terminate_notice)
        await self._halt(pod, grace)

    async def _halt(self, pod: Pod, grace: float) -> None:
        if pod.container is not None:
            await (pod.container.stop(grace) if grace else pod.container.kill())
            pod.log.add(self.clock.now(), "system", "stop container")

    async def _tear_down(self, pod: Pod) -> None:
        await asyncio.sleep(self.rules.terminate_notice)
        await self._halt(pod, self.rules.terminate_grace)
        self.accounts.revoke_pod(pod.key)
        await asyncio.to_thread(shutil.rmtree, pod.folder, ignore_errors=True)
        pod.log.close()

    def _lay_out(self, pod: Pod) -> None:
        for name in ("workspace", "home", "tmp"):
            (pod.folder / name).mkdir(parents=True, exist_ok=True)
        if self.rules.image != "none" and not (pod.folder / "image").exists():
            make_image(pod.folder / "image", self._packages)

    def _wipe(self, pod: Pod) -> None:
        kept = {"workspace"} if pod.keeps_workspace else set()
        for name in {"workspace", "home", "tmp", "image"} - kept:
            shutil.rmtree(pod.folder / name, ignore_errors=True)

    async def _watch_balances(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for account in self.accounts.by_name.values():
                for pod in self._spending(account):
                    if pod.has_network_volume:
                        self.stop(pod)
                    else:
                        self.terminate(pod, by="balance")

    def _spending(self, account: Account) -> Iterator[Pod]:
        if self.balance(account) <= 0:
            yield from [p for p in self.pods.values() if p.account is account and p.rate(self.catalogue)]

    # Small things

    def _set(self, pod: Pod, status: Status) -> None:
        pod.set_status(status, self.clock.now(), self.catalogue)

    def _is_told_of(self, pod: Pod) -> bool:
        now = self.clock.now()
        if pod.hidden_until is not None and now < pod.hidden_until:
            return False
        return pod.ended_at is None or now < pod.ended_at + timedelta(seconds=self.rules.gone_after)

    def _replace_work(self, pod: Pod, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Whatever was being done with a pod is given up for something else, one after the other."""
        before = pod.work
        if before is not None:
            before.cancel()  # now: it must not take another step in between

        async def in_turn() -> None:
            if before is not None:
                await end_tasks([before])
            await work()

        pod.work = self._begin(in_turn(), f"work on {pod.id}")

    def _begin(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _has_cuda_for(gpu: Gpu) -> bool:
    def number(version: str) -> tuple[int, ...]:
        return tuple(map(int, version.split(".")))

    known = set(CUDA_VERSIONS) & set(gpu.allowedCudaVersions) if gpu.allowedCudaVersions else set(CUDA_VERSIONS)
    return any(number(version) >= number(gpu.minCudaVersion) for version in known)
