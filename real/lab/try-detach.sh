#!/bin/bash
# Run inside: attach a LUN to the guest and detach it, by hand and timed, with the very commands that Nova and os-brick use.
# usage: try-detach.sh [never]     never: the guest is one that does not let go
set -euo pipefail
GUEST=${1:-}
IQN=$CASTOFF_LAB_IQN PORTAL=$CASTOFF_LAB_PORTAL DOMAIN=$CASTOFF_LAB_DOMAIN
NODE=(iscsiadm -m node -T "$IQN" -p "$PORTAL")

timed() { # timed COMMAND...
  local begun=${EPOCHREALTIME/./} ms
  "$@" >/tmp/timed 2>&1 || { echo "failed: $*"; cat /tmp/timed; exit 1; }
  ms=$(((${EPOCHREALTIME/./} - begun) / 1000))
  printf '%3d.%03d s  %s\n' $((ms / 1000)) $((ms % 1000)) "${*//$IQN/IQN}"
}
until_true() { # until_true COMMAND...
  local until=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || { echo "never true: $*"; exit 1; }
    sleep 0.05
  done
}
link() { echo "/dev/disk/by-path/ip-$PORTAL-iscsi-$IQN-lun-$1"; }
# shellcheck disable=SC2317  # called by until_true
{
  gone_from_guest() { local disks; disks=$(virsh domblklist "$DOMAIN") && [[ $disks != *"$(link "$CASTOFF_LAB_LUN")"* ]]; }
  guest_says() { [[ $(grep -a GUEST-BLK "$CASTOFF_LAB_CONSOLE" | tail -n 1 | sed 's/.*: *//; s/[[:space:]]*$//') == "$1" ]]; }
  gone() { [[ ! -e $1 ]]; }
}

virsh list --all --persistent
timed iscsiadm -m discoverydb -t sendtargets -p "$PORTAL" --discover --op new
timed "${NODE[@]}" --login
timed until_true test -b "$(link "$CASTOFF_LAB_LUN")"
timed until_true test -b "$(link "$CASTOFF_LAB_LUN2")"
ids=$(for n in "$CASTOFF_LAB_LUN" "$CASTOFF_LAB_LUN2"; do /lib/udev/scsi_id --whitelisted --device "$(link "$n")"; done)
echo "$ids"
[[ $(sort -u <<<"$ids" | wc -l) == 2 ]] || { echo "the two LUNs have one identity"; exit 1; }

cat >/tmp/disk.xml <<X
<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none' io='native'/>
<source dev='$(link "$CASTOFF_LAB_LUN")'/><target dev='vdb' bus='virtio'/><serial>castoff-lab-volume</serial></disk>
X
timed virsh attach-device "$DOMAIN" /tmp/disk.xml --live --config
[[ $GUEST == never ]] || timed until_true guest_says vda
timed virsh detach-device "$DOMAIN" /tmp/disk.xml --config
timed virsh detach-device "$DOMAIN" /tmp/disk.xml --live
if [[ $GUEST == never ]]; then
  if gone_from_guest; then echo "it did let go"; exit 1; fi
  echo "the disk is still there, as it should be"
  exit 0
fi
timed until_true gone_from_guest
timed until_true guest_says ''
for n in "$CASTOFF_LAB_LUN" "$CASTOFF_LAB_LUN2"; do
  disk=$(basename "$(readlink -f "$(link "$n")")")
  timed blockdev --flushbufs "/dev/$disk"
  timed tee "/sys/block/$disk/device/delete" <<<1
  timed until_true gone "/dev/$disk"
done
timed "${NODE[@]}" --logout
timed "${NODE[@]}" --op delete
cat "$CASTOFF_LAB_CONSOLE"
