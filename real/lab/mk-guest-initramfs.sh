#!/bin/bash
# Build the guest's initramfs: busybox, the virtio modules of an unpacked kernel package, and an init that tells on the
# console when it is up (GUEST-READY) and which disks it has, every time that changes (GUEST-BLK).
# usage: mk-guest-initramfs.sh UNPACKED-KERNEL-PACKAGE OUTPUT
set -euo pipefail
KERNEL=$1 OUT=$2

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,proc,sys,dev,modules}
cp "$(command -v busybox)" "$tree/bin/busybox"
for applet in sh mount insmod uevent; do ln -s busybox "$tree/bin/$applet"; done

modules=$(echo "$KERNEL"/lib/modules/*/kernel/drivers)
# The order is the order of loading: virtio needs virtio_ring. What a kernel has built in is not there, and not missed.
for m in virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev virtio/virtio_pci block/virtio_blk; do
  name=${m##*/}
  if [[ -f $modules/$m.ko ]]; then cp "$modules/$m.ko" "$tree/modules/"
  elif [[ -f $modules/$m.ko.xz ]]; then xz -dc "$modules/$m.ko.xz" >"$tree/modules/$name.ko"
  else continue; fi
  printf '%s\n' "$name" >>"$tree/modules/order"
done

# No polling and no process for a look at the disks: every fork costs the emulated guest, and so its host, milliseconds.
cat >"$tree/bin/disks" <<'I'
#!/bin/sh
# Run for every uevent; the state it compares with is in a file, as each run is a new process.
[ "${SUBSYSTEM:-block}" = block ] || exit 0
cd /sys/block || exit 0
now=$(echo *)
[ "$now" != '*' ] || now=
read -r before </disks || before=-
[ "$now" != "$before" ] || exit 0
echo "$now" >/disks
read -r up rest </proc/uptime
echo "GUEST-BLK $up: $now" >/dev/console
I
cat >"$tree/init" <<'I'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r m; do insmod "/modules/$m.ko"; done </modules/order
echo - >/disks
read -r up rest </proc/uptime
echo "GUEST-READY uptime=$up" >/dev/console
/bin/disks
exec uevent /bin/disks
I
chmod +x "$tree/init" "$tree/bin/disks"
# Not compressed: unpacking costs the guest more than reading a few more bytes.
(cd "$tree" && find . -print0 | LC_ALL=C sort -z | cpio --null -o -H newc --quiet --owner 0:0) >"$OUT"
