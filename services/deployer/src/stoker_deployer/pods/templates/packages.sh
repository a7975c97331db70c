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
