#!/bin/sh
# Runs a command so that it sees one graphics card alone, where the system lets it hide the others:
#
#   sh tasks/on_gpu.sh N COMMAND…        N counts the cards from 0: /dev/nvidia0 …, or where there are none /dev/dri/renderD128 …
#   sh tasks/on_gpu.sh --flag COMMAND…   N is the value of a flag --gpu of the command, which does not see it; without one, plainly
#
# Vulkan heeds no variable that tells equal cards apart (CUDA_VISIBLE_DEVICES is CUDA's). So the command gets a mount namespace of its own
# (unshare, of util-linux), in which /dev holds all that it held but the other cards. Exit code 2 says what else to do.
set -eu

dev=${SMALLTALK_DEV:-/dev} # tests name another

stop() { echo "error: $*" >&2; exit 2; }

# Prints the cards of a folder, by their numbers.
cards_in() {
  ls "$1" 2>/dev/null | sed -n "s/^$2\([0-9][0-9]*\)\$/\1/p" | sort -n | sed "s#^#$1/$2#"
}

if [ "${1-}" = --inside ]; then # in the namespace: $2 is the folder to fill, $3 the card that stays, then the command
  new=$2 card=$3
  shift 3
  mount -t tmpfs -o mode=755 none "$new"
  fill() { # a folder of $dev, and the folder that takes its place
    for path in "$1"/* "$1"/.[!.]*; do
      place=$2/${path##*/}
      if [ -L "$path" ]; then cp -P "$path" "$place"
      elif [ "$path" = "$dev/dri" ]; then mkdir "$place" && fill "$path" "$place"
      elif [ -d "$path" ]; then mkdir "$place" && mount --rbind "$path" "$place"
      elif [ -e "$path" ]; then
        case ${path#"$dev"/} in
          nvidia[0-9]* | dri/renderD[0-9]* | dri/card[0-9]*) is_other "$path" && continue ;;
        esac
        : >"$place" && mount --bind "$path" "$place"
      fi
    done
  }
  # A card of NVIDIA is shut by its own file; of others the node that draws is kept, and the one that shows next to it.
  is_other() {
    case $card in
      "$dev"/nvidia*) case $1 in "$dev"/nvidia*) [ "$1" != "$card" ] ;; *) return 1 ;; esac ;;
      *) case $1 in "$dev"/dri/renderD*) [ "$1" != "$card" ] ;; *) return 1 ;; esac ;;
    esac
  }
  fill "$dev" "$new"
  mount --rbind "$new" "$dev"
  umount -l "$new"
  rmdir "$new"
  exec "$@"
fi

[ $# -gt 1 ] || stop "Cannot run on one GPU as its number and a command must be given: sh tasks/on_gpu.sh N COMMAND…"
number=$1
shift
if [ "$number" = --flag ]; then
  number='' given=''
  left=$#
  while [ "$left" -gt 0 ]; do
    word=$1
    shift
    left=$((left - 1))
    case $word in
      --gpu=*) number=${word#--gpu=} given=1 ;;
      --gpu)
        [ "$left" -gt 0 ] || stop "Cannot run on one GPU as --gpu must have a value, its number: it has none"
        number=$1 given=1
        shift
        left=$((left - 1))
        ;;
      *) set -- "$@" "$word" ;;
    esac
  done
  [ -n "$given" ] || exec "$@"
fi
cards=$(cards_in "$dev" nvidia)
[ -n "$cards" ] || cards=$(cards_in "$dev/dri" renderD)
all=$(printf '%s' "$cards" | grep -c . || true)
case $number in
  '' | *[!0-9]*) stop "Cannot run on one GPU as --gpu must be its number: it is \"$number\"" ;;
esac
while [ "${number#0}" != "$number" ] && [ "$number" != 0 ]; do number=${number#0}; done # 08 would be octal
[ "${#number}" -le 9 ] || stop "Cannot run on GPU $number as --gpu must be less than the number of cards: there are $all"
card=$(printf '%s\n' "$cards" | sed -n "$((number + 1))p")
[ -n "$card" ] || stop "Cannot run on GPU $number as --gpu must be less than the number of cards: there are $all"
[ "$all" -gt 1 ] || exec "$@"

own="--mount"
[ "$(id -u)" = 0 ] && unshare $own true 2>/dev/null || own="--user --map-root-user --mount"
# shellcheck disable=SC2086 # several words
unshare $own true 2>/dev/null || stop "Cannot run on GPU $number alone as the system must let a process hide the other $((all - 1)) cards from" \
  "itself (unshare $own), and it does not; run it in a container that has this card alone, for instance with" \
  "docker run --gpus device=$number -e NVIDIA_DRIVER_CAPABILITIES=graphics,utility"
new=$(mktemp -d 2>/dev/null) ||
  stop "Cannot run on GPU $number alone as TMPDIR must be a folder to write in: ${TMPDIR:-/tmp} is none"
# shellcheck disable=SC2086
exec unshare $own --propagation private sh "$0" --inside "$new" "$card" "$@"
