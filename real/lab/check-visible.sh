#!/bin/bash
# Run inside: `real/lab/up -- /castoff/lab/check-visible.sh`. Fails unless of the machine only what is needed is visible, and
# nothing of it can be written.
set -uo pipefail
failed=0
check() { # check WHAT COMMAND...: the command must succeed
  local what=$1
  shift
  if "$@"; then echo "ok: $what"; else echo "FAILED: $what"; failed=1; fi
}
# shellcheck disable=SC2317  # these three are called by check
empty() { [[ ! -e $1 || -z $(ls -A "$1") ]]; }
# shellcheck disable=SC2317
only() { # only FOLDER NAME...: nothing else is in the folder
  local folder=$1 path
  shift
  shopt -s dotglob nullglob
  for path in "$folder"/*; do
    [[ " $* " == *" ${path##*/} "* ]] || { echo "  also there: $path"; return 1; }
  done
}
# shellcheck disable=SC2317
refused() { ! { : >"$1"; } 2>/dev/null; }

# The RAM overlay can be written everywhere. What the machine itself would take is seen through hostfs alone.
seen=$(mktemp -d)
mount -t hostfs none "$seen" -o / || { echo "FAILED: hostfs does not mount"; exit 1; }
trap 'umount "$seen"; rmdir "$seen"' EXIT

check "nothing in the top folder but what is needed" only "$seen" \
  bin sbin lib lib32 lib64 libx32 usr etc castoff proc dev sys run tmp var mnt root
for d in root home work srv opt media boot sys run var mnt; do check "/$d is empty or absent" empty "$seen/$d"; done
check "/castoff has its five folders" only "$seen/castoff" lab cache job out bin
for secret in shadow ssh ssl/private sudoers machine-id; do check "/etc/$secret is absent" test ! -e "$seen/etc/$secret"; done
for d in usr usr/bin usr/lib etc/udev castoff/lab castoff/cache castoff/job; do
  [[ ! -d $seen/$d ]] || check "/$d cannot be written" refused "$seen/$d/castoff-was-here"
done
check "an existing file cannot be written" refused "$seen/etc/passwd"
check "the first process there is bwrap's, not the machine's" test "$(basename "$(readlink "$seen/proc/1/exe")")" = bwrap
check "of the network only the loopback" test "$(ls /sys/class/net)" = lo
# Shows that the refusals above are worth something: the same mount can be written where it may.
check "/castoff/out can be written" touch "$seen/castoff/out/.check-visible"
rm -f "$seen/castoff/out/.check-visible"
exit "$failed"
