#!/bin/bash
# Print the guest's domain.
# usage: domain.sh MACHINE NAME CACHE-FOLDER CONSOLE-FILE
set -euo pipefail
MACHINE=$1 NAME=$2 CACHE=$3 CONSOLE=$4

type=q35 memory=192 extra=''
# Root ports to plug disks into; a `pc` has slots of its own.
ports="<controller type='pci' model='pcie-root'/>$(printf '%.0s<controller type="pci" model="pcie-root-port"/>' 1 2 3 4)"
# Without what only costs an emulated guest time: address randomisation, mitigations, probing, self-tests, security modules.
boot="<kernel>$CACHE/guest-kernel</kernel><initrd>$CACHE/guest-initramfs</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 nokaslr mitigations=off no_timer_check tsc=reliable random.trust_cpu=on init_on_alloc=0
      apparmor=0 audit=0 cryptomgr.notests</cmdline>"
case $MACHINE in
  q35) ;;
  # The slots of the root ports themselves: the guest waits five seconds before it lets go.
  q35-native) extra="<qemu:commandline><qemu:arg value='-global'/><qemu:arg value='ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off'/></qemu:commandline>" ;;
  pc) type=pc ports='' ;;
  # Nobody in the guest who would answer: it never lets go.
  no-os) type=pc ports='' memory=64 boot='' ;;
  *) echo "no such machine: $MACHINE" >&2; exit 2 ;;
esac

# cpu-unavailable-features: with it libvirt asks QEMU for each of 400 features of the processor at every start, one by one,
# 14 ms each in here; without it, in two questions.
cat <<X
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>$NAME</name>
  <memory unit='MiB'>$memory</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='$type'>hvm</type>
    $boot
  </os>
  <features><acpi/></features>
  <on_reboot>destroy</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    $ports
    <controller type='usb' model='none'/>
    <serial type='file'><source path='$CONSOLE'/></serial>
    <memballoon model='none'/>
  </devices>
  $extra
  <qemu:capabilities><qemu:del capability='cpu-unavailable-features'/></qemu:capabilities>
</domain>
X
