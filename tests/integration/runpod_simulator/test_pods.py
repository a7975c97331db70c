"""Pods of the simulated RunPod: they run, come back when they end, and are gone when they are told to go."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil
import pytest

from tests.simulators.runpod.rules import AccountRules, KeyRules, Rules
from tests.simulators.runpod.running import RunningRunpod, running_runpod
from tests.support.waiting import wait_until

Start = Callable[..., str]
Order = Callable[..., dict[str, Any]]


def show(api: httpx.Client, pod_id: str) -> dict[str, Any]:
    return dict(api.get(f"/v2/pods/{pod_id}").raise_for_status().json())


def test_a_pod_passes_through_its_statuses_and_tells_no_runtime_before_it_runs(
    runpod: RunningRunpod, api: httpx.Client, order: Order
) -> None:
    seen = [api.post("/v2/pods", json=order("echo up; sleep 600")).json()]
    while seen[-1]["status"] != "RUNNING":
        seen.append(show(api, seen[0]["id"]))
    assert list(dict.fromkeys(pod["status"] for pod in seen)) == ["PROVISIONING", "STARTING", "RUNNING"]
    assert {pod["runtime"] is None for pod in seen if pod["status"] != "RUNNING"} == {True}
    assert seen[-1]["runtime"]["uptime"] == 0
    assert seen[0]["actions"] == ["stop", "terminate"]
    assert seen[-1]["actions"] == ["stop", "restart", "terminate"]
    wait_until(lambda: runpod.lines(seen[0]["id"]) == ["up"])


def test_a_container_that_exits_is_started_again_with_uptime_0_while_the_pod_stays_running(
    runpod: RunningRunpod, api: httpx.Client, start: Start
) -> None:
    pod_id = start('echo run >> "$STOKER_POD_ROOT/runs"; wc -l < "$STOKER_POD_ROOT/runs"; sleep 1.2; exit 7')
    uptimes: list[int] = []

    def has_restarted() -> bool:
        pod = show(api, pod_id)
        assert pod["status"] == "RUNNING"
        uptimes.append(pod["runtime"]["uptime"])
        return bool(runpod.pod(pod_id)["starts"] >= 3)

    wait_until(has_restarted)
    falls = [(before, after) for before, after in itertools.pairwise(uptimes) if after < before]
    assert falls, uptimes
    assert {after for _, after in falls} == {0}
    assert set(runpod.pod(pod_id)["exit_codes"]) == {7}
    # The disk is the same: a marker file is found again.
    wait_until(lambda: runpod.lines(pod_id)[:2] == ["1", "2"])
    assert "7" not in "".join(runpod.lines(pod_id, "system"))


def test_what_a_command_leaves_behind_dies_with_it(runpod: RunningRunpod, start: Start) -> None:
    pod_id = start("setsid sleep 4321 & echo $! $$; wait")
    wait_until(lambda: bool(runpod.lines(pod_id)))
    left, main = (psutil.Process(int(pid)) for pid in runpod.lines(pod_id)[0].split())
    main.kill()
    wait_until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE)


def test_terminate_ends_every_process_removes_the_folder_and_is_404_a_moment_later(
    runpod: RunningRunpod, api: httpx.Client, start: Start
) -> None:
    pod_id = start("trap 'echo asked to go' TERM; setsid env -i sleep 4321 & nohup sleep 4321 & while :; do wait; done")
    wait_until(lambda: len(runpod.pod(pod_id)["processes"]) == 3)
    before = runpod.pod(pod_id)
    processes = [psutil.Process(pid) for pid in before["processes"]]
    assert Path(before["folder"]).is_dir()

    answer = api.delete(f"/v2/pods/{pod_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    shown = show(api, pod_id)
    assert (shown["status"], shown["cost"], shown["actions"], shown["runtime"]) == ("TERMINATED", 0.0, [], None)
    wait_until(lambda: api.get(f"/v2/pods/{pod_id}").status_code == 404)
    wait_until(lambda: not Path(before["folder"]).exists())
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
    assert runpod.lines(pod_id) == ["asked to go"]
    assert runpod.pod(pod_id)["ended_by"] == "account: delete"
    assert api.delete(f"/v2/pods/{pod_id}").status_code == 404
    assert pod_id not in [pod["id"] for pod in api.get("/v2/pods").json()["pods"]]


def test_a_pod_finds_its_order_its_places_and_what_the_cloud_puts_in(
    runpod: RunningRunpod, api: httpx.Client, start: Start
) -> None:
    pod_id = start(
        'env; echo "cwd=$PWD"; sleep 600', env={"JOB_ID": "job 1", "RUNPOD_API_KEY": "mine", "HOME": "/nowhere"}
    )
    wait_until(lambda: any(line.startswith("cwd=") for line in runpod.lines(pod_id)))
    folder = runpod.pod(pod_id)["folder"]
    seen = dict(line.split("=", 1) for line in runpod.lines(pod_id) if "=" in line)
    assert (seen["JOB_ID"], seen["RUNPOD_POD_ID"], seen["RUNPOD_GPU_COUNT"]) == ("job 1", pod_id, "1")
    assert seen["RUNPOD_API_KEY"] not in ("mine", runpod.key)
    assert seen["STOKER_POD_ROOT"] == seen["cwd"] == f"{folder}/workspace"
    assert seen["HOME"] == f"{folder}/home"
    assert runpod.key not in seen.values()
    assert show(api, pod_id)["env"] == {"JOB_ID": "job 1", "RUNPOD_API_KEY": "mine", "HOME": "/nowhere"}


def test_a_command_that_cannot_be_started_never_becomes_running(
    runpod: RunningRunpod, api: httpx.Client, order: Order
) -> None:
    pod_id = api.post("/v2/pods", json=order() | {"args": "no-such-program --now"}).json()["id"]
    wait_until(lambda: sum("error starting" in line for line in runpod.lines(pod_id, "system")) > 1)
    assert show(api, pod_id)["status"] == "STARTING"


def test_arguments_are_words_and_no_shell_looks_at_them(runpod: RunningRunpod, api: httpx.Client, order: Order) -> None:
    wish = order() | {"args": "bash -c 'echo \"$0 $1\"; sleep 600' '$HOME' 'a  b'"}
    pod_id = api.post("/v2/pods", json=wish).json()["id"]
    wait_until(lambda: runpod.lines(pod_id) == ["$HOME a  b"])


def test_the_key_in_a_pod_ends_that_pod_and_does_nothing_else(
    runpod: RunningRunpod, api: httpx.Client, start: Start
) -> None:
    pod_id, other = start("echo $RUNPOD_API_KEY; sleep 600"), start()
    wait_until(lambda: bool(runpod.lines(pod_id)))
    (key,) = runpod.lines(pod_id)
    with runpod.client(key) as inside:
        assert inside.get(f"/v2/pods/{pod_id}").json()["name"] == "pod"
        refused = [
            inside.get("/v2/pods"),
            inside.get(f"/v2/pods/{other}"),
            inside.delete(f"/v2/pods/{other}"),
            inside.patch(f"/v2/pods/{pod_id}", json={"name": "b"}),
            inside.post(f"/v2/pods/{pod_id}/action", json={"action": "restart"}),
            inside.get("/v2/billing/pods"),
            inside.get("/v2/catalog/gpus"),
        ]
        assert {answer.status_code for answer in refused} == {403}
        assert refused[0].json() == {"title": "Forbidden", "status": 403, "detail": "access denied"}
        assert inside.post("/graphql", json={"query": "{ myself { id } }"}).json()["data"] == {"myself": None}
        assert inside.post(f"/v2/pods/{pod_id}/action", json={"action": "terminate"}).status_code == 204
        wait_until(lambda: inside.get(f"/v2/pods/{pod_id}").status_code in (401, 404))
    assert runpod.pod(pod_id)["ended_by"] == "pod: action terminate"
    assert show(api, other)["status"] == "RUNNING"


@pytest.mark.parametrize("rung", ['-X DELETE "$POD"', '-X POST "$POD/action" -d "$TERMINATE"'])
def test_a_pod_that_ends_itself_reads_the_answer(
    runpod: RunningRunpod, api: httpx.Client, order: Order, rung: str
) -> None:
    call = f'curl -sS -w "%{{http_code}}\\n" -H "$TYPE" -H "Authorization: Bearer $RUNPOD_API_KEY" {rung}'
    environment = {
        "API": runpod.api_url,
        "TYPE": "Content-Type: application/json",
        "TERMINATE": '{"action": "terminate"}',
        "NO_PROXY": "127.0.0.1",
    }
    script = f'POD="$API/pods/$RUNPOD_POD_ID"; {call}; sleep 600'
    pod_id = api.post("/v2/pods", json=order(script, env=environment)).json()["id"]
    wait_until(lambda: runpod.pod(pod_id)["status"] == "TERMINATED")
    wait_until(lambda: runpod.pod(pod_id)["processes"] == [])
    assert runpod.lines(pod_id)[0] == "204"
    assert str(runpod.pod(pod_id)["ended_by"]).startswith("pod: ")


def test_stop_keeps_only_the_volume_and_start_boots_it_again(
    runpod: RunningRunpod, api: httpx.Client, start: Start
) -> None:
    script = 'ls "$STOKER_POD_ROOT" "$HOME"; touch "$STOKER_POD_ROOT/kept" "$HOME/lost"; echo ready; sleep 600'
    pod_id = start(script, mounts={"persistent": {"size": 20, "path": "/workspace"}})
    wait_until(lambda: "ready" in runpod.lines(pod_id))
    stopped = api.post(f"/v2/pods/{pod_id}/action", json={"action": "stop"}).json()
    assert (stopped["status"], stopped["cost"], stopped["actions"]) == ("EXITED", 0.0, ["start", "terminate"])
    wait_until(lambda: runpod.pod(pod_id)["processes"] == [])
    assert runpod.account()["spending_per_hour"] == pytest.approx(20 * 0.2 / 720)
    assert api.post(f"/v2/pods/{pod_id}/action", json={"action": "stop"}).status_code == 409

    assert api.post(f"/v2/pods/{pod_id}/action", json={"action": "start"}).status_code == 200
    wait_until(lambda: show(api, pod_id)["status"] == "RUNNING")
    wait_until(lambda: "kept" in runpod.lines(pod_id))
    assert "lost" not in runpod.lines(pod_id)


def test_a_restart_counts_from_0_and_wipes_a_disk_without_a_volume(
    runpod: RunningRunpod, api: httpx.Client, start: Start
) -> None:
    pod_id = start('ls "$STOKER_POD_ROOT"; touch "$STOKER_POD_ROOT/lost"; echo ready; sleep 600')
    wait_until(lambda: "ready" in runpod.lines(pod_id))
    assert api.post(f"/v2/pods/{pod_id}/action", json={"action": "restart"}).json()["status"] == "RUNNING"
    wait_until(lambda: runpod.lines(pod_id).count("ready") == 2)
    assert "lost" not in runpod.lines(pod_id)
    assert runpod.pod(pod_id)["starts"] == 2


def test_what_runs_is_taken_off_the_stock_and_given_back(
    runpod: RunningRunpod, api: httpx.Client, order: Order, start: Start
) -> None:
    runpod.set_stock("NVIDIA RTX A4000", 0)
    runpod.set_stock("NVIDIA RTX A4000", 1, data_center="EU-SE-1")
    pod_id = start()
    assert show(api, pod_id)["dataCenterId"] == "EU-SE-1"
    refused = api.post("/v2/pods", json=order())
    assert (refused.status_code, refused.json()["detail"].split(" with ")[0]) == (
        400,
        "There are no longer any instances available",
    )
    query = {"include": "AVAILABILITY", "product": "POD", "cloud": "SECURE"}
    told = api.get("/v2/catalog/gpus/NVIDIA RTX A4000", params=query).json()
    assert told["availability"] == "NONE"
    api.delete(f"/v2/pods/{pod_id}")
    assert api.post("/v2/pods", json=order(dataCenterIds=["US-KS-2"])).status_code == 400
    assert api.post("/v2/pods", json=order()).status_code == 201


def test_a_driver_that_is_too_old_for_an_order_is_no_capacity(api: httpx.Client, order: Order) -> None:
    gpu = {"id": "NVIDIA RTX A4000"}
    assert api.post("/v2/pods", json=order(gpu=gpu | {"minCudaVersion": "12.9"})).status_code == 201
    assert api.post("/v2/pods", json=order(gpu=gpu | {"minCudaVersion": "13.1"})).status_code == 400
    assert api.post("/v2/pods", json=order(gpu=gpu | {"allowedCudaVersions": ["11.8"]})).status_code == 400


def test_the_list_comes_in_pages(tmp_path: Path, order: Order) -> None:
    rules = Rules(time_scale=0.02, image="none", page_size=2)
    with running_runpod(tmp_path, rules) as runpod, runpod.client() as api:
        made = [api.post("/v2/pods", json=order("sleep 600", name=f"p{n}")).json()["id"] for n in range(5)]
        found: list[str] = []
        query: dict[str, str] = {}
        while True:
            page = api.get("/v2/pods", params={**query, "unknown": "ignored"}).json()
            found += [pod["id"] for pod in page["pods"]]
            if not page["pagination"]["hasNextPage"]:
                break
            query = {"cursor": page["pagination"]["nextCursor"]}
        assert found == made
        assert len(api.get("/v2/pods", params={"limit": 5}).json()["pods"]) == 5


def test_accounts_see_nothing_of_each_other_and_keys_do_what_they_may(tmp_path: Path, order: Order) -> None:
    accounts = (
        AccountRules(name="user", keys=(KeyRules.model_validate({"key": "replaced"}),)),
        AccountRules(name="other", keys=(KeyRules.model_validate({"key": "other-key"}),)),
        AccountRules(
            name="reader", keys=(KeyRules.model_validate({"key": "reader-key", "rights": ["pods:read", "catalog"]}),)
        ),
    )
    with running_runpod(tmp_path, Rules(time_scale=0.02, image="none", accounts=accounts)) as runpod:
        with runpod.client() as api, runpod.client("other-key") as other, runpod.client("reader-key") as reader:
            pod_id = api.post("/v2/pods", json=order()).json()["id"]
            assert other.get(f"/v2/pods/{pod_id}").status_code == 404
            assert other.delete(f"/v2/pods/{pod_id}").status_code == 404
            assert other.get("/v2/pods").json()["pods"] == []
            assert reader.get("/v2/pods").status_code == 200
            assert reader.post("/v2/pods", json=order()).status_code == 403
            assert reader.get("/v2/billing/pods").status_code == 403
            runpod.admin.request("DELETE", "/keys", json={"key": "reader-key"}).raise_for_status()
            assert reader.get("/v2/pods").json()["detail"] == "invalid bearer token"


@pytest.mark.parametrize("image", ["host", "bare"])
def test_the_python_of_an_image_is_the_pods_own(tmp_path: Path, order: Order, image: Literal["host", "bare"]) -> None:
    script = 'command -v python pip; python -c "import sys; print(sys.prefix)"; pip --version; python -c "import httpx"'
    with running_runpod(tmp_path, Rules(time_scale=0.02, image=image)) as runpod, runpod.client() as api:
        pod_id = api.post("/v2/pods", json=order(f"({script}) 2>&1; echo status $?; sleep 600")).json()["id"]
        wait_until(lambda: any(line.startswith("status") for line in runpod.lines(pod_id)))
        folder, lines = runpod.pod(pod_id)["folder"], runpod.lines(pod_id)
        assert lines[:3] == [f"{folder}/image/bin/python", f"{folder}/image/bin/pip", f"{folder}/image"]
        assert lines[3].startswith("pip ")
        assert lines[-1] == ("status 0" if image == "host" else "status 1")
