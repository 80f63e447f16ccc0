#!/bin/sh
# Installs what is missing on a Debian-like machine that has Node's npm, then runs a task:
#
#   sh tasks/setup.sh TASK [flags…]      for instance: sh tasks/setup.sh partition
#
# Missing may be Deno (from npm, the version below), a Vulkan driver (Mesa's, from Debian) and the locked packages that the task loads.
# Nothing is installed twice. Exit code 2 says what to install where this script may not.
set -eu

DENO_VERSION=2.9.6
DRIVER_PACKAGES="mesa-vulkan-drivers libvulkan1"
global_modules=
root=$(cd "$(dirname "$0")/.." && pwd)

say() { echo "setup: $*" >&2; }
stop() { say "$@"; exit 2; }

tasks=$(sed -n '/^  "tasks": {/,/^  }/s/^    "\([a-z][^"]*\)":.*/\1/p' "$root/deno.json" | paste -s -d ' ' -)
[ $# -ge 1 ] || stop "Cannot run a task as none is named: sh tasks/setup.sh TASK [flags…], TASK being one of $tasks"
case " $tasks " in
  *" $1 "*) ;;
  *) stop "Cannot run task \"$1\" as it must be one of $tasks: it is none" ;;
esac

# Prints the first of the given files that is a Deno of the pinned version.
pinned() {
  for file in "$@"; do
    [ -x "$file" ] && [ -f "$file" ] || continue
    case $("$file" --version 2>/dev/null) in
      "deno $DENO_VERSION "*) echo "$file" && return ;;
    esac
  done
  return 1
}

# Prints a Deno of the pinned version: the binary itself rather than npm's launcher, so that signals reach it.
find_deno() {
  local_modules=$root/.deno/node_modules
  found=$(command -v deno || true)
  package=
  [ -z "$found" ] || package=$(dirname "$(readlink -f "$found")")
  pinned "$package"/deno "$package"/node_modules/@deno/*/deno "$package"/../@deno/*/deno "$local_modules"/@deno/*/deno \
    "$local_modules"/deno/node_modules/@deno/*/deno "$global_modules"/deno/node_modules/@deno/*/deno \
    "$global_modules"/@deno/*/deno "$found"
}

install_deno() {
  command -v npm >/dev/null ||
    stop "Cannot install Deno $DENO_VERSION as npm must be there: install Node.js with npm (apt-get install npm), or Deno itself"
  if ! command -v deno >/dev/null && [ -w "$(npm prefix -g)/lib" ] && [ -w "$(npm prefix -g)/bin" ]; then
    say "installing Deno $DENO_VERSION from npm"
    npm install --global --no-fund --no-audit --loglevel=error "deno@$DENO_VERSION" >&2
  else
    say "installing Deno $DENO_VERSION from npm into $root/.deno"
    npm install --prefix "$root/.deno" --no-fund --no-audit --loglevel=error "deno@$DENO_VERSION" >&2
  fi
}

has_driver() {
  DENO_WEBGPU_BACKEND=vulkan "$deno" eval --no-lock 'Deno.exit(await navigator.gpu?.requestAdapter() ? 0 : 1)' \
    >/dev/null 2>&1
}

install_driver() {
  if [ "$(id -u)" = 0 ]; then
    as_root=
  elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
  else
    stop "Cannot install a Vulkan driver as that needs root: as root, run apt-get install $DRIVER_PACKAGES; then run this again"
  fi
  command -v apt-get >/dev/null ||
    stop "Cannot install a Vulkan driver as this is not a Debian-like system: install one (Mesa's lavapipe will do); then run this again"
  say "installing $DRIVER_PACKAGES from Debian"
  install="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $DRIVER_PACKAGES"
  # A fresh machine may have no package lists, an old one stale ones.
  $install >&2 2>/dev/null || { $as_root apt-get update -q >&2 && $install >&2; }
}

deno=$(find_deno) || {
  # What npm installed globally may not be on PATH.
  ! command -v npm >/dev/null || global_modules=$(npm root -g)
  deno=$(find_deno)
} || {
  install_deno
  hash -r
  deno=$(find_deno) || stop "Cannot find Deno $DENO_VERSION although npm installed it: install it by hand, then run this again"
}
has_driver || {
  install_driver
  has_driver || stop "Cannot find a working Vulkan driver although $DRIVER_PACKAGES are installed: see vulkaninfo --summary"
}
# What the task loads; the embedded corpora are fetched when they are read. A task that runs no file of its own, as the tests do,
# may load anything.
file=$(sed -n "/^    \"$1\": {/,/^    }/s/.* \([^ ]*\.ts\)\".*/\1/p" "$root/deno.json")
fetch() { "$deno" install --frozen --quiet --config "$root/deno.json" "$@" ${file:+--entrypoint "$root/$file"}; }
fetch --cached-only >/dev/null 2>&1 || {
  say "fetching the npm packages that ${file:-$1} loads"
  fetch
}
# "manual" has deno task fetch nothing: by itself it fetches the packages of all tasks.
exec sh "$root/tasks/on_gpu.sh" --flag "$deno" task --node-modules-dir=manual --config "$root/deno.json" "$@"
