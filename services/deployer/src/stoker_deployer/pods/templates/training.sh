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
