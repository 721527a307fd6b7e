#!/bin/bash
# Test real/lab/up by booting it many times: some five minutes. usage: test.sh [PATTERN] runs the tests whose name matches.
# shellcheck disable=SC2016  # what is in single quotes is for the shell inside
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
UP=$HERE/up
PATTERN=${1:-.}
# Everything of a run that could be left behind would be in here.
SCRATCH=$(mktemp -d)
export TMPDIR=$SCRATCH/tmp
mkdir "$TMPDIR"
trap 'rm -rf "$SCRATCH"' EXIT
PASSED=0 FAILED=0

run() { # run NAME: the function test_NAME; what it prints is shown when it fails
  [[ $1 =~ $PATTERN ]] || return 0
  local begun=$SECONDS
  if (set -e; "test_$1") >"$SCRATCH/output" 2>&1; then
    PASSED=$((PASSED + 1))
    echo "ok      $1 ($((SECONDS - begun)) s)"
  else
    FAILED=$((FAILED + 1))
    echo "FAILED  $1 ($((SECONDS - begun)) s)"
    sed 's/^/        | /' "$SCRATCH/output" | tail -n 40
  fi
}
expect() { # expect CODE COMMAND...
  local want=$1 got=0
  shift
  "$@" || got=$?
  ((got == want)) || { echo "exit code $got, not $want: $*"; return 1; }
}

# A host is known by its memory size: other hosts may be running on this machine.
lab_processes() { pgrep -f "linux.uml mem=$1 " || true; }
nothing_left() { # nothing_left MEM
  local until=$((SECONDS + 10))
  while [[ $(lab_processes "$1") ]]; do
    ((SECONDS < until)) || { echo "still there: $(pgrep -af "linux.uml mem=$1 ")"; return 1; }
    sleep 0.1
  done
  [[ -z $(ls -A "$TMPDIR") ]] || { echo "left in TMPDIR:"; find "$TMPDIR"; return 1; }
  if grep -e castoff -e "$SCRATCH" /proc/mounts; then return 1; fi
  [[ ! -e ${HOME:-/nonexistent}/.uml/castoff ]]
}
wait_line() { # wait_line FILE PATTERN
  local until=$((SECONDS + 180))
  until grep -q "$2" "$1"; do ((SECONDS < until)) || { echo "never seen: $2"; cat "$1"; return 1; }; sleep 0.1; done
}

test_exit_0_and_output() {
  # A program is as good a sample of all bytes as any; it is the same file inside.
  expect 0 "$UP" --mem 2401M --quiet -- cat /usr/bin/bash >"$SCRATCH/bash"
  cmp "$SCRATCH/bash" /usr/bin/bash
  nothing_left 2401M
}
test_exit_7_and_both_streams() {
  expect 7 "$UP" --quiet -- bash -c 'echo "one  two"; echo "$1" >&2; printf "no newline"; exit 7' x 'a "b" $c
d' >"$SCRATCH/out"
  printf 'one  two\na "b" $c\nd\nno newline' | cmp - "$SCRATCH/out"
}
test_unknown_command_is_127() { expect 127 "$UP" --quiet -- no-such-command; }
test_quiet_says_nothing() {
  expect 0 "$UP" --quiet -- true >"$SCRATCH/out" 2>&1
  [[ ! -s $SCRATCH/out ]]
}
test_left_behind_process_does_not_hold_the_run() { expect 0 "$UP" --deadline 120 -- bash -c 'sleep 10000 & disown; echo started'; }
test_environment_bin_and_out() {
  printf '#!/bin/bash\necho "bin: $*"\n' >"$SCRATCH/some-tool"
  chmod +x "$SCRATCH/some-tool"
  expect 0 "$UP" --bin "$SCRATCH/some-tool" --out "$SCRATCH/kept" -- bash -c '
    some-tool 1 2; env | grep ^CASTOFF_LAB_ | sort; echo kept >/castoff/out/file; grep -a GUEST-READY $CASTOFF_LAB_CONSOLE' >"$SCRATCH/out"
  cat "$SCRATCH/out"
  grep -q '^bin: 1 2$' "$SCRATCH/out"
  for v in CONSOLE DOMAIN=castoff-lab IQN=iqn.2026-11.org.castoff:lab LUN=1 LUN2=2 PORTAL=127.0.0.1:3260; do
    grep -q "^CASTOFF_LAB_$v" "$SCRATCH/out"
  done
  grep -q kept "$SCRATCH/kept/file"
  grep -q 'phase ready' "$SCRATCH/kept/lab.log"
}
test_attach_and_detach() { expect 0 "$UP" -- /castoff/lab/try-detach.sh; }
test_attach_and_detach_pc() { expect 0 "$UP" --machine pc -- /castoff/lab/try-detach.sh; }
test_attach_and_detach_q35_native() { expect 0 "$UP" --machine q35-native -- /castoff/lab/try-detach.sh; }
test_no_os_never_lets_go() { expect 0 "$UP" --machine no-os -- /castoff/lab/try-detach.sh never; }
test_visible() { expect 0 "$UP" -- /castoff/lab/check-visible.sh; }

