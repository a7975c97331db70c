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
