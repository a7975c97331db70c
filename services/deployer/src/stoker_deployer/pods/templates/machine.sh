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
