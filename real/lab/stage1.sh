#!/bin/bash
# The first process of the host. Its root is the machine's, as bwrap shows it, through hostfs and read-only: lay a RAM overlay
# over it, mount what a host has, and run host.sh in there. When that ends, power off.
set -uo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 TERM=dumb

# This process must not end: the kernel would panic.
off() {
  echo o >/proc/sysrq-trigger
  while :; do sleep 1; done
}

# Started by an ordinary user, the machine's files belong to nobody in here, and set-user-id programs, mount first of all,
# would run as nobody. Busybox is not such a program.
busybox mount -t proc proc /proc
busybox mount -o remount,ro,nosuid /
release=$(uname -r)
modules=/usr/lib/uml/modules/$release
insmod "$modules/kernel/fs/overlayfs/overlay.ko"
mount -t tmpfs -o size=80% ram /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay host -o nosuid,lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root

cd /mnt/root || off
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm
ln -s /proc/self/fd dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "dev/${n#*:}"; done
mount -t devpts devpts dev/pts
for d in dev/shm run tmp; do mount -t tmpfs ram "$d"; done
# iscsiadm keeps its lock there, and does not make the folder.
mkdir -p run/lock var/lib var/log var/tmp lib/modules
chmod 1777 tmp var/tmp run/lock
ln -s /run var/run
ln -s "$modules" "lib/modules/$release"
mount -t configfs configfs sys/kernel/config 2>/dev/null
# The overlay shows this folder too, but only what is written through hostfs reaches the machine.
mount -t hostfs out -o /castoff/out castoff/out
hostname compute
ip link set lo up
# The other end of a tap device, where `up --tap` gave one.
if [ -e sys/class/net/vec0 ]; then ip addr add 192.0.2.2/30 dev vec0; ip link set vec0 up; fi

chroot /mnt/root /bin/bash /castoff/lab/host.sh
# hostfs writes late; the overlay is in RAM, and of no interest any more.
sync -f castoff/out
off
