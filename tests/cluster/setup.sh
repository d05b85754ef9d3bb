#!/bin/bash
# setup.sh: brings what the test cluster needs, and prints the folder where it is. Idempotent; quick when nothing is to do.
#
# Nothing is installed on the system: Kubernetes is built by Go (10 minutes of CPU, once), containerd, runc, iptables and
# busybox are those of tests/engines/setup.sh, and the rest is unpacked with its private apt folder.
# Everything lies in ${DRIFTLESS_CACHE:-~/.cache/driftless}/cluster. The folder's name is a hash of all that goes in.
#
#   bin       k8s, kubectl, boot; containerd, ctr, runc, iptables, ip
#   cni       the network plugins
#   tools     kubectl, kustomize, helm
#   images.tar
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DRIFTLESS_CACHE:-$HOME/.cache/driftless}
engines=$cache/engines/$(cat "$here/../engines/generation")
cache=$cache/cluster
out=$cache/$(cd "$here" && cat setup.sh build.sh images.sh k8s/go.* k8s/main.go k8s/*/main.go ../engines/{generation,web.rs} | sha256sum | cut -c1-12)
if [ -e "$out/.ready" ]; then echo "$out"; exit 0; fi

command -v go >/dev/null || [ ! -x /usr/local/go/bin/go ] || PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || { echo "setup: Go 1.26 or newer builds the test cluster, and is not on the PATH: https://go.dev/dl" >&2; exit 1; }
"$here/../engines/setup.sh" >&2
mkdir -p "$cache"
built=$("$here/build.sh" "$cache")
{ read -r k8s; read -r tools; } <<<"$built"
exec 9>"$cache/.lock"; flock 9
if [ -e "$out/.ready" ]; then echo "$out"; exit 0; fi           # another run did it while this one waited
rm -rf "$out"; mkdir -p "$out"/{bin,tools,cni}

ln -s "$k8s/k8s" "$k8s/kubectl" "$engines"/20/bin/{containerd,containerd-shim-runc-v2,ctr,runc,iptables{,-save,-restore},ip6tables{,-save,-restore}} "$out/bin/"
ln -s "$k8s/kubectl" "$tools/kustomize" "$tools/helm" "$out/tools/"
ln -s "$engines/lib" "$out/lib"
(cd "$here/k8s" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$out/bin/boot" ./boot) >&2

# --- what the engines do not have ------------------------------------------------------------------------------------
a=$cache/apt
rm -rf "$a"; mkdir -p "$a"/{state/lists/partial,cache/archives/partial,debs}
cp -r "$engines/apt/etc" "$a/etc"
: >"$a/state/status"
sed "s#$engines/apt/#$a/#g" "$engines/apt/apt.conf" >"$a/apt.conf"
export APT_CONFIG=$a/apt.conf
echo "setup: fetching network plugins into $out" >&2
apt-get update -qq >&2
packages=(containernetworking-plugins)
command -v ip >/dev/null || [ -x /sbin/ip ] || packages+=(iproute2 libbpf1 libelf1 libbsd0 libmd0 libcap2 libmnl0 libtirpc3)
(cd "$a/debs" && apt-get download -qq "${packages[@]/%//bookworm}" >&2)
for deb in "$a"/debs/*.deb; do dpkg -x "$deb" "$out/root"; done
cp -l "$out"/root/usr/lib/cni/{bridge,host-local,loopback,portmap} "$out/cni/"
if [ -x "$out/root/bin/ip" ]; then
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$(echo "$out"/root/{usr/,}lib/*-linux-gnu | tr ' ' :)" "$out/root/bin/ip" >"$out/bin/ip"
  chmod +x "$out/bin/ip"
fi
rm -rf "$a"

"$here/images.sh" "$out/images.tar" "$k8s/pause" "$engines/tools/busybox" "$engines/tools/web"
touch "$out/.ready"
echo "setup: the test cluster is ready to start" >&2
echo "$out"
