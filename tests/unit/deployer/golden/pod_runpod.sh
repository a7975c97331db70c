#!/usr/bin/env bash
# One attempt on a rented machine: from a bare container to the end of the machine. Rendered by the deployer.
# The guard (a small Python program in this file) ships the log, watches the clock, and releases the machine.
# shellcheck disable=SC2016,SC2329 # values may hold a $; functions are called by traps and `attend`
set -Eeuo pipefail
umask 077
export LC_ALL="${LC_ALL:-C.UTF-8}" TZ=UTC

# --- settings of this attempt -----------------------------------------------------------------------------------------
readonly STOKER_VERSION=0.1.0
readonly LOCK_SHA256=940a2ec45d49051b1841f4c0c075bbda378fb1ff19dec9159becad76adbc7b0e
readonly UV_VERSION=0.13.9
readonly DISK_NEEDED_MB=10000
readonly RELEASE_KIND=runpod
readonly RELEASE_URL=https://api.runpod.io/v2
readonly DEADLINE_SECONDS=18000  # 0: none
readonly SILENCE_SECONDS=1800  # 0: no limit
readonly LANDING_SECONDS=300
readonly KEEP_ALIVE_SECONDS=120

readonly ROOT="${STOKER_POD_ROOT:-/workspace}"
readonly BASE="$ROOT/.stoker"
readonly STATE="$BASE/attempt-${JOB_ATTEMPT:-0}"
readonly LOG="$STATE/log"
# Written by the Dockerfile of the pre-built image: SHA-256 of its lock, then its Python.
readonly IMAGE_FACTS="${STOKER_POD_IMAGE:-/usr/local/share/stoker/pod-image}"

export HF_HOME="${HF_HOME:-$ROOT/.cache/huggingface}"

stage=boot
child=
python=
guard_pid=
was_told_to_stop=

# --- log: every line with its time, without secrets, on the container's output and in a file -------------------------

# Secrets leave the environment, so that no installer and no child has them; who needs one is given it by name.
take_secrets() {
  local name value
  masked=()
  while read -r name; do
    value="${!name}"
    case "$name" in
      *TOKEN* | *SECRET* | *PASSWORD* | *API_KEY*) if [[ "$value" == ????????* ]]; then masked+=("$value"); fi ;;
    esac
  done < <(compgen -e)
  value="${DATASET_URL:-}"
  if [[ "$value" == *token=????????* ]]; then
    value="${value##*token=}"
    masked+=("${value%%&*}")
  fi
  job_token="${JOB_TOKEN:-}"
  dataset_url="${DATASET_URL:-}"
  pod_key="${RUNPOD_API_KEY:-}"
  unset JOB_TOKEN DATASET_URL RUNPOD_API_KEY
}

stamp() {
  trap '' TERM INT
  local line now secret
  exec 5>>"$LOG"
  while IFS= read -r line || [[ -n "$line" ]]; do
    line="${line%$'\r'}"
    line="${line##*$'\r'}" # a progress bar rewrites its line: only its last state counts
    for secret in "${masked[@]}"; do line="${line//"$secret"/***}"; done
    now="$EPOCHREALTIME"
    printf -v line '[%(%Y-%m-%dT%H:%M:%S)T.%sZ] %s' "${now%[.,]*}" "${now: -6:3}" "$line"
    printf '%s\n' "$line" >&5 || true # on a full disk the container's own output has it
    printf '%s\n' "$line" || true
  done
}

start_log() {
  exec > >(stamp) 2>&1
  stamp_pid=$!
}

say() {
  printf '%s: %s\n' "$stage" "$*"
}

# Seconds since the container's first line, so that each stage's time is in the log.
enter() {
  stage="$1"
  printf '%s\n' "$stage" >"$STATE/stage"
  say "begins $SECONDS s after the start"
}

# --- the end: whatever happens, `ended` says why, and the guard reports it and releases the machine -------------------

start_guard() {
  rm -f "$STATE/trainer.pid"
  head -c 1048576 /dev/zero >"$STATE/reserve" # so that the end can be written when the disk is full
  printf '%s\n' "$$" >"$STATE/main.pid"
  (
    trap '' TERM INT # it ends last
    trap - ERR
    until (guard watch); do
      printf 'guard: ended unexpectedly; started again\n'
      sleep 1
    done
  ) &
  guard_pid=$!
}

# Takes the place of the (sub)shell that calls it.
guard() {
  export PYTHONPATH="$STATE" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
  export JOB_TOKEN="$job_token" RUNPOD_API_KEY="$pod_key"
  export GUARD_STATE="$STATE" GUARD_WORKSPACE="$ROOT" GUARD_VERSION="$STOKER_VERSION"
  export GUARD_RELEASE_KIND="$RELEASE_KIND" GUARD_RELEASE_URL="$RELEASE_URL"
  export GUARD_DEADLINE_SECONDS="$DEADLINE_SECONDS" GUARD_SILENCE_SECONDS="$SILENCE_SECONDS"
  export GUARD_LANDING_SECONDS="$LANDING_SECONDS" GUARD_KEEP_ALIVE_SECONDS="$KEEP_ALIVE_SECONDS"
  exec "$python" -m stoker_guard "$@"
}

