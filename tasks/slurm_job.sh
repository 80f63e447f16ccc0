# What a job of Slurm does around its tasks. Its script says: `unit`, the number or name of its process; `one_card`, where it may see
# one graphics card alone; of a training `scratch`, where its checkpoints lie, and `log`.

own=$SLURM_JOB_ID
[ -z "${SLURM_ARRAY_TASK_ID:-}" ] || own=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

# No environment variable makes Vulkan use one card: a process which sees cards that are not its own is refused.
if [ -n "${one_card:-}" ]; then
  dev=${SMALLTALK_DEV:-/dev}
  set -- "$dev"/nvidia[0-9]*
  [ -e "$1" ] || set -- "$dev"/dri/renderD* # of other makers
  cards=0
  for card in "$@"; do
    (exec <"$card") 2>/dev/null && cards=$((cards + 1))
  done
  if [ "$cards" -gt 1 ]; then
    echo "error: Cannot use one card as a task must see its own alone: it sees $cards; set ConstrainDevices=yes in Slurm's cgroup.conf"
    exit 2
  fi
fi

# Before the time is up this shell gets a signal and sends the task one; at preemption the task gets one itself. It saves its state, ends
# with 130, and is queued again, it alone, unless someone cancelled it.
stopping=
task=
stop() {
  stopping=yes
  [ -n "$task" ] || return
  scancel --signal=TERM "$own" # to the task: srun itself, when it gets TERM, kills the task at once
  # It has as long to save its state; else it is killed, and goes on from an earlier checkpoint.
  (sleep 75; kill -TERM "$task") >/dev/null 2>&1 &
}
trap stop USR1
trap : TERM
again() {
  # What Slurm queues by itself may run already, or is about to be queued: twice would be once too often.
  set -- $(squeue --noheader --jobs="$own" --Format=State,RestartCnt,TimeLimit,PreemptTime)
  [ "$1" = RUNNING ] && [ "$2" = "${SLURM_RESTART_COUNT:-0}" ] || exit 130
  [ "$4" = N/A ] || ! scontrol show partition "$SLURM_JOB_PARTITION" | grep -q PreemptMode=REQUEUE || exit 130
  said="stopped by a signal: queued again"
  if [ -n "$stopping" ] && [ -n "${scratch:-}" ]; then
    # Where the latest checkpoint is that of the time before, it would be the same for ever.
    last=$(ls -t "$scratch"*/step-*.safetensors 2>/dev/null | head -n 1)
    said="time is up at ${last##*/}: queued again"
    if [ "$(grep "^time is up at " "$log-$own.log" | tail -n 1)" = "$said" ]; then
      echo "error: Cannot go on as an attempt must gain a step: its time limit is $3, a step and its checkpoint take more than the" \
        "$SECONDS s of this attempt; give --time more, or make checkpoints more often with --checkpoint-minutes"
      exit 1
    fi
  fi
  echo "$said"
  scontrol requeue "$own"
  exit 130
}
run() {
  [ -z "$stopping" ] || again
  srun --ntasks=1 --quiet "$@" &
  task=$!
  [ -z "$stopping" ] || stop # the signal came just now
  wait "$task"
  code=$?
  while kill -0 "$task" 2>/dev/null; do # a signal ends the waiting, not the task
    wait "$task"
    code=$?
  done
  task=
  [ "$code" -eq 0 ] && return
  [ "$code" -ne 130 ] && [ -z "$stopping" ] || again
  exit "$code"
}
