#!/bin/bash
# Prints figures, side by side with a peer in the same run on the same throw-away engine or cluster. Never fails on a slow machine.
#   benches/run.sh [docker [CONTAINERS…] | kubernetes [APPS]]      default: docker 50 500, then kubernetes 100
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${DRIFTLESS_CACHE:-$HOME/.cache/driftless}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
"$here/tests/engines/setup.sh"
cargo build --release --quiet --manifest-path "$here/Cargo.toml"
engines=$cache/engines/$(cat "$here/tests/engines/generation")
export DRIFTLESS=$CARGO_TARGET_DIR/release/driftless ENGINES=$engines
docker() { "$here/tests/engines/throwaway.sh" "$engines/28/bin" "$here/benches/docker.sh" "$@"; }
kubernetes() { "$here/tests/cluster/throwaway.sh" "$here/benches/kubernetes.sh" "$@"; }
case ${1:-all} in
  all) docker; echo; kubernetes ;;
  docker | kubernetes) "$@" ;;
  *) sed -n '2,3s/^# *//p' "$0" >&2; exit 2 ;;
esac
