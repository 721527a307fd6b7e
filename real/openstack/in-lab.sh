#!/bin/bash
# Run inside the lab by detach-in-lab.sh: connect the LUN to the guest as a nova would have, then let `castoff compute` take the cast.
# usage: in-lab.sh CASTOFF   (its name on PATH)
set -euo pipefail
CASTOFF=$1 OUT=/castoff/out IQN=$CASTOFF_LAB_IQN PORTAL=$CASTOFF_LAB_PORTAL DOMAIN=$CASTOFF_LAB_DOMAIN
LINK=/dev/disk/by-path/ip-$PORTAL-iscsi-$IQN-lun-$CASTOFF_LAB_LUN
until_true() { # until_true COMMAND...
  local until=$((SECONDS + 300))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || { echo "never true: $*"; exit 1; }
    sleep 0.1
  done
}
NODE=(iscsiadm -m node -T "$IQN" -p "$PORTAL")
"${NODE[@]}" --op new >/dev/null
"${NODE[@]}" --op update -n node.session.scan -v manual
"${NODE[@]}" --login >/dev/null
host=$(basename "$(readlink -f /sys/class/iscsi_host/host*/device/session*/..)" | sort | head -1)
echo "0 0 $CASTOFF_LAB_LUN" >"/sys/class/scsi_host/$host/scan"
until_true test -b "$LINK"
disk=$(readlink -f "$LINK")
printf '%s %s\n' "$(virsh domuuid "$DOMAIN" | head -1)" "$disk" >"$OUT/ready.part"
mv "$OUT/ready.part" "$OUT/ready"
sync -f "$OUT"
until_true test -e "$OUT/volume"
# shellcheck source=/dev/null
. "$OUT/volume" # VOLUME and CASTOFF_*
export CASTOFF_TRANSPORT CASTOFF_DATABASE CASTOFF_KEYSTONE CASTOFF_CINDER CASTOFF_SERVICE_PASSWORD
cat >/tmp/disk.xml <<X
<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none' io='native'/><alias name='ua-$VOLUME'/>
<source dev='$disk'/><target dev='vdb' bus='virtio'/><serial>$VOLUME</serial></disk>
X
virsh attach-device "$DOMAIN" /tmp/disk.xml --live --config >/dev/null
state() {
  echo "$1: disks of the guest: $(virsh domblklist "$DOMAIN" | awk 'NR > 2 && NF { printf "%s ", $1 }')"
  echo "$1: in its configuration: $(virsh domblklist "$DOMAIN" --inactive | awk 'NR > 2 && NF { printf "%s ", $1 }')"
  echo "$1: sessions: $(iscsiadm -m session 2>/dev/null | wc -l), node records: $(iscsiadm -m node 2>/dev/null | wc -l)," \
    "SCSI disks: $(find /sys/block -maxdepth 1 -name 'sd*' | wc -l)"
}
state before
code=0
"$CASTOFF" compute --host castoff-lab --connect qemu:///system --domain "$DOMAIN" --target "$PORTAL,$IQN" --messages 1 --grace 280 || code=$?
state after
exit "$code"