# A container that comes back does not train again: its attempt is over, and the deployer decides what follows.
look_for_earlier_run() {
  if [[ -e "$STATE/ended" ]]; then
    say "this container was started again after the attempt had ended; it is not trained again"
    wait_for_guard
  fi
  if [[ -e "$STATE/started" ]]; then
    finish 1 trainer_died "the container was started again while in stage '$(cat "$STATE/stage")'; not trained again"
  fi
  date +%s >"$STATE/started"
}

# Runs a command so that a signal is heard at once, and returns its exit code.
attend() {
  local code=0
  (
    trap - ERR TERM INT
    if [[ "$(type -t "$1")" == file ]]; then exec "$@"; fi # so that a signal reaches the command itself
    "$@"
  ) &
  child=$!
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do # the wait was broken off by a signal that was passed on
    code=0
    wait "$child" || code=$?
  done
  child=
  attended="$*"
  return "$code"
}

on_term() {
  was_told_to_stop=1
  say "told to stop"
  if [[ -n "$child" ]]; then kill -TERM "$child" 2>/dev/null || true; fi
}

on_error() {
  local code=$? line="$1" command="$2"
  trap - ERR
  # The line is that of the caller of `attend`, but bash still names the last command in it.
  if [[ "$command" == 'return "$code"' ]]; then command="${attended:0:200}"; fi
  finish "$code" pod_setup_failed "stage '$stage', line $line of the pod script: '$command' ended with $code"
}

refuse() {
  finish 1 pod_setup_failed "$1"
}

# finish EXIT_CODE REASON MESSAGE: the guard takes it from here.
finish() {
  trap - ERR
  if [[ -n "$was_told_to_stop" && "$2" == pod_setup_failed ]]; then
    set -- 143 terminated "told to stop in stage '$stage'"
  fi
  say "$3"
  rm -f "$STATE/reserve" "$STATE/trainer.pid"
  if [[ -z "$guard_pid" ]]; then give_up_without_guard "$3"; fi
  if ! { printf '%s\n%s\n%s\n' "$1" "$2" "${3//$'\n'/ }" >"$STATE/ended.new" && mv "$STATE/ended.new" "$STATE/ended"; }; then
    give_up_without_guard "$3"
  fi
  wait_for_guard
}

wait_for_guard() {
  trap - ERR
  local code
  while kill -0 "$guard_pid" 2>/dev/null; do wait "$guard_pid" || true; done
  code="$(head -n 1 "$STATE/ended")"
  exec >&- 2>&-
  wait "$stamp_pid" || true # its last lines
  exit "$code"
}

