#!/bin/bash
# demo.sh: builds driftless and runs `driftless demo --kubernetes` on a throw-away cluster, whose node is given the images first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cache=${DRIFTLESS_CACHE:-$HOME/.cache/driftless}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}

if [ -n "${DRIFTLESS_CLUSTER_PID:-}" ]; then             # the second time: in the cluster that the first time started
  [ "$DRIFTLESS_CLUSTER_NODE" = yes ] || { echo "demo: this machine can't run pods ($DRIFTLESS_CLUSTER_NODE); on a cluster of yours: driftless demo --kubernetes" >&2; exit 1; }
  export PATH=$DRIFTLESS_CLUSTER_PARTS/tools:$PATH
  driftless=$CARGO_TARGET_DIR/debug/driftless
  images=$DRIFTLESS_CLUSTER_DIR/demo-images.tar
  "$driftless" demo --save-images "$images" -q
  nsenter --target "$DRIFTLESS_CLUSTER_PID" --net --mount --pid -- env LD_LIBRARY_PATH="$DRIFTLESS_CLUSTER_PARTS/lib" \
    "$DRIFTLESS_CLUSTER_PARTS/bin/ctr" --address /run/containerd/containerd.sock --namespace k8s.io images import "$images" >/dev/null
  rm "$images"
  exec "$driftless" demo --kubernetes --yes "$@"
fi

cargo build
parts=$(tests/cluster/setup.sh)
export DRIFTLESS_CLUSTER_PARTS=$parts
exec tests/cluster/throwaway.sh tests/cluster/demo.sh "$@"
