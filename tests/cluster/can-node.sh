#!/bin/bash
# can-node.sh: whether this machine can run a real node. Prints "yes", or "no: why" and exits with 1.
# Expects PATH to have what setup.sh makes.
no() { echo "no: $*"; exit 1; }
[ "$(id -u)" = 0 ] || no "not root"
unshare --mount --net --pid --fork --mount-proc sh -c '
  ip link set lo up && ip link add b0 type bridge && ip link add v0 type veth peer name v1 && iptables -t nat -N X && iptables -t nat -F &&
  mount -t tmpfs tmpfs /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m && mount -t overlay overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/m' >/dev/null 2>&1 ||
  no "namespaces, bridges, veth links, iptables nat or overlay mounts are refused"
probe=driftless-probe-$$
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  for c in cpu memory; do grep -qw $c /sys/fs/cgroup/cgroup.controllers || no "cgroup v2 has no $c controller"; done
  mkdir /sys/fs/cgroup/$probe 2>/dev/null && rmdir /sys/fs/cgroup/$probe || no "cgroups cannot be made"
else
  for c in cpu cpuacct cpuset memory devices freezer blkio pids; do
    mkdir "/sys/fs/cgroup/$c/$probe" 2>/dev/null && rmdir "/sys/fs/cgroup/$c/$probe" || no "cgroup v1 controller $c is missing or read-only"
  done
fi
[ -e /dev/kmsg ] || no "/dev/kmsg is missing (the kubelet's out-of-memory watcher reads it)"
echo yes
