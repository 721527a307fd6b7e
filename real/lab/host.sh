#!/bin/bash
# The host itself: daemons, target, guest, then the command. Runs inside, started by stage1.sh.
set -uo pipefail
export PATH=/castoff/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 TERM=dumb NO_COLOR=1
export CASTOFF_LAB_PORTAL=127.0.0.1:3260 CASTOFF_LAB_IQN=iqn.2026-11.org.castoff:lab CASTOFF_LAB_LUN=1 CASTOFF_LAB_LUN2=2
export CASTOFF_LAB_DOMAIN=castoff-lab CASTOFF_LAB_CONSOLE=/run/castoff/guest.console
STATE=/run/castoff
MACHINE=$(</castoff/job/machine)
mkdir -p "$STATE" /etc/libvirt /etc/iscsi /var/lib/tgt
cd /tmp || exit 1
echo '127.0.0.1 localhost compute' >/etc/hosts

# Raw: what the command writes must come out as it was written.
exec {OUT}>/dev/tty1 {CTL}>/dev/tty2
stty -F /dev/tty1 raw -echo
stty -F /dev/tty2 raw -echo
tell() { printf '%s\n' "$*" >&"$CTL"; echo "[$(cut -d' ' -f1 /proc/uptime)] $*"; }
# stty sets its attributes only when everything written before has gone out.
drain() { stty -F /dev/tty1 raw; stty -F /dev/tty2 raw; }
save() { cp "$STATE"/*.log "$CASTOFF_LAB_CONSOLE" /var/log/libvirt/qemu/*.log /castoff/out/ 2>/dev/null; }
give_up() { save; tail -n 20 "$STATE"/*.log; tell "fail $*"; drain; exit 1; }

# Wait for a condition: wait_for SECONDS WHAT COMMAND...; the time is some eight times what is usual.
wait_for() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < until)) || give_up "$what: not after its time"
    sleep 0.1
  done
}

start_libvirtd() {
  cat >/etc/libvirt/qemu.conf <<'C'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
C
  printf '%s = "none"\n' auth_unix_ro auth_unix_rw >/etc/libvirt/libvirtd.conf
  printf 'unix_sock_group = "root"\nhost_uuid = "ca570ff0-1ab0-4000-8000-000000000001"\n' >>/etc/libvirt/libvirtd.conf
  # What libvirt asks an emulator on first sight takes seconds, and install.sh has kept the answers. They carry the emulator's and
  # libvirt's own timestamps: after an upgrade libvirt asks again.
  if [[ -d /castoff/cache/capabilities ]]; then
    mkdir -p /var/cache/libvirt/qemu
    cp -r /castoff/cache/capabilities /var/cache/libvirt/qemu/
  fi
  libvirtd >"$STATE/libvirtd.log" 2>&1 &
}

start_udevd() {
  # Only what is plugged in later matters: nothing is triggered for what is there already.
  /lib/systemd/systemd-udevd --daemon >"$STATE/udevd.log" 2>&1
}

tgt() { tgtadm --lld iscsi "$@"; }
start_target() {
  tgtd -f >"$STATE/tgtd.log" 2>&1 &
  wait_for 30 "tgtd" eval 'tgt --mode sys --op show >/dev/null 2>&1'
  tgt --mode target --op new --tid 1 -T "$CASTOFF_LAB_IQN"
  local lun
  for lun in "$CASTOFF_LAB_LUN" "$CASTOFF_LAB_LUN2"; do
    truncate -s 64M "$STATE/lun$lun.img"
    tgt --mode logicalunit --op new --tid 1 --lun "$lun" -b "$STATE/lun$lun.img"
    # By default every target's first LUN has the same identity, and multipathd would take two disks for one.
    tgt --mode logicalunit --op update --tid 1 --lun "$lun" --params "scsi_id=ca570ff0000000$lun,scsi_sn=castoff-lab-$lun"
  done
  tgt --mode target --op bind --tid 1 -I ALL
}

start_initiator() {
  echo "InitiatorName=iqn.2026-11.org.castoff:compute" >/etc/iscsi/initiatorname.iscsi
  iscsid -f >"$STATE/iscsid.log" 2>&1 &
  # iscsiadm asks it this, and needs it to be there.
  wait_for 30 "iscsid" eval 'grep -q "@ISCSIADM_ABSTRACT_NAMESPACE" /proc/net/unix'
}

start_guest() {
  /castoff/lab/domain.sh "$MACHINE" "$CASTOFF_LAB_DOMAIN" /castoff/cache "$CASTOFF_LAB_CONSOLE" >"$STATE/domain.xml"
  wait_for 120 "libvirtd" test -S /run/libvirt/libvirt-sock
  # libvirtd takes the connection when its drivers are up. Defined, then started: a persistent and a live configuration.
  virsh -c qemu:///system "define $STATE/domain.xml; start $CASTOFF_LAB_DOMAIN" || give_up "virsh does not start the guest"
}

guest_ready() {
  [[ -e /run/libvirt/qemu/$CASTOFF_LAB_DOMAIN.pid ]] || give_up "QEMU ended"
  grep -aqs GUEST-READY "$CASTOFF_LAB_CONSOLE"
}

tell "phase kernel up"
start_libvirtd
modprobe -a scsi_mod sd_mod iscsi_tcp dm-mod || give_up "modprobe"
start_guest
tell "phase libvirtd up, guest started"
# While it boots.
start_udevd
start_target
start_initiator
tell "phase udevd, tgtd, iscsid up"
[[ $MACHINE == no-os ]] || wait_for 300 "the guest's GUEST-READY" guest_ready
tell "phase ready ($MACHINE)"

# The command's output goes through a pipe, so that it sees no terminal.
mapfile -d '' -t command </castoff/job/command
exec {PIPE}> >(exec cat >&"$OUT" {CTL}>&-)
copy=$!
pipe=$(readlink "/proc/$$/fd/$PIPE") # pipe:[123]
pipe=${pipe//[^0-9]/}
"${command[@]}" </dev/null >&"$PIPE" 2>&1 {PIPE}>&- {OUT}>&- {CTL}>&-
code=$?
exec {PIPE}>&-
# Whoever the command left behind with its output still open would keep the copy waiting for ever.
for holder in $(find /proc/[0-9]*/fd -lname "pipe:\[$pipe\]" 2>/dev/null | cut -d/ -f3 | sort -u); do
  [[ $holder == "$copy" || $holder == "$$" ]] || kill -KILL "$holder"
done
wait "$copy"
save
drain
tell "exit $code"
drain
