#!/bin/bash
# throwaway.sh CMD...: runs CMD with KUBECONFIG set to a cluster of its own; when CMD ends, everything of that cluster is gone.
#
# For CMD: KUBECONFIG (admin), DRIFTLESS_CLUSTER_DIR (kubeconfigs, log), DRIFTLESS_CLUSTER_PID (a process in the cluster's
# namespaces, as the caller numbers it), DRIFTLESS_CLUSTER_HOST (our address on the link to it: a webhook listens there),
# DRIFTLESS_CLUSTER_NODE (`yes`, or `no: why`) and a kubectl at the front of PATH.
# Its own variables: CONTROL_PLANE_ONLY=1, and more flags in APISERVER_FLAGS, CONTROLLER_FLAGS.
#
# CMD runs outside, in the machine's own network; pods and services' endpoints are routed to it over one link. Everything of
# the cluster runs in one network, mount and PID namespace with its data on a tmpfs there, so SIGKILL of any process here ends
# all and leaves at most a folder of logs and empty cgroup folders, which the next run sweeps.
# A machine that can't run a node (can-node.sh) gets the control plane alone, on a loopback address.
set -euo pipefail
[ "$(id -u)" = 0 ] || ! sudo -n true 2>/dev/null || exec sudo -E "$0" "$@"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
parts=${DRIFTLESS_CLUSTER_PARTS:-$("$here/setup.sh")}
export PATH=$parts/bin:$PATH:/usr/sbin:/sbin

# discard DIR: removes what an ended cluster left.
discard() {
  local dir=$1 name=${1##*/} _
  for _ in {1..50}; do
    find /sys/fs/cgroup/*/"$name" /sys/fs/cgroup/"$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
    compgen -G "/sys/fs/cgroup/*/$name" >/dev/null || [ -e "/sys/fs/cgroup/$name" ] || break
    sleep .1
  done
  rm -rf --one-file-system "$dir"
}
# A live cluster holds the lock of its folder; the lock goes with its process.
for old in /tmp/driftless-cluster.*; do
  [ -e "$old/lock" ] && flock -n "$old/lock" true && discard "$old"
done

dir=$(mktemp -d /tmp/driftless-cluster.XXXXXX); chmod 755 "$dir"
exec 8>"$dir/lock"; flock 8
cluster= child= node= lock=
finish() {
  trap '' TERM INT HUP
  for process in $child $cluster; do kill -KILL "$process" 2>/dev/null || true; done
  for process in $child $cluster; do wait "$process" 2>/dev/null || true; done
  # The kernel takes the link away with the namespace, but not at once.
  [ "$node" != yes ] || ! [ -s "$dir/slot" ] || ip link del "driftless$(cat "$dir/slot")" 2>/dev/null || true
  [ -z "$lock" ] || rm -f "$lock"
  discard "$dir"
}
trap finish EXIT
trap 'exit 143' TERM INT HUP
mkdir "$dir"/{log,data,conf}
if [ -n "${CONTROL_PLANE_ONLY:-}" ]; then node="no: asked for the control plane alone"; else node=$("$here/can-node.sh") || true; fi
export DIR=$dir PARTS=$parts NODE=$node APISERVER_FLAGS=${APISERVER_FLAGS:-} CONTROLLER_FLAGS=${CONTROLLER_FLAGS:-}

# --pdeathsig and --kill-child: SIGKILL of this script ends unshare, and that ends the namespaces.
if [ "$node" = yes ]; then
  setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --propagation private -- "$here/inside.sh" 8>&- & cluster=$!
else
  setpriv --pdeathsig KILL "$here/inside.sh" 8>&- & cluster=$!
fi
until_there() { # until_there FILE
  until [ -s "$1" ]; do
    kill -0 $cluster 2>/dev/null || { echo "the cluster did not start" >&2; exit 1; }
    sleep .02
  done
}
until_there "$dir/pid"; pid=$(cat "$dir/pid")
for slot in {1..250} none; do
  if [ "$node" = yes ]; then
    ip -o addr | grep -qF " 10.77.$slot." && continue
    ip link add "driftless$slot" type veth peer name eth0 netns "$pid" 2>/dev/null && break   # the name can be taken only once
  else
    exec 7>"/tmp/driftless-cluster-slot-$slot"; flock -n 7 && { lock=/tmp/driftless-cluster-slot-$slot; break; }
  fi
done
[ "$slot" != none ] || { echo "no slot for a cluster is free" >&2; exit 1; }
if [ "$node" = yes ]; then
  host=10.77.$slot.1
  ip addr add "$host/30" dev "driftless$slot"; ip link set "driftless$slot" up
  ip route add "10.78.$slot.0/24" via "10.77.$slot.2"
else
  host=127.77.$slot.1
fi
echo "$slot" >"$dir/slot.new"; mv "$dir/slot.new" "$dir/slot"
until_there "$dir/ready"

export KUBECONFIG=$dir/kubeconfig DRIFTLESS_CLUSTER_DIR=$dir DRIFTLESS_CLUSTER_PID=$pid DRIFTLESS_CLUSTER_HOST=$host DRIFTLESS_CLUSTER_NODE=$node
setpriv --pdeathsig KILL env -u DIR -u PARTS -u NODE -u APISERVER_FLAGS -u CONTROLLER_FLAGS "$@" <&0 7>&- 8>&- & child=$!
rc=0; wait "$child" || rc=$?
child=
exit $rc
