# shellcheck shell=bash
# Read by the scripts of this folder that run on the machine itself.

# The guest's kernel and initramfs, and what libvirt learnt about QEMU, are kept here between runs.
LAB_CACHE=${CASTOFF_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set: set CASTOFF_LAB_CACHE}/.cache}/castoff/lab}

# A change to what install.sh leaves in the cache folder changes this number, so that an old folder is not taken for a good one.
LAB_CACHE_FORMAT=1

# What must be there before a host can boot; printed one missing name a line.
lab_missing() {
  local tool
  for tool in linux.uml bwrap taskset setsid; do
    command -v "$tool" >/dev/null || printf 'program %s\n' "$tool"
  done
  for tool in /usr/sbin/libvirtd /usr/bin/virsh /usr/bin/qemu-system-x86_64 /usr/sbin/tgtd /usr/sbin/iscsid /usr/sbin/iscsiadm \
    /lib/systemd/systemd-udevd /usr/lib/uml/modules; do
    [[ -e $tool ]] || printf 'file %s\n' "$tool"
  done
  [[ -s $LAB_CACHE/format && $(<"$LAB_CACHE/format") == "$LAB_CACHE_FORMAT" ]] || printf 'cache %s\n' "$LAB_CACHE"
}
