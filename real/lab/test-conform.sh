#!/bin/bash
# Show from outside that castoff conform leaves nothing behind: run twice, once after a SIGKILL in the middle, once after Ctrl-C.
# Boots one lab. usage: test-conform.sh CASTOFF   (a build with --features real)
# shellcheck disable=SC2016  # what is in single quotes is for the shell inside
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CASTOFF=${1:?usage: test-conform.sh CASTOFF}

if [[ ! ${CASTOFF_LAB_DOMAIN:-} ]]; then
  exec "$HERE/up" --deadline 900 --bin "$CASTOFF" --bin "${BASH_SOURCE[0]}" -- bash "/castoff/bin/${BASH_SOURCE[0]##*/}" "${CASTOFF##*/}"
fi

# From here on inside.
STATE=/run/castoff-test
OPTIONS=(--domain "$CASTOFF_LAB_DOMAIN" --console "$CASTOFF_LAB_CONSOLE" --local-target --may-kill-guest --may-restart-daemons
  --state-dir "$STATE" --reconcile-period 3)
conform() { "$CASTOFF" conform "${OPTIONS[@]}" "$@"; }
# Everything that a run could leave, one thing a line; what the lab itself has is there before.
what_is_there() {
  iscsiadm -m session 2>/dev/null | sed 's/^/session /' || true
  iscsiadm -m node 2>/dev/null | sed 's/^/record /' || true
  find /sys/block -name 'sd*' -printf 'disk %f\n'
  find /sys/block -name 'dm-*' -printf 'map %f\n'
  find /dev/disk -mindepth 2 -printf 'link %p\n' 2>/dev/null || true
  virsh list --all --name | sed '/^$/d; s/^/domain /'
  virsh domstate "$CASTOFF_LAB_DOMAIN" | sed '/^$/d; s/^/state /'
  virsh domblklist "$CASTOFF_LAB_DOMAIN" | sed 's/^/live /'
  virsh domblklist "$CASTOFF_LAB_DOMAIN" --inactive | sed 's/^/persistent /'
  pgrep -a tgtd | sed 's/^[0-9]* /process /' || true
  pgrep -af '^(castoff-holder|multipathd)' | sed 's/^[0-9]* /process /' || true
  find /var/run/tgtd -printf 'file %p\n'
  ip route show table local type blackhole | sed 's/^/route /'
  grep -F "$STATE" /proc/mounts | sed 's/^/mount /' || true
  find "$STATE" -mindepth 1 ! -name lock -printf 'file %p\n' 2>/dev/null || true
}
same_as_before() { # same_as_before WHAT
  # udev takes its links away some time after their disks.
  local until=$((SECONDS + 20))
  while what_is_there >/tmp/after; ! cmp -s /tmp/before /tmp/after && ((SECONDS < until)); do sleep 0.2; done
  if diff /tmp/before /tmp/after; then echo "ok  $1: nothing is left"; else echo "FAILED  $1: see above"; exit 1; fi
}
# In the middle of a case there is much to take away. The sign of it must last longer than what is done then, also on a fast machine.
begin_and_wait() { # begin_and_wait CASE SIGN...
  # Not the function: $! would be a shell's that waits for castoff.
  "$CASTOFF" conform "${OPTIONS[@]}" "$1" >/tmp/log 2>&1 &
  RUN=$!
  shift
  local until=$((SECONDS + 180))
  until "$@"; do
    ((SECONDS < until)) || { echo "it never came to the middle"; cat /tmp/log; exit 1; }
    sleep 0.1
  done
}
ended_with() { # ended_with CODE WHAT
  local code=0
  wait "$RUN" || code=$?
  ((code == $1)) || { echo "FAILED  $2: exit code $code"; cat /tmp/log; exit 1; }
}
is_paused() { [[ $(virsh domstate "$CASTOFF_LAB_DOMAIN") == paused* ]]; }
holds() { pgrep -f '^castoff-holder' >/dev/null; }

what_is_there >/tmp/before
conform detach/healthy/one-path
same_as_before "once"
conform detach/healthy/one-path
same_as_before "twice"

# libvirt waits five seconds for a paused guest.
begin_and_wait guest/unplug/paused is_paused
what_is_there >/tmp/middle
[[ $(diff /tmp/before /tmp/middle | grep -c '^>') -ge 5 ]] || { echo "too little was made"; diff /tmp/before /tmp/middle; exit 1; }
if conform detach/healthy/one-path 2>/tmp/refused; then echo "FAILED  two runs at once"; exit 1; fi
grep -q 'another run is at work' /tmp/refused || { cat /tmp/refused; exit 1; }
echo "ok  a second run beside a live one is refused"
kill -INT "$RUN"
ended_with 130 "Ctrl-C"
same_as_before "interrupted by Ctrl-C"

for middle in "guest/unplug/paused is_paused" "host/device/held-open holds"; do
  # shellcheck disable=SC2086  # a case and its sign
  begin_and_wait $middle
  kill -KILL "$RUN"
  ended_with 137 "SIGKILL"
  conform detach/healthy/one-path
  same_as_before "after a SIGKILL in ${middle% *} and another run"
done
echo "all ok"
