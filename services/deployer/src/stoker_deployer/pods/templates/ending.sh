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
