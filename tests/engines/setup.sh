#!/bin/bash
# setup.sh: brings what the suite and the demo need on Debian: two Docker engines, the docker CLI with compose, a registry,
# an ssh server, and the offline test images' parts. Idempotent; silent and quick when nothing is to do.
#
# Nothing is installed on the system but a missing git or C compiler: packages are fetched with a private apt folder and
# unpacked under the cache (${DRIFTLESS_CACHE:-~/.cache/driftless}/engines/N), so no service starts and no file in /etc changes.
# N is in the file `generation`: raise it when what this script makes changes. Checkouts of different ages then do not
# replace each other's engines, which may be running.
#
#   20/bin   engine 20.10 (the oldest supported), with iptables and runc
#   28/bin   engine 28, docker CLI 28, docker compose 2
#   29/bin   engine 29, only after build29.sh
#   lib      the shared libraries that a small machine may lack
#   tools    busybox, docker-registry, sshd, web (the server in the test images)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${DRIFTLESS_CACHE:-$HOME/.cache/driftless}/engines/$(cat "$here/generation")

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
missing=()
command -v git >/dev/null || missing+=(git)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}" >&2
  as_root env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@"' _ "${missing[@]}" >&2
fi

# The server in the test images: static, so an image is this file and busybox.
web_server() {
  local stamp; stamp=$(cksum <"$here/web.rs")
  [ "$(cat "$cache/tools/web.cksum" 2>/dev/null)" = "$stamp" ] && return
  rustc --edition 2024 -O -C target-feature=+crt-static -C panic=abort -C strip=symbols -o "$cache/tools/web.$$" "$here/web.rs"
  mv "$cache/tools/web.$$" "$cache/tools/web"
  echo "$stamp" >"$cache/tools/web.cksum"
}

if [ -e "$cache/.ready" ]; then web_server; exit 0; fi
mkdir -p "$cache"
exec 9>"$cache/.lock"; flock 9
if [ -e "$cache/.ready" ]; then web_server; exit 0; fi           # another run did it while this one waited
echo "setup: fetching Docker engines into $cache" >&2

# --- a private apt folder --------------------------------------------------------------------------------------------
a=$cache/apt
rm -rf "$a"; mkdir -p "$a"/{etc/apt.conf.d,etc/preferences.d,etc/sources.list.d,state/lists/partial,cache/archives/partial,debs}
: >"$a/state/status"
mirror=$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null |
  sed -nE 's/^URIs: *([^ ]+).*/\1/p; s/^deb +(\[[^]]*\] *)?([^ ]+) .*/\2/p' | grep -v security | head -1 || true)
cat >"$a/etc/sources.list.d/driftless.sources" <<S
Types: deb
URIs: ${mirror:-http://deb.debian.org/debian}
Suites: bookworm sid trixie
Check-Valid-Until: no
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
S
proxies=$(apt-config dump | grep -iE '^Acquire::[a-z]+::proxy' || true)
cat >"$a/apt.conf" <<C
Dir::Etc "$a/etc";
Dir::Etc::sourcelist "/dev/null";
Dir::State "$a/state";
Dir::State::status "$a/state/status";
Dir::Cache "$a/cache";
APT::Sandbox::User "$(id -un)";
Acquire::Retries "3";
Acquire::Languages "none";
$proxies
C
export APT_CONFIG=$a/apt.conf
apt-get update -qq
# unpack ROOT PACKAGE/SUITE...
unpack() {
  local root=$1; shift
  rm -rf "$a/debs"; mkdir -p "$a/debs" "$root"
  (cd "$a/debs" && apt-get download -qq "$@" && for deb in *.deb; do dpkg -x "$deb" "$root"; done)
}
version_in() { apt-cache madison "$1" | awk -F' *[|] *' -v suite="$2/main" '$3 ~ suite {print $2; exit}'; }

# --- shared parts ----------------------------------------------------------------------------------------------------
rm -rf "$cache"/{20,28,lib,tools,shared}
base=$cache/shared
unpack "$base" runc/bookworm iptables/bookworm busybox-static/bookworm docker-registry/bookworm openssh-server/bookworm openssh-client/bookworm \
  libseccomp2/bookworm libip4tc2/bookworm libip6tc2/bookworm libxtables12/bookworm libmnl0/bookworm libnfnetlink0/bookworm \
  libnetfilter-conntrack3/bookworm libnftnl11/bookworm libdevmapper1.02.1/bookworm libapparmor1/bookworm libwrap0/bookworm libnsl2/bookworm libtirpc3/bookworm \
  libgssapi-krb5-2/bookworm libkrb5-3/bookworm libk5crypto3/bookworm libkrb5support0/bookworm libkeyutils1/bookworm libcom-err2/bookworm libcbor0.8/bookworm libfido2-1/bookworm libedit2/bookworm libbsd0/bookworm
mkdir -p "$cache/lib" "$cache/tools"
# Only libraries that the system does not have: a system library fits the system's other libraries better.
for lib in "$base"/usr/lib/*-linux-gnu/*.so.* "$base"/lib/*-linux-gnu/*.so.*; do
  [ -e "$lib" ] || continue
  name=${lib##*/}
  ldconfig -p 2>/dev/null | grep -q "^[[:space:]]*$name " || /sbin/ldconfig -p 2>/dev/null | grep -q "^[[:space:]]*$name " || ln -sf "$lib" "$cache/lib/$name"