# Without Python, or on a disk that takes nothing, there is no guard. Then curl says why, and tries the same ladder.
give_up_without_guard() {
  local at message="${1//[^a-zA-Z0-9 .,:;()=_\/-]/ }" # nothing that JSON would misread
  say "$message"
  at="$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  bare_call POST "${METRICS_API_URL%/*}/exit" "$job_token" "{\"attempt\": ${JOB_ATTEMPT:-0}, \"sequence\": 1, \
\"at\": \"$at\", \"exit_code\": 1, \"reason\": \"pod_setup_failed\", \"message\": \"$message\"}"
  if [[ "$RELEASE_KIND" == none ]]; then exit 1; fi
  while true; do
    bare_call DELETE "$RELEASE_URL/pods/$RUNPOD_POD_ID" "$pod_key" ""
    sleep 20
    bare_call POST "$RELEASE_URL/pods/$RUNPOD_POD_ID/action" "$pod_key" '{"action": "terminate"}'
    sleep 20
    bare_call POST "$RELEASE_URL/pods/$RUNPOD_POD_ID/action" "$pod_key" '{"action": "stop"}'
    say "the machine is still here; the deployer's sweep will find it. Trying again in 5 minutes"
    sleep 300
  done
}

# bare_call METHOD URL TOKEN BODY. The token goes by standard input: arguments can be read by every process.
bare_call() {
  printf 'header = "Authorization: Bearer %s"\n' "$3" |
    curl --silent --show-error --max-time 20 --config - --request "$1" --user-agent "stoker/$STOKER_VERSION" \
      --header 'Content-Type: application/json' --data "$4" --output /dev/null \
      --write-out "$1 answered %{http_code}\n" "$2" || say "$1 failed"
}

# --- the machine: what it is, and whether it can do the job -----------------------------------------------------------

find_python() {
  local name
  for name in python3.12 python3.13 python3.11 python3 python; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python="$(command -v "$name")"
      return
    fi
  done
  give_up_without_guard "this image has no Python 3.11 or newer; choose another image"
}

print_system() {
  say "pod ${RUNPOD_POD_ID:-unknown} in ${RUNPOD_DC_ID:-an unknown place}; $(uname -sr), $(nproc --all) CPUs"
  say "memory: $(awk '/MemTotal/ {printf "%.1f GB", $2 / 1e6}' /proc/meminfo)"
  say "disk: $(df -Pk "$ROOT" | awk 'NR == 2 {printf "%.1f of %.1f GB free", $4 / 1e6, $2 / 1e6}') at $ROOT"
  say "Python: $("$python" --version 2>&1) at $python"
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=index,name,memory.total,driver_version --format=csv,noheader | sed 's/^/GPU: /' ||
      say "nvidia-smi fails: the driver of this machine may be broken"
    nvidia-smi | grep -o 'CUDA Version: [0-9.]*' || true
  else
    say "GPU: none, or no nvidia-smi in the image"
  fi
}

check_disk() {
  local free
  free="$(df -Pk "$ROOT" | awk 'NR == 2 {print int($4 / 1024)}')"
  if ((free < DISK_NEEDED_MB)); then
    refuse "disk: $free MB are free at $ROOT, $DISK_NEEDED_MB MB are needed; launch with a larger volume"
  fi
  say "disk: $free MB free, $DISK_NEEDED_MB MB needed: enough"
}

check_connections() {
  local verdict=0
  attend guard reach "metrics service" "$METRICS_API_URL" "dataset gateway" "$ARTIFACTS_API_URL" || verdict=$?
  if ((verdict != 0)); then
    refuse "connections: this pod cannot reach what it must; the lines above say which and why"
  fi
}

# --- packages: from the image if it has this lock, else by uv, else by pip -------------------------------------------

fetch_bundle() {
  bundle="$STATE/stoker_trainer.whl"
  attend guard fetch "$TRAINER_BUNDLE_URL" "$TRAINER_BUNDLE_SHA256" "$bundle"
}

install_packages() {
  if image_has_packages; then return; fi
  venv="$BASE/venv-${LOCK_SHA256:0:16}"
  if [[ ! -e "$venv/complete" ]]; then
    export UV_CACHE_DIR="${UV_CACHE_DIR:-$BASE/cache/uv}" PIP_CACHE_DIR="${PIP_CACHE_DIR:-$BASE/cache/pip}"
    if find_uv; then install_with_uv; else install_with_pip; fi
    touch "$venv/complete"
  fi
  python="$venv/bin/python"
  say "packages are in $venv"
}

image_has_packages() {
  local lock="" image_python=""
  if [[ -r "$IMAGE_FACTS" ]]; then { read -r lock && read -r image_python; } <"$IMAGE_FACTS" || true; fi
  if [[ "$lock" != "$LOCK_SHA256" ]]; then
    if [[ -n "$lock" ]]; then say "the image was built for another lock; its packages are not used"; fi
    return 1
  fi
  python="$image_python"
  say "packages are in the image"
}

find_uv() {
  if uv="$(command -v uv)"; then return; fi
  uv="$BASE/uv-$UV_VERSION/bin/uv"
  if [[ -x "$uv" ]]; then return; fi
  if ! attend "$python" -m pip install --quiet --no-input --no-deps --target "$BASE/uv-$UV_VERSION" "uv==$UV_VERSION"; then
    say "uv is not to be had; pip takes longer"
    return 1
  fi
}

install_with_uv() {
  say "installing with $("$uv" --version)"
  attend "$uv" venv --quiet --clear --python "$python" "$venv"
  attend "$uv" pip install --no-progress --python "$venv/bin/python" --requirement "$STATE/trainer.lock"
}

install_with_pip() {
  say "installing with $("$python" -m pip --version)"
  attend "$python" -m venv --clear "$venv"
  attend "$venv/bin/python" -m pip install --no-input --progress-bar off --requirement "$STATE/trainer.lock"
}

# --- training: the trainer fetches data and checkpoints, trains, stores the model and reports ------------------------

train() {
  local code=0
  attend run_trainer || code=$?
  stage=end
  if ((code == 0)); then finish 0 success "the trainer ended with 0"; fi
  if ((code == 143)); then finish 143 terminated "the trainer was told to stop"; fi
  if ((code > 128)); then finish "$code" trainer_died "the trainer was ended by signal $((code - 128))"; fi
  finish "$code" trainer_error "the trainer ended with $code"
}

run_trainer() {
  trap '' USR1 # until the trainer listens to it
  printf '%s\n' "$BASHPID" >"$STATE/trainer.pid"
  export JOB_TOKEN="$job_token" DATASET_URL="$dataset_url" WORKSPACE="$ROOT" PYTHONPATH="$bundle" PYTHONUNBUFFERED=1
  export STOKER_SEND_LOGS=false # the guard ships every line of this script, the trainer's too
  export STOKER_LANDING_SECONDS="$LANDING_SECONDS"
  cd "$ROOT"
  exec "$python" -m stoker_trainer.pod
}

write_guard() {
  mkdir -p "$STATE/stoker_guard"
  cat >"$STATE/stoker_guard/__init__.py" <<'END_OF_GUARD_FILE'
"""The guard of a pod: ships the log, watches the clock, reports the end, releases the machine.

It runs on the pod from the pod script, before anything is installed: only Python's own library, nothing of ours.
"""
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/__main__.py" <<'END_OF_GUARD_FILE'
"""`python -m stoker_guard watch | fetch URL SHA256 FILE | reach NAME URL ...`."""

import os
import sys
from pathlib import Path

from .fetching import fetch
from .reaching import reach
from .settings import Settings, read_settings
from .watching import Guard


def main(arguments: list[str]) -> int:
    """Run a command. 0: done."""
    command, *rest = arguments
    settings = read_settings(os.environ)
    return COMMANDS[command](settings, rest)


def _watch(settings: Settings, _rest: list[str]) -> int:
    Guard(settings).run()
    return 0


def _fetch(settings: Settings, rest: list[str]) -> int:
    url, sha256, path = rest
    return 0 if fetch(url, token=settings.job_token, sha256=sha256, path=Path(path), agent=settings.agent) else 1


def _reach(settings: Settings, rest: list[str]) -> int:
    targets = dict(zip(rest[::2], rest[1::2], strict=True))
    return 0 if reach(targets, agent=settings.agent, pause_seconds=settings.reach_pause) else 1


COMMANDS = {"watch": _watch, "fetch": _fetch, "reach": _reach}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/calls.py" <<'END_OF_GUARD_FILE'
"""One HTTP call with Python's own library. Never raises for what a network or a server can do."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class Answer:
    """`status` 0: nobody answered. `detail` says more and holds no secret."""

    status: int
    detail: str = ""
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_yes(self) -> bool:
        """Any 2xx."""
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> float | None:
        """Seconds, if the answer asks for a pause in seconds."""
        asked = next((value for name, value in self.headers.items() if name.lower() == "retry-after"), "")
        return min(float(asked), 300.0) if asked.isdecimal() else None

    @property
    def order(self) -> str:
        """What the metrics service orders: continue, checkpoint, stop, land."""
        try:
            return str(json.loads(self.content)["control"]["action"])
        except (ValueError, KeyError, TypeError):
            return "continue"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another host."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def call(method: str, url: str, *, token: str = "", body: object = None, agent: str) -> Answer:
    """Send JSON, or nothing."""
    content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    headers = {"User-Agent": agent, "Accept": "application/json", "Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(url, data=content, headers=headers, method=method)  # noqa: S310 - ours
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            return Answer(response.status, content=response.read(), headers=dict(response.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, detail=_text(error), headers=dict(error.headers))
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Answer(0, detail=f"{type(reason).__name__}: {reason}")


def _text(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(500).decode("utf-8", "replace")
    except (OSError, HTTPException) as broken:
        return f"the answer broke off: {broken}"
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/ending.py" <<'END_OF_GUARD_FILE'
"""How the attempt ended, as the pod script wrote it down, and whether the trainer has told it already."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Settings

MEMORY_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
KILLED = 137


@dataclass(frozen=True)
class Ending:
    """The content of the file `ended`."""

    exit_code: int
    reason: str
    message: str


def read_ending(settings: Settings) -> Ending | None:
    """None: the attempt goes on."""
    try:
        code, reason, message = (settings.state / "ended").read_text(errors="replace").rstrip("\n").split("\n", 2)
        return Ending(int(code), reason, message)
    except FileNotFoundError:
        return None
    except ValueError as error:
        return Ending(1, "pod_setup_failed", f"the pod script left no readable end: {error}")


def trainers_report(settings: Settings) -> dict[str, Any] | None:
    """What the trainer has written down as its exit report; None if it died before."""
    folder = settings.workspace / "spool" / f"attempt-{settings.attempt}" / "exit"
    for path in sorted(folder.glob("*.segment"), reverse=True):
        checksum, _, body = path.read_bytes().partition(b"\n")[0].partition(b" ")
        if checksum == b"%08x" % zlib.crc32(body):
            return dict(json.loads(body))
    return None


def with_cause(ending: Ending) -> Ending:
    """A trainer that was killed because memory was short is told apart from one that was killed otherwise."""
    if ending.exit_code == KILLED and memory_kills() > 0:
        message = f"{ending.message}; the kernel ended it because the container's memory was used up"
        return Ending(ending.exit_code, "out_of_memory", message)
    return ending


def memory_kills() -> int:
    """How many processes of this container the kernel has killed for memory; 0 if it does not tell."""
    for path in MEMORY_EVENTS:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return 0
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/fetching.py" <<'END_OF_GUARD_FILE'
"""Fetching the trainer: tried again, and taken only with the right SHA-256."""

import hashlib
from pathlib import Path

from .calls import Answer, call
from .outside import Wait, pause, say

TRIES = 8
FINAL = {401: "the job token is refused", 403: "the job token is refused", 404: "there is no such trainer any more"}
"""Answers that do not get better by asking again."""


def fetch(url: str, *, token: str, sha256: str, path: Path, agent: str, wait: Wait = pause) -> bool:
    """Whether the file is there now, as it should be. Says each fault."""
    for number in range(1, TRIES + 1):
        answer = call("GET", url, token=token, agent=agent)
        fault = _fault(answer, sha256)
        if not fault:
            path.write_bytes(answer.content)
            say(f"trainer fetched: {len(answer.content)} bytes, SHA-256 as expected")
            return True
        say(f"trainer not fetched in try {number} of {TRIES}: {fault}")
        if answer.status in FINAL:
            return False
        if number < TRIES:
            wait(answer.retry_after if answer.retry_after is not None else min(2.0 ** (number - 1), 30.0))
    return False


def _fault(answer: Answer, sha256: str) -> str:
    if not answer.is_yes:
        said = FINAL.get(answer.status) or answer.detail
        return f"the gateway answered {answer.status}: {said}" if answer.status else f"no answer ({answer.detail})"
    actual = hashlib.sha256(answer.content).hexdigest()
    return "" if actual == sha256 else f"its SHA-256 is {actual}, expected {sha256}"
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/outside.py" <<'END_OF_GUARD_FILE'
"""The world as the guard meets it: what it says, and how it waits."""

import threading
import time
from collections.abc import Callable

Wait = Callable[[float], object]
"""Takes seconds."""

pause: Wait = threading.Event().wait


def say(text: str) -> None:
    """One line on the container's output, and so in the log that is shipped."""
    try:
        print(text, flush=True)  # noqa: T201 - the container's output is the product here
    except OSError:
        return  # nobody reads it any more; the machine is released all the same


def now() -> str:
    """This moment in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/reaching.py" <<'END_OF_GUARD_FILE'
"""Whether this pod reaches whom it needs. Any answer of a server will do; the token is not sent."""

from collections.abc import Mapping
from time import monotonic
from urllib.parse import urlsplit

from .calls import Answer, call
from .outside import Wait, pause, say

TRIES = 6
ADVICE = "Is the service up, and is its public address reachable from the internet?"


def reach(targets: Mapping[str, str], *, agent: str, pause_seconds: float, wait: Wait = pause) -> bool:
    """Say for each target (name to URL) whether it answers; True if all do."""
    missing = dict(targets)
    for number in range(TRIES):
        if number:
            wait(pause_seconds)
        missing = {name: url for name, url in missing.items() if not _answers(name, url, agent=agent)}
        if not missing:
            return True
    return False


def _answers(name: str, url: str, *, agent: str) -> bool:
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}"
    started = monotonic()
    answer = call("GET", f"{place}/healthz", agent=agent)
    if _is_ours(answer):
        say(f"{name}: {place} answers ({answer.status}) in {1000 * (monotonic() - started):.0f} ms")
        return True
    why = f"answers {answer.status}" if answer.status else f"cannot be reached ({answer.detail})"
    say(f"{name}: {place} {why}. {ADVICE}")
    return False


def _is_ours(answer: Answer) -> bool:
    # A proxy in front that has nobody behind it answers 502 to 504.
    return answer.status not in {0, 502, 503, 504}
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/releasing.py" <<'END_OF_GUARD_FILE'
"""How a machine ends itself: a ladder, each rung tried until the machine is gone. It never gives up."""

from collections.abc import Callable
from dataclasses import dataclass

from .calls import Answer, call
from .outside import Wait, pause
from .settings import Settings

TRIES = 2
LONGEST_PAUSE = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rung:
    """A call that ends a machine. `path` is that of the provider's API."""

    name: str
    method: str
    path: str
    body: dict[str, str] | None = None


LADDERS: dict[str, tuple[Rung, ...]] = {
    "none": (),
    "runpod": (
        Rung("delete", "DELETE", "/pods/{pod_id}"),
        Rung("terminate", "POST", "/pods/{pod_id}/action", {"action": "terminate"}),
        # It stops the meter of the GPU; the disk goes on until the deployer's sweep.
        Rung("stop", "POST", "/pods/{pod_id}/action", {"action": "stop"}),
    ),
}


class Releaser:
    """Releases this machine with the pod's own key."""

    def __init__(self, settings: Settings, *, say: Say, wait: Wait = pause) -> None:
        self._settings = settings
        self._say = say
        self._wait = wait

    def climb(self) -> bool:
        """Try each rung once. Returns only if this machine is still there: False, or True if nothing ends it here."""
        ladder = LADDERS[self._settings.release_kind]
        for rung in ladder:
            if self._call(rung):
                self._wait(self._settings.settle)
                self._say(f"release: {rung.name} was granted {self._settings.settle:.0f} s ago, and this still runs")
        return not ladder

    def _call(self, rung: Rung) -> bool:
        url = self._settings.release_url + rung.path.format(pod_id=self._settings.pod_id)
        for _ in range(TRIES):
            self._say(f"release: {rung.name} ({rung.method} {rung.path.format(pod_id=self._settings.pod_id)})")
            answer = call(rung.method, url, token=self._settings.pod_key, body=rung.body, agent=self._settings.agent)
            self._say(f"release: {rung.name} {_said(answer)}")
            if answer.is_yes or answer.status == 404:
                return True
            if answer.status not in {0, 408, 429} and answer.status < 500:
                return False  # it will not be granted to this key
            self._wait(min(answer.retry_after if answer.retry_after is not None else 3.0, LONGEST_PAUSE))
        return False


def _said(answer: Answer) -> str:
    if not answer.status:
        return f"got no answer: {answer.detail}"
    return f"was answered with {answer.status}" + (f": {answer.detail[:200]}" if answer.detail else "")
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/settings.py" <<'END_OF_GUARD_FILE'
"""What the pod script tells the guard, by environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Seconds; 0 for deadline and silence means that there is none.

    `state` is the attempt's own folder, `workspace` the trainer's. `release_kind` is `runpod` or `none`.
    """

    state: Path
    workspace: Path
    attempt: int
    metrics_url: str
    alerts_url: str
    version: str
    release_kind: str
    release_url: str
    pod_id: str
    deadline: float
    silence: float
    landing: float
    keep_alive: float
    job_token: str = field(repr=False)
    pod_key: str = field(repr=False)
    tick: float = 1.0
    beat_every: float = 10.0
    settle: float = 30.0
    """How long a machine may take to end after a call that was answered with yes."""
    ladder_every: float = 300.0
    term_grace: float = 30.0
    """Between TERM and KILL, and from there to the guard's own end of the attempt."""
    flush: float = 60.0
    """A machine that has nothing to do does not wait longer to be heard."""
    reach_pause: float = 10.0

    @property
    def agent(self) -> str:
        """The User-Agent; some providers' firewalls turn away those of libraries."""
        return f"stoker/{self.version}"

    def address(self, kind: str) -> str:
        """Where a kind of report goes."""
        return self.alerts_url if kind == "alerts" else f"{self.metrics_url.rpartition('/')[0]}/{kind}"


def read_settings(variables: Mapping[str, str]) -> Settings:
    """Raises KeyError, ValueError: the pod script and its guard do not belong together."""
    return Settings(
        state=Path(variables["GUARD_STATE"]),
        workspace=Path(variables["GUARD_WORKSPACE"]),
        attempt=int(variables["JOB_ATTEMPT"]),
        metrics_url=variables["METRICS_API_URL"].rstrip("/"),
        alerts_url=variables["ALERT_API_URL"],
        version=variables["GUARD_VERSION"],
        release_kind=variables["GUARD_RELEASE_KIND"],
        release_url=variables["GUARD_RELEASE_URL"],
        pod_id=variables.get("RUNPOD_POD_ID", ""),
        deadline=float(variables["GUARD_DEADLINE_SECONDS"]),
        silence=float(variables["GUARD_SILENCE_SECONDS"]),
        landing=float(variables["GUARD_LANDING_SECONDS"]),
        keep_alive=float(variables["GUARD_KEEP_ALIVE_SECONDS"]),
        job_token=variables["JOB_TOKEN"],
        pod_key=variables["RUNPOD_API_KEY"],
        **{name: float(variables[key]) for name, key in _FOR_TESTS.items() if key in variables},
    )


_FOR_TESTS = {
    "tick": "GUARD_TICK_SECONDS",
    "settle": "GUARD_SETTLE_SECONDS",
    "ladder_every": "GUARD_LADDER_SECONDS",
    "term_grace": "GUARD_TERM_GRACE_SECONDS",
    "flush": "GUARD_FLUSH_SECONDS",
    "reach_pause": "GUARD_REACH_PAUSE_SECONDS",
}
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/shipping.py" <<'END_OF_GUARD_FILE'
"""The log, from the first line on, to the metrics service. Line n of the file is sequence n, whoever sends it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

from .calls import Answer
from .outside import now

MAX_LINES = 500
MAX_BYTES = 200_000
MAX_CHARACTERS = 8_000
LAST_LINES = 50
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
_STAMPED = re.compile(r"\[([0-9T:.-]+Z)\] (.*)", re.DOTALL)

Send = Callable[[str, dict[str, Any]], Answer]
"""Sends a kind of report with its body."""


class Shipper:
    """Sends what is in the log file and not sent yet. How far it is, is on disk."""

    def __init__(self, log: Path, *, send: Send, clock: Callable[[], float] = monotonic) -> None:
        self._log = log
        self._position = log.with_name("shipped")
        self._send = send
        self._clock = clock
        self._lines, self._offset = _read_position(self._position)
        self._limit = MAX_LINES
        self._failures = 0
        self._not_before = 0.0

    def ship(self) -> bool:
        """Send all that waits, as long as it is taken. True: nothing waits any more."""
        while self._clock() >= self._not_before:
            batch, offset = self._next_batch()
            if not batch:
                return True
            answer = self._send("logs", {"lines": batch})
            if answer.is_yes or (answer.status in {413, 422} and len(batch) == 1):
                self._failures, self._limit = 0, MAX_LINES
                self._moved(len(batch), offset)
            elif answer.status in {413, 422}:
                self._limit = len(batch) // 2
            else:
                self._pause(answer)
        return False

    def last_lines(self) -> list[str]:
        """The newest lines without their times, oldest first."""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 64_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return [_parsed(line)[1] for line in lines[-LAST_LINES:]]

    def _next_batch(self) -> tuple[list[dict[str, Any]], int]:
        if not self._log.exists():
            return [], 0
        batch: list[dict[str, Any]] = []
        with self._log.open("rb") as file:
            file.seek(self._offset)
            for line in _whole_lines(file, self._limit):
                at, text = _parsed(line)
                batch.append({"sequence": self._lines + len(batch) + 1, "at": at, "stream": "pod", "text": text})
            return batch, file.tell()

    def _moved(self, count: int, offset: int) -> None:
        self._lines += count
        self._offset = offset
        new = self._position.with_name("shipped.new")
        try:
            new.write_text(f"{self._lines} {self._offset}")
            new.replace(self._position)
        except OSError:
            return  # a full disk: what is sent again after a restart counts once

    def _pause(self, answer: Answer) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10))
        self._failures += 1
        self._not_before = self._clock() + (pause if answer.retry_after is None else answer.retry_after)


def _whole_lines(file: BinaryIO, limit: int) -> Iterator[str]:
    """Lines that are complete, within the limits; the file is left behind the last one."""
    size = 0
    for _ in range(limit):
        start = file.tell()
        line = file.readline()
        size += min(len(line), 4 * MAX_CHARACTERS)
        if not line.endswith(b"\n") or (size > MAX_BYTES and size > len(line)):
            file.seek(start)
            return
        yield line[:-1].decode("utf-8", "replace")


def _parsed(line: str) -> tuple[str, str]:
    found = _STAMPED.fullmatch(line)
    at, text = (found[1], found[2]) if found else (now(), line)
    return at, text[:MAX_CHARACTERS]


def _read_position(path: Path) -> tuple[int, int]:
    try:
        lines, offset = path.read_text().split()
        return int(lines), int(offset)
    except (FileNotFoundError, ValueError):
        return 0, 0
END_OF_GUARD_FILE
  cat >"$STATE/stoker_guard/watching.py" <<'END_OF_GUARD_FILE'
"""The guard's loop: ship, beat, look at the clock; then report the end and release the machine."""

import os
import shutil
import signal
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from .calls import Answer, call
from .ending import Ending, read_ending, trainers_report, with_cause
from .outside import Wait, now, pause, say
from .releasing import Releaser
from .settings import Settings
from .shipping import Shipper

LANDED_EMPTY = 18
"""The trainer's exit code when it is ordered to land before its first step."""

FIRST_ALERT = 1_000_000_000
"""The trainer counts its alerts from 1."""

HEARD = frozenset({401, 413, 422, 429})
"""Refusals that only the control plane itself gives."""


class Guard:
    """One guard for one attempt. `run` returns only where the machine is not released from inside."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = time,
        wait: Wait = pause,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._wait = wait
        self._shipper = Shipper(settings.state / "log", send=self._send, clock=clock)
        self._started = clock() - _age(settings, wall_clock())
        self._heard_at = clock()
        self._shipped_at = clock()
        self._next_beat = clock()
        self._is_rejected = False
        self._order = "continue"
        self._alerts = 0
        self._end = EndFromInside(settings, clock=clock, say=self._say)

    def run(self) -> None:
        """Until the attempt has ended, then the end."""
        (self._settings.state / "guard.pid").write_text(str(os.getpid()))
        while read_ending(self._settings) is None:
            self._shipper.ship()
            self._beat()
            self._ask_for_life()
            self._watch()
            self._wait(self._settings.tick)
        self._report_end()
        self._keep_alive()
        self._release()

    def _watch(self) -> None:
        if why := self._why_end():
            if not self._end.is_under_way:
                self._say(f"this machine ends itself: {why}")
                self._alert("pod_ends_itself", why)
            self._end.go_on(why)

    def _why_end(self) -> str:
        if self._end.why:
            return self._end.why
        settings, moment = self._settings, self._clock()
        if settings.deadline and moment - self._started >= max(settings.deadline - settings.landing, 0):
            return f"its hard deadline, {settings.deadline:.0f} s after its start, is near"
        if settings.silence and moment - self._heard_at >= settings.silence:
            return f"the control plane has been silent for {settings.silence:.0f} s"
        if self._is_rejected:
            return "the job token is refused: the control plane has ended this attempt"
        if self._order in {"stop", "land"} and not _trainer_pid(settings):
            return f"the control plane orders to {self._order} before training has begun"
        return ""

    def _beat(self) -> None:
        """Say that the pod prepares, until the trainer speaks for itself."""
        if self._clock() < self._next_beat or _trainer_pid(self._settings):
            return
        self._next_beat = self._clock() + self._settings.beat_every
        self._send("heartbeat", {"sequence": 1, "at": now(), "phase": "preparing"})

    def _ask_for_life(self) -> None:
        """A quiet trainer is no quiet control plane: now and then there is a line to be answered."""
        if self._settings.silence and self._clock() - self._shipped_at >= self._settings.silence / 6:
            self._shipped_at = self._clock()
            self._say(f"this pod lives; {_room(self._settings)}")

    def _send(self, kind: str, body: dict[str, Any]) -> Answer:
        settings = self._settings
        answer = call(
            "POST",
            settings.address(kind),
            token=settings.job_token,
            body={"attempt": settings.attempt} | body,
            agent=settings.agent,
        )
        if answer.is_yes or answer.status in HEARD:
            self._heard_at = self._clock()
        if answer.is_yes:
            self._order = answer.order
            self._shipped_at = self._clock() if kind == "logs" else self._shipped_at
        self._is_rejected = answer.status == 401
        return answer

    def _alert(self, code: str, message: str) -> None:
        self._alerts += 1
        body = {"sequence": FIRST_ALERT + self._alerts, "at": now(), "level": "error", "code": code, "message": message}
        self._send("alerts", body)

    def _report_end(self) -> None:
        """The log to its last line, then the exit report: the trainer's own if it has left one."""
        ending = read_ending(self._settings)
        if ending is None:
            return
        limit = self._clock() + self._settings.flush
        # Sent by the trainer, too, most likely; the first one counts.
        report: dict[str, Any] | None = trainers_report(self._settings) or self._own_report(ending)
        while self._clock() < limit and not self._is_rejected:
            is_shipped = self._shipper.ship()
            # In the second half the exit report does not wait for the log: it matters most.
            if report and (is_shipped or limit - self._clock() < self._settings.flush / 2) and self._takes_exit(report):
                report = None
            if is_shipped and report is None:
                return
            self._wait(self._settings.tick)

    def _own_report(self, ending: Ending) -> dict[str, Any]:
        ending = with_cause(ending)
        if self._end.why and self._order == "land":
            ending = Ending(LANDED_EMPTY, "landed", ending.message)
        return {
            "sequence": 1,
            "at": now(),
            "exit_code": ending.exit_code,
            "reason": ending.reason,
            "message": f"{ending.message} ({self._end.why})" if self._end.why else ending.message,
            "last_lines": self._shipper.last_lines(),
        }

    def _takes_exit(self, report: dict[str, Any]) -> bool:
        answer = self._send("exit", report)
        return answer.is_yes or answer.status == 422

    def _keep_alive(self) -> None:
        ending = read_ending(self._settings)
        if ending is None or ending.exit_code or not self._settings.keep_alive or self._end.why:
            return
        end = self._clock() + self._settings.keep_alive
        self._say(f"this machine is kept for {self._settings.keep_alive:.0f} s, as asked for")
        while (left := end - self._clock()) > 0 and not self._is_past_deadline():
            self._shipper.ship()
            self._wait(min(left, self._settings.tick))

    def _is_past_deadline(self) -> bool:
        return bool(self._settings.deadline) and self._clock() - self._started >= self._settings.deadline

    def _release(self) -> None:
        releaser = Releaser(self._settings, say=self._tell, wait=self._wait)
        while not releaser.climb():
            text = (
                "this machine cannot end itself and costs money: every way was refused or without effect. "
                f"It trains nothing more, tries again every {self._settings.ladder_every:.0f} s, and waits for the "
                "deployer's sweep; or end it at the provider by hand."
            )
            self._tell(text)
            self._alert("pod_cannot_end_itself", text)
            self._wait(self._settings.ladder_every)

    def _tell(self, text: str) -> None:
        """Say a line and see it sent: the next call may be the last that this machine makes."""
        self._say(text)
        self._wait(min(self._settings.tick, 0.3))  # until the line is in the log
        self._shipper.ship()

    def _say(self, text: str) -> None:
        say(f"guard: {text}")


class EndFromInside:
    """Ends what runs, in growing severity: with time for a checkpoint, then at once, then without asking.

    USR1 lets the trainer finish its step, save and upload; TERM leaves it seconds; KILL nothing. If even then the pod
    script writes no end, it is written here.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float], say: Callable[[str], None]) -> None:
        self._settings = settings
        self._clock = clock
        self._say = say
        self._began = 0.0
        self._done: set[str] = set()
        self.why = ""

    @property
    def is_under_way(self) -> bool:
        """Whether it has begun."""
        return bool(self.why)

    def go_on(self, why: str) -> None:
        """Do what is due by now."""
        if not self.why:
            self.why, self._began = why, self._clock()
        passed = self._clock() - self._began
        grace = self._settings.term_grace
        landing = self._settings.landing if _trainer_pid(self._settings) else 0.0
        if passed < landing:
            self._once("usr1", signal.SIGUSR1)
        elif passed < landing + grace:
            self._once("term", signal.SIGTERM)
        elif passed < landing + 2 * grace:
            self._once("kill", signal.SIGKILL)
        elif read_ending(self._settings) is None:
            (self._settings.state / "ended").write_text(f"143\nterminated\n{why}; the pod script did not react\n")

    def _once(self, name: str, number: signal.Signals) -> None:
        if name in self._done:
            return
        self._done.add(name)
        trainer = _trainer_pid(self._settings)
        pid = trainer or _pid(self._settings, "main.pid")
        # Without a trainer the script itself is told; it ends what it runs. It is never killed: it writes the end.
        if not pid or (number == signal.SIGKILL and not trainer):
            return
        self._say(f"{number.name} to {'the trainer' if trainer else 'the pod script'}")
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return  # it ended by itself


def _trainer_pid(settings: Settings) -> int:
    return _pid(settings, "trainer.pid")


def _pid(settings: Settings, name: str) -> int:
    try:
        return int((settings.state / name).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _age(settings: Settings, wall_clock: float) -> float:
    """Seconds since the attempt began here; a guard that was started again counts on."""
    try:
        return max(0.0, wall_clock - float((settings.state / "started").read_text()))
    except (FileNotFoundError, ValueError):
        return 0.0


def _room(settings: Settings) -> str:
    return f"{shutil.disk_usage(settings.workspace).free / 1e9:.1f} GB of disk are free"
END_OF_GUARD_FILE
}

write_lock() {
  cat >"$STATE/trainer.lock" <<'END_OF_LOCK'
# Exact versions of what the trainer needs. Made by `python -m tools.pods`, not by hand.
accelerate==1.15.0
annotated-doc==0.0.7
annotated-types==0.8.0
anyio==4.16.0
certifi==2026.10.18
charset-normalizer==3.5.2
click==8.5.1
datasets==5.2.0
dill==0.4.1
filelock==4.2.11
fsspec==2026.9.0
gguf==0.19.0
h11==0.16.0
hf-xet==1.8.0
httpcore==1.0.9
httpcore2==2.16.2
httpx==0.28.1
httpx2==2.16.2
huggingface-hub==2.4.0
idna==3.20
jinja2==3.1.6
markdown-it-py==4.3.0
markupsafe==3.0.4
mdurl==0.1.2
mpmath==1.3.0
multiprocess==0.70.19
networkx==3.6.1
numpy==2.4.6
packaging==26.3
pandas==3.1.1
peft==0.21.2
psutil==7.2.2
pyarrow==26.0.1
pydantic==2.14.3
pydantic-core==2.50.4
pygments==2.21.0
python-dateutil==4.0.0
pyyaml==6.0.3
regex==2026.11.15
requests==2.34.2
rich==15.0.0
safetensors==0.8.0
setuptools==84.2.1
shellingham==1.5.4
sympy==1.14.0
tenacity==9.2.1
tokenizers==0.23.3
torch==2.13.0
tqdm==4.70.1
transformers==5.23.0
trl==1.16.0
truststore==0.10.5
typer==0.29.2
typing-extensions==4.16.0
typing-inspection==0.4.5
tzdata==2026.6
urllib3==2.8.0
xxhash==4.1.0
END_OF_LOCK
}

main() {
  mkdir -p "$STATE"
  take_secrets
  start_log
  trap 'on_error "$LINENO" "$BASH_COMMAND"' ERR
  trap on_term TERM INT
  find_python
  write_guard
  start_guard
  look_for_earlier_run

  enter system
  print_system
  enter checks
  check_disk
  check_connections
  enter bundle
  fetch_bundle
  enter packages
  write_lock
  install_packages
  enter training
  train
}

main
