#!/bin/sh
# Runs a task of this bundle, on a machine without Deno, without a network and without a home: ./run TASK [flags…]
# Nothing outside this folder is written but what the task is asked to write.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd)
tasks=$(sed -n '/^  "tasks": {/,/^  }/s/^    "\([^"]*\)":.*/\1/p' "$here/project/deno.json" | paste -s -d ' ' -)
stop() { echo "run: $*" >&2; exit 2; }

[ $# -ge 1 ] || stop "Cannot run a task as none is named: ./run TASK [flags…], TASK being one of $tasks"
case " $tasks " in
  *" $1 "*) ;;
  *) stop "Cannot run task \"$1\" as this bundle must hold it: it holds $tasks; deno task bundle --help says how to make one with more" ;;
esac

# The bundled driver runs shaders on the processor. It steps in where the machine has no Vulkan driver of its own.
if [ -d "$here/driver" ] && [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then
  own=
  for file in /etc/vulkan/icd.d/*.json /usr/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json \
    /usr/local/nvidia/share/vulkan/icd.d/*.json; do
    [ ! -f "$file" ] || own=$file
  done
  if [ -z "$own" ]; then
    export VK_DRIVER_FILES="$here/driver/lvp_icd.json"
    export LD_LIBRARY_PATH="$here/driver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  fi
fi

export DENO_DIR="$here/packages" DENO_NO_UPDATE_CHECK=1 INIT_CWD="$PWD" PATH="$here/bin:$PATH"
# "manual" has deno task fetch nothing: by itself it looks for the packages of all tasks.
exec sh "$here/project/tasks/on_gpu.sh" --flag "$here/bin/deno" task --quiet --node-modules-dir=manual \
  --config "$here/project/deno.json" "$@"
