#!/bin/bash
# inside.sh: the cluster itself, started by throwaway.sh. With a node it is process 1 of its own PID namespace, alone in its own
# mount and network namespace: whoever kills it has killed containerd, the kubelet and every container, and has taken every
# mount, bridge and firewall rule with them. Without a node it is a plain process, and each of its children dies with it.
#
# In: DIR, PARTS (setup.sh's folder), NODE (`yes`, or why not), and DIR/slot when the link is up.
# Out: DIR/pid (as the outside numbers it), DIR/kubeconfig, DIR/ready when all answer; logs in DIR/log.
set -euo pipefail
cd "$DIR"
read -r pid _ </proc/self/stat                        # still the outer /proc: our number out there
echo "$pid" >pid.new; mv pid.new pid
began=${EPOCHREALTIME/./}
mark() { echo "$(( (${EPOCHREALTIME/./} - began) / 1000 )) ms  $*" >>log/timing; }
group=${DIR##*/}
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY no_proxy NO_PROXY
export HOME=$DIR/data

declare -A running
start() { # start NAME COMMAND...
  local name=$1; shift
  setpriv --pdeathsig KILL "$@" >"log/$name.log" 2>&1 </dev/null & running[$name]=$!
  echo $! >"conf/$name.pid"
}
await() { # await PATH [TEXT]
  setpriv --pdeathsig KILL boot await "$DIR" "$@" & local waiting=$! name
  while kill -0 $waiting 2>/dev/null; do
    for name in "${!running[@]}"; do
      kill -0 "${running[$name]}" 2>/dev/null || { echo "the cluster's $name ended:" >&2; tail -5 "log/$name.log" >&2; kill $waiting; exit 1; }
    done
    sleep .03
  done
  wait $waiting
}

if [ "$NODE" = yes ]; then
  local=127.0.0.1
  mount -t proc proc /proc
  # An own /run and /var/lib: containerd's and the kubelet's fixed paths, and nothing of the machine's to be found or left there.
  cache=${PARTS%/cluster/*}
  mount -t tmpfs -o mode=755 tmpfs /mnt; mkdir /mnt/cache; mount --bind "$cache" /mnt/cache
  for folder in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs $folder; done
  [ -e "$cache" ] || { mkdir -p "$cache"; mount --bind /mnt/cache "$cache"; }
  mount -t tmpfs -o mode=755 tmpfs data
  mount --make-rshared /
  mkdir -p /run/{lock,netns,cni,sysctl} /var/lib/{cni,kubelet} /var/log/{pods,containers} data/{plugins,certs.d,volumes}
  # The kubelet writes these; the writes land in copies, not in the machine's kernel.
  for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    copy=/run/sysctl/${name//\//_}
    cat "/proc/sys/$name" >"$copy"; mount --bind "$copy" "/proc/sys/$name"
  done
  echo 1 >/proc/sys/net/ipv4/ip_forward
  ip link set lo up
else
  # No namespace: an address of its own keeps the ports apart.
  until [ -s slot ]; do sleep .01; done
  local=127.77.$(cat slot).1
fi
mkdir -p data/etcd
start etcd k8s etcd --name default --data-dir data/etcd --unsafe-no-fsync --log-level warn \
  --listen-client-urls "http://$local:2379" --advertise-client-urls "http://$local:2379" \
  --listen-peer-urls "http://$local:2380" --initial-advertise-peer-urls "http://$local:2380" --initial-cluster "default=http://$local:2380"

until [ -s slot ]; do sleep .01; done; slot=$(cat slot)
if [ "$NODE" = yes ]; then
  address=10.77.$slot.2 host=10.77.$slot.1 pods=10.78.$slot.0/24
  ip addr add "$address/30" dev eth0; ip link set eth0 up; ip route add default via "$host"
else
  address=$local host=$local
fi
# The host as well: what a test serves to the API server, such as a webhook, has the API server's certificate.
boot keys "$DIR" "$address" "$host"; mark "keys made"
apiserver=(k8s kube-apiserver --etcd-servers="http://$local:2379" --bind-address="$address" --advertise-address="$address" --secure-port=6443 \
  --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=pki/sa.key --service-account-signing-key-file=pki/sa.key \
  --token-auth-file=pki/tokens.csv --authorization-mode=Node,RBAC --anonymous-auth=true --allow-privileged=true \
  --service-cluster-ip-range=10.79.0.0/16 --kubelet-client-certificate=pki/kubelet-client.crt --kubelet-client-key=pki/kubelet-client.key \
  --kubelet-certificate-authority=pki/ca.crt --kubelet-preferred-address-types=InternalIP --profiling=false $APISERVER_FLAGS)
start kube-apiserver "${apiserver[@]}"

if [ "$NODE" = yes ]; then
  for controller in /sys/fs/cgroup/*/; do [ ! -e "$controller/cgroup.procs" ] || mkdir -p "$controller$group"; done   # version 1: one tree each
  [ ! -e /sys/fs/cgroup/cgroup.controllers ] || mkdir -p "/sys/fs/cgroup/$group"                                       # version 2
  cat >conf/containerd.toml <<EOT
version = 2
root = "$DIR/data/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "driftless.test/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$PARTS/cni"
    conf_dir = "$DIR/data/plugins"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$DIR/data/certs.d"
EOT
  cat >data/plugins/10-driftless.conflist <<EOT
{"cniVersion":"0.4.0","name":"driftless","plugins":[
 {"type":"bridge","bridge":"cni0","isGateway":true,"hairpinMode":true,"ipMasq":false,
  "ipam":{"type":"host-local","dataDir":"/run/cni","ranges":[[{"subnet":"$pods"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
EOT
  # A name server that refuses at once: pulling a missing image fails in milliseconds, not after timeouts.
  echo "nameserver 127.0.0.1" >conf/resolv.conf; mount --bind conf/resolv.conf /etc/resolv.conf
  # Short leases make a lost node known in 10 s. The back-off of a crashing container is capped, so a test sees several restarts.
  cat >conf/kubelet.yaml <<EOT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $DIR/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $DIR/pki/kubelet.crt
tlsPrivateKeyFile: $DIR/pki/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$group
failSwapOn: false
failCgroupV1: false
makeIPTablesUtilChains: false
oomScoreAdj: 0
resolvConf: $DIR/conf/resolv.conf
clusterDNS: [10.79.0.10]
clusterDomain: cluster.local
podLogsDir: /var/log/pods
volumePluginDir: $DIR/data/volumes
maxPods: 240
kubeAPIQPS: 200
kubeAPIBurst: 400
eventRecordQPS: 0
registryPullQPS: 0
serializeImagePulls: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "0%", nodefs.available: "0%", imagefs.available: "0%", nodefs.inodesFree: "0%", imagefs.inodesFree: "0%"}
syncFrequency: 1s
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 8
featureGates: {KubeletCrashLoopBackOffMax: true}
crashLoopBackOff: {maxContainerRestartPeriod: 5s}
EOT
  cat >conf/proxy.yaml <<EOT
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
bindAddress: $address
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: $DIR/conf/proxy}
clusterCIDR: $pods
hostnameOverride: node-1
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
iptables: {localhostNodePorts: false}
EOT
  start containerd env LD_LIBRARY_PATH="$PARTS/lib" containerd -c conf/containerd.toml
  ctr() { LD_LIBRARY_PATH=$PARTS/lib command ctr -a /run/containerd/containerd.sock "$@"; }
  until ctr version >/dev/null 2>&1; do
    kill -0 "${running[containerd]}" 2>/dev/null || { echo "containerd did not start:" >&2; tail -5 log/containerd.log >&2; exit 1; }
    sleep .03
  done
  ctr -n k8s.io images import "$PARTS/images.tar" >log/images.log 2>&1 || { tail -5 log/images.log >&2; exit 1; }
  mark "images imported"
fi

await /readyz; mark "API server ready"
start kube-controller-manager k8s kube-controller-manager --kubeconfig=conf/controllers --leader-elect=false --bind-address="$local" --secure-port=10257 \
  --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt --cluster-signing-cert-file=pki/ca.crt --cluster-signing-key-file=pki/ca.key \
  --flex-volume-plugin-dir="$DIR/data/volumes" --use-service-account-credentials=true --kube-api-qps=500 --kube-api-burst=1000 --profiling=false \
  --node-monitor-period=1s --node-monitor-grace-period=10s $CONTROLLER_FLAGS
start kube-scheduler k8s kube-scheduler --kubeconfig=conf/scheduler --leader-elect=false --bind-address="$local" --secure-port=10259 --profiling=false
if [ "$NODE" = yes ]; then
  start kubelet k8s kubelet --config=conf/kubelet.yaml --kubeconfig=conf/kubelet --hostname-override=node-1 --node-ip="$address" \
    --root-dir="$DIR/data/kubelet" --cert-dir="$DIR/data/kubelet/pki"
  start kube-proxy k8s kube-proxy --config=conf/proxy.yaml
fi
await /api/v1/namespaces/default/serviceaccounts/default; mark "controllers at work"
[ "$NODE" != yes ] || { await /api/v1/nodes/node-1 KubeletReady; mark "node ready"; }
echo ready >ready.new; mv ready.new ready
# Cluster::restart_api_server: as after a crash, on the same data.
restart() {
  { kill -KILL "${running[kube-apiserver]}"; wait "${running[kube-apiserver]}" || true; } 2>/dev/null
  start kube-apiserver "${apiserver[@]}"
}
trap restart USR1
while :; do wait -n || sleep .2; done   # reaps what containers leave; ends by being killed
