#!/bin/bash
# Install, once, what real/lab/up needs: Debian packages, and a cache folder with the guest's kernel and initramfs.
# usage: real/lab/install.sh        (as root, or with sudo at hand, when packages are missing)
# Run again it finds everything in place and ends at once.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=real/lab/common.sh
. "$HERE/common.sh"
export PATH=$PATH:/usr/sbin:/sbin

# libvirt-dev and pkg-config are for building castoff's feature `real`; python3-libvirt is for scripts run inside.
PACKAGES=(libvirt-daemon libvirt-daemon-system libvirt-clients libvirt-dev pkg-config python3-libvirt
  qemu-system-x86 qemu-block-extra qemu-utils seabios
  tgt open-iscsi libiscsi-bin multipath-tools user-mode-linux udev kmod
  busybox-static cpio xz-utils bubblewrap iproute2 util-linux)
# These three come from one source and refuse to be of different versions.
QEMU=(qemu-system-x86 qemu-block-extra qemu-utils)

say() { printf 'lab/install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi; }

missing_packages() {
  local p
  for p in "${PACKAGES[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed ]] || printf '%s\n' "$p"
  done
}

# The machine may have its own policy-rc.d: it is put back as it was, whatever happens.
POLICY=/usr/sbin/policy-rc.d
forbid_services() {
  [[ ! -e $POLICY && ! -L $POLICY ]] || as_root mv "$POLICY" "$POLICY.castoff-kept"
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
  as_root chmod 755 "$POLICY"
}
restore_services() {
  as_root rm -f "$POLICY"
  [[ ! -e $POLICY.castoff-kept && ! -L $POLICY.castoff-kept ]] || as_root mv "$POLICY.castoff-kept" "$POLICY"
}

# Packages enable their units for the next boot of the machine. The lab runs its own daemons, so those stay off,
# but only of packages that were not here before.
disable_units() {
  command -v systemctl >/dev/null || return 0
  local units
  mapfile -t units < <(dpkg-query -L "$@" 2>/dev/null \
    | sed -n 's,.*/systemd/system/\(\(libvirt\|virt\|tgt\|iscsi\|open-iscsi\|multipath\)[^/@]*\.\(service\|socket\)\)$,\1,p' | sort -u)
  ((${#units[@]} == 0)) || as_root systemctl disable --quiet "${units[@]}" >/dev/null 2>&1 || true
}

install_packages() {
  local missing pins=() version p
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]})) || return 0
  [[ $(id -u) == 0 ]] || command -v sudo >/dev/null || die "packages are missing (${missing[*]}) and this is not root"
  say "packages to install: ${missing[*]}"
  local apt=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -y -qq -o DPkg::Lock::Timeout=300)
  as_root "${apt[@]}" update
  # A newer qemu-utils, from backports say, may already be here while the emulator has no such version: all three take
  # the version of the emulator, so a downgrade is allowed.
  if [[ " ${missing[*]} " =~ \ qemu- ]]; then
    version=$(dpkg-query -W -f '${Version}' qemu-system-x86 2>/dev/null) || true
    [[ -n $version ]] || version=$(apt-cache madison qemu-system-x86 | awk 'NR == 1 { print $3 }')
    [[ -n $version ]] || die "no package qemu-system-x86 in the package lists"
    for p in "${QEMU[@]}"; do pins+=("$p=$version"); done
  fi
  for p in "${missing[@]}"; do [[ " ${QEMU[*]} " == *" $p "* ]] || pins+=("$p"); done
  trap restore_services EXIT
  forbid_services
  as_root "${apt[@]}" install --allow-downgrades --no-install-recommends "${pins[@]}" >/dev/null
  restore_services
  trap - EXIT
  disable_units "${missing[@]}"
}

# The distribution's own choice of cloud kernel; where there is no such package, the newest of any.
guest_kernel_package() {
  local name
  name=$(apt-cache depends --important linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
  [[ -n $name ]] || name=$(apt-cache search --names-only '^linux-image-[0-9].*-cloud-amd64$' | awk '{ print $1 }' | sort -V | tail -1)
  printf '%s\n' "$name"
}

build_cache() {
  [[ $(cat "$LAB_CACHE/format" 2>/dev/null) != "$LAB_CACHE_FORMAT" ]] || return 0
  local package work
  mkdir -p "$LAB_CACHE"
  work=$(mktemp -d "$LAB_CACHE/build.XXXXXX")
  # shellcheck disable=SC2064  # the folder of this very build
  trap "rm -rf '$work'" EXIT
  package=$(guest_kernel_package)
  if [[ -z $package ]]; then as_root apt-get -qq update; package=$(guest_kernel_package); fi
  [[ -n $package ]] || die "no package linux-image-*-cloud-amd64 in the package lists"
  say "guest kernel: $package"
  (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package") \
    || { as_root apt-get -qq update; (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package"); }
  dpkg -x "$work"/linux-image-*.deb "$work/kernel"
  cp "$work"/kernel/boot/vmlinuz-* "$work/guest-kernel"
  "$HERE/mk-guest-initramfs.sh" "$work/kernel" "$work/guest-initramfs"
  mv "$work"/guest-{kernel,initramfs} "$LAB_CACHE/"
  rm -rf "$work"
  trap - EXIT
  # Last, for this is what `up` goes by.
  printf '%s\n' "$LAB_CACHE_FORMAT" >"$LAB_CACHE/format"
}

# What libvirt finds out about QEMU at first sight, three seconds each time, is kept as well. It is from a boot of the lab itself,
# which so has been seen to work. libvirt goes by these timestamps: what is older than an upgrade is got anew.
capabilities_fresh() {
  local emulator daemon
  emulator=$(stat -Lc %Z /usr/bin/qemu-system-x86_64)
  daemon=$(stat -Lc %Z /usr/sbin/libvirtd)
  grep -qs "<qemuctime>$emulator<" "$LAB_CACHE"/capabilities/*.xml && grep -qs "<selfctime>$daemon<" "$LAB_CACHE"/capabilities/*.xml
}
build_capabilities() {
  ! capabilities_fresh || return 0
  local work
  work=$(mktemp -d "$LAB_CACHE/build.XXXXXX")
  # shellcheck disable=SC2064  # the folder of this very build
  trap "rm -rf '$work'" EXIT
  say "first boot"
  "$HERE/up" --quiet --out "$work" -- cp -r /var/cache/libvirt/qemu/capabilities /castoff/out/ || die "the first boot failed"
  rm -rf "$LAB_CACHE/capabilities"
  mv "$work/capabilities" "$LAB_CACHE/"
  rm -rf "$work"
  trap - EXIT
}

install_packages
build_cache
pkg-config --exists libvirt || die "pkg-config does not find libvirt although libvirt-dev is installed"
lacking=$(lab_missing)
[[ -z $lacking ]] || die "still missing: $lacking"
build_capabilities
say "ready"
