# What a job of Slurm does around its tasks. Its script says: `unit`, the number or name of its process; `one_card`, where it may see
# one graphics card alone; `log`, where its log is; of a training `scratch`, where its checkpoints lie.

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
# with 130, and is queued again, it alone, unless someone cancelled it. So is one that the system ends, such as where a driver aborts.
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
# The last checkpoint of a training; nothing before the first one, and for other tasks.
latest() {
  [ -z "${scratch:-}" ] || ls -t "$scratch"*/step-*.safetensors 2>/dev/null | head -n 1 | sed 's|.*/||'
}
# Deno ends with 1 where its wait meets a lost device, and the task does where a submit meets it: this attempt's words tell.
lost_device() {
  tac "$log-$own.log" 2>/dev/null | sed '/: queued again$/q' | grep -qE "^Deno has panicked|^error: .* lost its device"
}
# Why a process ended whose task did not end it; nothing where the task did.
whose_end() {
  case $1 in
    1) ! lost_device || echo "its device was lost" ;;
    134) echo "aborted, as by a driver that lost its device" ;;
    137) echo "killed, as where memory runs out" ;;
    139) echo "crashed, as in a driver" ;;
  esac
}
again() {
  # What Slurm queues by itself may run already, or is about to be queued: twice would be once too often.
  set -- $(squeue --noheader --jobs="$own" --Format=State,RestartCnt,TimeLimit,PreemptTime)
  [ "$1" = RUNNING ] && [ "$2" = "${SLURM_RESTART_COUNT:-0}" ] || exit 130
  [ "$4" = N/A ] || ! scontrol show partition "$SLURM_JOB_PARTITION" | grep -q PreemptMode=REQUEUE || exit 130
  said="stopped by a signal: queued again"
  last=$(latest)
  end=$(whose_end "$code")
  if [ -n "$end" ] && [ -z "$stopping" ]; then
    at="at ${last:-no checkpoint}: queued again"
    said="ended with exit code $code ($end) $at"
    before=$(grep "^ended with exit code .* at .*: queued again$" "$log-$own.log" 2>/dev/null | tail -n 2 | grep -c " $at$")
    if [ "$before" -eq 2 ]; then
      echo "error: Cannot go on as an attempt must gain a step: three ended at ${last:-no checkpoint}, this one with exit code $code" \
        "($end) on $(hostname); give it more memory, or see what doctor and the system's log say there, and submit again"
      finish
    fi
  elif [ -n "$stopping" ] && [ -n "${scratch:-}" ]; then
    # Where the latest checkpoint is that of the time before, it would be the same for ever.
    said="time is up at $last: queued again"
    if [ "$(grep "^time is up at " "$log-$own.log" | tail -n 1)" = "$said" ]; then
      echo "error: Cannot go on as an attempt must gain a step: its time limit is $3, a step and its checkpoint take more than the" \
        "$SECONDS s of this attempt; give --time more, or make checkpoints more often with --checkpoint-minutes"
      code=1
      finish
    fi
  fi
  echo "$said"
  scontrol requeue "$own"
  exit 130
}
finish() {
  echo "ended with exit code $code"
  exit "$code"
}
run() {
  code=130
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
  [ "$code" -ne 0 ] || finish
  [ "$code" -ne 130 ] && [ -z "$stopping" ] && [ -z "$(whose_end "$code")" ] || again
  finish
}
