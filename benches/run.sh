#!/bin/bash
# Prints figures, side by side with docker compose in the same run on the same throw-away engine. Never fails on a slow machine.
#   benches/run.sh [CONTAINERS…]      default: 50 500
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${DRIFTLESS_CACHE:-$HOME/.cache/driftless}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
"$here/tests/engines/setup.sh"
cargo build --release --quiet --manifest-path "$here/Cargo.toml"
engines=$cache/engines/$(cat "$here/tests/engines/generation")
export DRIFTLESS=$CARGO_TARGET_DIR/release/driftless ENGINES=$engines
"$here/tests/engines/throwaway.sh" "$engines/28/bin" "$here/benches/docker.sh" "$@"
