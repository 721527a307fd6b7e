#!/usr/bin/env bash
# OpenStack's own clients against `castoff serve`: what a user types, and what the user sees.
# Usage: tests/clients/run.sh [path of castoff]. Prints a line a check and `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.."

castoff=${1:-target/release/castoff}
venv=target/clients-venv
server=c2486c45-5a8f-4028-8cd1-51c0425f677a
volume=30d72547-9316-4c2a-84c9-6ebc30912e01
work=$(mktemp -d)
pid=
passed=0
failed=0

stop() {
  if [ -n "$pid" ]; then
    kill -TERM "$pid" && wait "$pid"
    status=$?
    pid=
    return "$status"
  fi
}
trap 'stop >/dev/null 2>&1; rm -rf "$work"' EXIT

if ! cmp -s tests/clients/requirements.txt "$venv/requirements.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv" || { echo "python3 -m venv failed: Debian has it in python3-venv" >&2; exit 5; }
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/clients/requirements.txt || exit 5
  cp tests/clients/requirements.txt "$venv/requirements.txt"
fi
PATH="$PWD/$venv/bin:$PATH"

# Nothing of the caller's own cloud may be met.
for name in ${!OS_*}; do unset "$name"; done

# start SPEED [SCENARIO]: a cloud on free ports; its credentials go into the environment.
start() {
  rm -f "$work/clouds.yaml"
  "$castoff" serve "${2:-healthy}" --speed "$1" --format env --clouds "$work/clouds.yaml" \
    >"$work/env" 2>"$work/err" &
  pid=$!
  for _ in $(seq 100); do
    [ -s "$work/env" ] && [ -s "$work/clouds.yaml" ] && break
    kill -0 "$pid" 2>/dev/null || { cat "$work/err" >&2; exit 1; }
    sleep 0.1
  done
  . "$work/env"
  export OS_CLIENT_CONFIG_FILE="$work/clouds.yaml"
}

pass() { passed=$((passed + 1)); echo "pass  $1"; }
fail() { failed=$((failed + 1)); echo "FAIL  $1"; sed 's/^/      /' "$work/out" | head -20; }

# Whether the output has the pattern; an empty pattern asks for nothing.
shows() { [ -z "$1" ] || grep -Eq -- "$1" "$work/out"; }

# check NAME PATTERN COMMAND…: it exits 0 and its output has the pattern.
check() {
  local name=$1 pattern=$2
  shift 2
  if "$@" >"$work/out" 2>&1 && shows "$pattern"; then pass "$name"; else fail "$name"; fi
}

# refused NAME PATTERN COMMAND…: it fails, and says why.
refused() {
  local name=$1 pattern=$2
  shift 2
  if ! "$@" >"$work/out" 2>&1 && shows "$pattern"; then pass "$name"; else fail "$name"; fi
}

# eventually NAME PATTERN COMMAND…: within twenty seconds.
eventually() {
  local name=$1 pattern=$2
  shift 2
  for _ in $(seq 40); do
    if "$@" >"$work/out" 2>&1 && shows "$pattern"; then
      pass "$name"
      return
    fi
    sleep 0.5
  done
  fail "$name"
}

status() { openstack volume show "$volume" -f value -c status; }
admin() { curl --silent --show-error --fail -X "$1" "$CASTOFF_ADMIN/castoff/$2" ${3:+-d "$3"}; }

start 20

check "openstack token issue" '^gAAAA' openstack token issue -f value -c id
check "openstack --os-cloud castoff token issue, from clouds.yaml" '^gAAAA' \
  env -u OS_AUTH_URL -u OS_USERNAME -u OS_PASSWORD -u OS_PROJECT_NAME -u OS_USER_DOMAIN_NAME \
  -u OS_PROJECT_DOMAIN_NAME -u OS_REGION_NAME openstack --os-cloud castoff token issue -f value -c id
refused "a wrong password is told as one" '401' openstack --os-password wrong token issue
check "openstack server list" "$server.*ACTIVE" openstack server list
check "openstack server show" 'ACTIVE' openstack server show "$server" -f value -c status
check "openstack server show names the volume" "$volume" openstack server show "$server"
check "openstack volume list" "$volume.*in-use" openstack volume list
check "openstack volume show" '^in-use$' status
check "openstack server volume list" "$volume" openstack server volume list "$server"
check "cinder show" 'in-use' cinder show "$volume"
check "nova list" "$server" nova list
check "nova volume-attachments" "$volume" nova volume-attachments "$server"

check "openstack server remove volume" '' openstack server remove volume "$server" "$volume"
eventually "the volume becomes available" '^available$' status
refused "a second detach is told that there is nothing to detach" 'not attached|404|not found' \
  openstack server remove volume "$server" "$volume"
check "openstack server add volume" "$volume" openstack server add volume "$server" "$volume"
eventually "the volume becomes in-use" '^in-use$' status
check "nova volume-detach" '' nova volume-detach "$server" "$volume"
eventually "the volume becomes available after nova volume-detach" '^available$' status
check "nova volume-attach" '/dev/vd|^$' nova volume-attach "$server" "$volume"
eventually "the volume becomes in-use after nova volume-attach" '^in-use$' status

check "openstack volume create" '-' openstack volume create --size 1 scratch -f value -c id
made=$(tail -n 1 "$work/out")
check "a new volume is attached" '' openstack server add volume "$server" "$made"
eventually "the new volume becomes in-use" '^in-use$' \
  openstack volume show "$made" -f value -c status
check "the new volume is detached" '' openstack server remove volume "$server" "$made"

check "openstacksdk detaches, attaches and waits" 'detach available' \
  python tests/clients/sdk.py "$server" "$volume"
check "nothing is broken" '"violations": \[\]' admin GET properties
stop
status=$?
: >"$work/out"
if [ "$status" = 0 ]; then pass "SIGTERM ends it with 0"; else fail "SIGTERM ends it with 0, not $status"; fi

# What a user sees of a guest that never lets go: 202, detaching for minutes, in-use again.
start 100
check "the guest stops answering" 'accepted' admin POST faults '{"guest": {"lets_go": "never"}}'
check "the detach is accepted all the same" '' openstack server remove volume "$server" "$volume"
eventually "it is rolled back: in-use, the attachment still there" "$volume" bash -c \
  "curl -s $CASTOFF_ADMIN/castoff/world | grep -q '\"quiet\": true' && openstack volume list -f value | grep in-use"
check "the server still lists the volume" "$volume" openstack server volume list "$server"
check "the server's event list shows the failed detach" 'detach_volume' \
  openstack server event list "$server"
check "faults are healed" 'healed' admin DELETE faults
eventually "once the guest answers, a second detach is accepted" '' \
  openstack server remove volume "$server" "$volume"
eventually "and the volume becomes available" '^available$' status
stop

# What a user sees of a lost cast: 202, then detaching for ever; nova refuses a second try.
start 100
check "the next cast will be lost" 'accepted' admin POST faults \
  '{"at": {"process": "nova-api", "operation": "rpc::Cast"}, "strike": {"kind": "lost"}}'
check "the detach is accepted though its cast is lost" '' \
  openstack server remove volume "$server" "$volume"
sleep 3
check "five minutes later the volume is still detaching" '^detaching$' status
refused "a second detach is refused" '400|409|detaching' \
  openstack server remove volume "$server" "$volume"
check "castoff names what is broken" '"L2"' admin GET properties
stop

echo "$passed passed, $failed failed"
test "$failed" = 0
