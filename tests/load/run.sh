#!/usr/bin/env bash
# Sixty-four clients on `castoff serve`, each attaching and detaching its own volume.
# Usage: tests/load/run.sh [path of castoff] [seconds] [speed]. Fails on any error, any broken
# property, or a server that grows.
set -uo pipefail
cd "$(dirname "$0")/../.."

castoff=${1:-target/release/castoff}
seconds=${2:-60}
speed=${3:-100}
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null; rm -rf "$work"' EXIT

# Unoptimised, as `cargo test` has built it: what is measured is the server.
cargo build --quiet --example load || exit 5

"$castoff" serve tests/load/load.toml --speed "$speed" --format json \
  --clouds "$work/clouds.yaml" >"$work/cloud.json" 2>"$work/err" &
pid=$!
for _ in $(seq 100); do
  [ -s "$work/cloud.json" ] && [ -s "$work/clouds.yaml" ] && break
  kill -0 "$pid" 2>/dev/null || { cat "$work/err" >&2; exit 1; }
  sleep 0.1
done

target/debug/examples/load "$work/cloud.json" "$pid" "$seconds"
status=$?
# Where a task of the server panics, the server lives on: its words are looked at.
if grep -q panicked "$work/err"; then
  cat "$work/err" >&2
  status=1
fi
exit "$status"