done
ln -sf "$base/bin/busybox" "$base/usr/bin/docker-registry" "$cache/tools/"
for tool in "$base/usr/sbin/sshd" "$base/usr/bin/ssh" "$base/usr/bin/ssh-keygen"; do
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec %s "$@"\n' "$cache/lib" "$tool" >"$cache/tools/${tool##*/}"
  chmod +x "$cache/tools/${tool##*/}"
done
xtables=$(dirname "$(find "$base" -name libxt_conntrack.so | head -1)")

# engine NAME ROOT: engines/NAME/bin, with what the engine calls besides its own programs
engine() {
  local bin=$cache/$1/bin root=$2 tool
  mkdir -p "$bin"
  for tool in "$root"/usr/sbin/dockerd "$root"/usr/bin/dockerd "$root"/usr/{s,}bin/docker-proxy "$root"/usr/bin/containerd{,-shim,-shim-runc-v1,-shim-runc-v2} "$root"/usr/bin/ctr "$root"/usr/bin/docker "$base"/usr/sbin/runc "$base"/bin/busybox; do
    [ -e "$tool" ] && ln -sf "$tool" "$bin/"
  done
  for tool in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    # The multi-call program looks at its own name; its extensions lie in the cache.
    printf '#!/bin/bash\nexport XTABLES_LIBDIR=%q LD_LIBRARY_PATH=%q\nexec %q %s "$@"\n' "$xtables" "$cache/lib" "$base/usr/sbin/xtables-nft-multi" "$tool" >"$bin/$tool"
    chmod +x "$bin/$tool"
  done
  "$bin/dockerd" --version >/dev/null 2>&1 || LD_LIBRARY_PATH=$cache/lib "$bin/dockerd" --version >/dev/null
}

# --- engine 20.10 ----------------------------------------------------------------------------------------------------
unpack "$cache/20/root" docker.io/bookworm containerd/bookworm
engine 20 "$cache/20/root"

# --- engine 28; sid moves on, and then trixie's 26 is the nearest that still has this API family ------------------------
suite=sid
case $(version_in docker.io sid) in 28.*) ;; *) suite=trixie; echo "setup: sid no longer has engine 28; taking trixie's $(version_in docker.io trixie)" >&2;; esac
unpack "$cache/28/root" docker.io/$suite docker-cli/$suite docker-compose/$suite containerd/$suite
engine 28 "$cache/28/root"
plugin=$(find "$cache/28/root" -name docker-compose -type f | head -1)
mkdir -p "$cache/28/cli-plugins"
ln -sf "$plugin" "$cache/28/cli-plugins/docker-compose"
ln -sf "$plugin" "$cache/28/bin/docker-compose"

web_server
rm -rf "$a/debs" "$a/cache" "$a/state"
touch "$cache/.ready"
echo "setup: engines are ready" >&2
