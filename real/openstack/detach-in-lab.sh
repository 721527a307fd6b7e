#!/bin/bash
# A cast over a real RabbitMQ, taken by `castoff compute` in the lab, which detaches a real disk of a real guest and tells a real
# Cinder and a MariaDB with Nova's tables.
# usage: real/openstack/up --lan --portal 127.0.0.1:3260 --iqn iqn.2026-11.org.castoff:lab -- real/openstack/detach-in-lab.sh CASTOFF [nova]
#   nova: OpenStack's client asks nova-api, which publishes the cast; otherwise cast.py does
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CASTOFF=$(readlink -f "$1")
OUT=$(mktemp -d)
LAB=''
# shellcheck disable=SC2317  # called by the trap
cleanup() { [[ ! $LAB ]] || { kill "$LAB" 2>/dev/null || true; wait "$LAB" 2>/dev/null || true; }; rm -rf "$OUT"; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
py() { (cd "$HERE" && "$CASTOFF_PYTHON" -W ignore "$@"); }
until_there() { # until_there SECONDS COMMAND...
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    if ((SECONDS > until)) || ! kill -0 "$LAB" 2>/dev/null; then
      cat "$OUT/output" >&2
      echo "never true: $*" >&2
      exit 1
    fi
    sleep 0.2
  done
}
"$HERE/../lab/up" --quiet --tap "$CASTOFF_TAP" --see "$HERE" --bin "$CASTOFF" --out "$OUT" --deadline 900 \
  -- "$HERE/in-lab.sh" "${CASTOFF##*/}" >"$OUT/output" 2>&1 &
LAB=$!
until_there 600 test -e "$OUT/ready"
read -r server disk <"$OUT/ready"
py seed.py --host castoff-lab --server "$server" --device-path "$disk" --name lab-1 >"$OUT/seed.json"
volume=$(py -c 'import json,sys; print(json.load(sys.stdin)["volume"])' <"$OUT/seed.json")
{ echo "VOLUME=$volume"; env | grep -E '^CASTOFF_(TRANSPORT|DATABASE|KEYSTONE|CINDER|SERVICE_PASSWORD)=' | sed "s/=\(.*\)/='\1'/"; } >"$OUT/volume.part"
mv "$OUT/volume.part" "$OUT/volume"
until_there 300 grep -q 'takes messages from' "$OUT/output"
if [[ ${2:-} == nova ]]; then (set -x; "${CASTOFF_PYTHON%/*}/openstack" server remove volume "$server" "$volume")
else py cast.py --host castoff-lab --request "req-$(cat /proc/sys/kernel/random/uuid)" <"$OUT/seed.json"; fi
code=0
wait "$LAB" || code=$?
LAB=''
cat "$OUT/output"
py check.py <"$OUT/seed.json"
exit "$code"
