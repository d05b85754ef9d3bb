#!/bin/bash
# demo.sh: builds driftless and runs `driftless demo` on the engine that answers, else on a throw-away one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cache=${DRIFTLESS_CACHE:-$HOME/.cache/driftless}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
cargo build
demo=("$CARGO_TARGET_DIR/debug/driftless" demo)

# The CLI may be there without any engine: only an answer counts. A remote engine is not for demos.
case ${DOCKER_HOST:-unix:///var/run/docker.sock} in
  unix://*) docker=$(command -v docker || true); [ -n "$docker" ] && timeout 5 "$docker" version >/dev/null 2>&1 && exec "${demo[@]}" "$@" ;;
esac
tests/engines/setup.sh
echo "demo: no Docker engine answers here; starting one that leaves nothing behind" >&2
exec tests/engines/throwaway.sh "$cache/engines/$(cat tests/engines/generation)/28/bin" "${demo[@]}" "$@"