interrupted() { # interrupted SIGNAL CODE LINE-TO-WAIT-FOR MEM
  # Job control, for a shell without it starts its background jobs deaf to SIGINT.
  set -m
  "$UP" --mem "$4" -- bash -c 'echo in-command; sleep 1000' >"$SCRATCH/out" 2>&1 &
  local pid=$! code=0
  set +m
  wait_line "$SCRATCH/out" "$3"
  [[ $(lab_processes "$4") ]]
  local begun=$SECONDS
  kill "-$1" "$pid"
  wait "$pid" || code=$?
  echo "exit code $code after $((SECONDS - begun)) s"
  ((code == $2 && SECONDS - begun <= 8))
  if [[ $1 != KILL ]]; then nothing_left "$4"; fi
}
test_interrupted_while_booting() { interrupted INT 130 'kernel up' 2402M; }
test_interrupted_in_the_command() { interrupted INT 130 in-command 2403M; }
test_terminated_in_the_command() { interrupted TERM 143 in-command 2404M; }
test_killed_takes_the_host_along() {
  interrupted KILL 137 'kernel up' 2405M
  # Nothing can remove the folder of a killed script, but it is only a folder.
  rm -rf "$TMPDIR"/castoff-lab.*
  nothing_left 2405M
}
test_deadline_in_the_command() {
  expect 124 "$UP" --mem 2406M --deadline 60 -- sleep 1000
  nothing_left 2406M
}
test_deadline_while_booting() {
  expect 124 "$UP" --mem 2407M --deadline 1 -- true
  nothing_left 2407M
}
test_reader_gone() {
  expect 0 bash -c '"$0" --mem 2408M --deadline 120 -- yes | head -n 1; codes=("${PIPESTATUS[@]}"); echo "${codes[@]}"; ((codes[0] == 141))' "$UP"
  nothing_left 2408M
}
test_two_at_once() {
  "$UP" --mem 2409M --out "$SCRATCH/a" -- bash -c 'virsh list --name; echo first' >"$SCRATCH/out-a" &
  local a=$!
  expect 3 "$UP" --mem 2410M --out "$SCRATCH/b" -- bash -c 'virsh list --name; echo second; exit 3' >"$SCRATCH/out-b"
  expect 0 wait "$a"
  printf 'castoff-lab\n\nfirst\n' | cmp - "$SCRATCH/out-a"
  printf 'castoff-lab\n\nsecond\n' | cmp - "$SCRATCH/out-b"
  nothing_left 2409M
  nothing_left 2410M
}
test_as_an_ordinary_user() {
  if [[ $(id -u) != 0 ]]; then echo "every test here is one"; return 0; fi
  # Its own copies, for neither this checkout nor root's cache folder need be open to others.
  mkdir "$SCRATCH/user" "$SCRATCH/user/out"
  cp -r "$HERE" "$SCRATCH/user/lab"
  cp -r "${CASTOFF_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/castoff/lab}" "$SCRATCH/user/cache"
  chmod 755 "$SCRATCH"
  chmod 1777 "$TMPDIR"
  chown -R nobody "$SCRATCH/user"
  expect 0 setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/nonexistent CASTOFF_LAB_CACHE="$SCRATCH/user/cache" \
    "$SCRATCH/user/lab/up" --mem 2411M --out "$SCRATCH/user/out" -- bash -c '/castoff/lab/try-detach.sh && /castoff/lab/check-visible.sh'
  nothing_left 2411M
}
test_missing_cache() {
  CASTOFF_LAB_CACHE=$SCRATCH/no-cache expect 5 "$UP" -- true 2>"$SCRATCH/out"
  cat "$SCRATCH/out"
  grep -q 'run real/lab/install.sh' "$SCRATCH/out"
  nothing_left none
}
test_missing_tool() {
  mkdir "$SCRATCH/path"
  ln -s /usr/bin/* /usr/sbin/* "$SCRATCH/path/" 2>/dev/null || true
  rm -f "$SCRATCH/path/bwrap"
  PATH=$SCRATCH/path expect 5 "$UP" -- true 2>"$SCRATCH/out"
  cat "$SCRATCH/out"
  grep -q 'bwrap' "$SCRATCH/out"
  grep -q 'run real/lab/install.sh' "$SCRATCH/out"
}
test_wrong_usage() {
  expect 2 "$UP"
  expect 2 "$UP" --machine z80 -- true
  expect 2 "$UP" --deadline soon -- true
  expect 2 "$UP" --bin /no/such/file -- true
  expect 2 "$UP" virsh list
}

for t in $(declare -F | sed -n 's/^declare -f test_//p' | sort); do run "$t"; done
echo "$PASSED passed, $FAILED failed"
((FAILED == 0))
