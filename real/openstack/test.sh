#!/bin/bash
# What castoff does on a real control plane, shown: every part prints what it found; exit code 1 when one is not as it must be.
# usage: real/openstack/test.sh CASTOFF [LIVE], or real/openstack/test.sh --lab CASTOFF [nova]
#   CASTOFF: a castoff built with `--features openstack` (and `real`, for --lab)
#   --lab: a real disk is detached in real/lab; with `nova`, nova-api sends the cast
#   LIVE: the example `live` of castoff-openstack; without it cargo builds it
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ ${1:-} == --lab ]]; then
  [[ ${3:-} == nova ]] && nova=() || nova=(--no-nova)
  exec "$HERE/up" --lan ${nova[@]+"${nova[@]}"} --portal 127.0.0.1:3260 --iqn iqn.2026-11.org.castoff:lab -- "$HERE/detach-in-lab.sh" "$2" "${3:-}"
fi
if [[ ! ${CASTOFF_OPENSTACK_OUT:-} ]]; then
  exec "$HERE/up" -- "${BASH_SOURCE[0]}" "$@"
fi
CASTOFF=$(readlink -f "$1")
LIVE=${2:-}
WORK=$(mktemp -d)
COMPUTE=''
# shellcheck disable=SC2317  # called by the trap
cleanup() { [[ ! $COMPUTE ]] || { kill "$COMPUTE" 2>/dev/null || true; wait "$COMPUTE" 2>/dev/null || true; }; rm -rf "$WORK"; }
trap cleanup EXIT
py() { (cd "$HERE" && "$CASTOFF_PYTHON" -W ignore "$@"); }
FAILED=''
part() { printf '\n== %s\n' "$*"; }

part "Nova's schema is the one castoff is tested with"
py schema.py "$HERE/../../openstack/schema/nova-33.sql" || FAILED=1

part "keystone and cinder, step by step: the real ones and the models"
py seed.py --bare --host castoff-live --name live-1 >"$WORK/bare.json"
volume=$(py -c 'import json,sys; print(json.load(sys.stdin)["volume"])' <"$WORK/bare.json")
if [[ $LIVE ]]; then "$LIVE" "$volume" || FAILED=1
else (cd "$HERE/../.." && cargo run -q -p castoff-openstack --example live -- "$volume") || FAILED=1; fi

part "a cast by oslo.messaging, taken by castoff compute; without a host it is rolled back"
cast() { py cast.py --host castoff-none --request "req-$(cat /proc/sys/kernel/random/uuid)"; }
until_said() { # until_said TIMES PATTERN
  local deadline=$((SECONDS + 120))
  until (($(grep -Ec "$2" "$WORK/none.log") >= $1)); do
    if ((SECONDS > deadline)) || ! kill -0 "$COMPUTE"; then cat "$WORK/none.log"; echo "FAIL not $1 times: $2"; exit 1; fi
    sleep 0.2
  done
}
for n in none again; do py seed.py --host castoff-none >"$WORK/$n.json"; done
"$CASTOFF" compute --host castoff-none >"$WORK/none.log" 2>&1 &
COMPUTE=$!
until_said 1 'takes messages from'
cast <"$WORK/none.json"
until_said 1 'detach_volume of .*: (done|failed)'
py check.py --rolled-back <"$WORK/none.json" || FAILED=1

part "the broker is killed and starts again; castoff compute connects again, and takes the next cast"
kill -USR1 "$CASTOFF_OPENSTACK_PID"
until_said 2 'takes messages from'
cast <"$WORK/again.json"
until_said 2 'detach_volume of .*: (done|failed)'
kill -TERM "$COMPUTE"
wait "$COMPUTE" || FAILED=1
COMPUTE=''
cat "$WORK/none.log"
py check.py --rolled-back <"$WORK/again.json" || FAILED=1
tokens=$(py -c 'import json,sys; [print(json.load(open(f))["token"]) for f in sys.argv[1:]]' "$WORK/none.json" "$WORK/again.json")
if grep -qFf <(printf '%s\n' "$CASTOFF_SERVICE_PASSWORD" "$tokens") "$WORK/none.log"; then
  echo "FAIL a secret is in the log"
  FAILED=1
else
  echo "ok   no password and no token is in the log"
fi

[[ ! $FAILED ]] || { printf '\nnot as it must be\n'; exit 1; }
printf '\nall as it must be\n'
