//! A second guest on the host, of the run's own: its processors never run, its QEMU has disks all
//! the same.

use castoff_ports::InstanceId;
use castoff_real::fixture::{FixtureError, Guest, Made, VOLUME_PREFIX, sh};

use super::stage::Stage;

impl Stage {
    /// Its id: nova's, and libvirt's.
    pub(super) fn other_id(&self) -> InstanceId {
        InstanceId::new(format!("{VOLUME_PREFIX}-{}-4000-8000-00000000007e", self.run))
    }

    pub(super) fn other(&self) -> Guest {
        let name = format!("castoff-{}-other", self.run);
        Guest { uri: self.guest.uri.clone(), name, console: None }
    }

    /// Makes it; from now on volume `n` is to be attached to it.
    pub(super) async fn start_other(&self, n: u8) -> Result<(), FixtureError> {
        let guest = self.other();
        self.note(&Made::Domain { uri: guest.uri.clone(), name: guest.name.clone() })?;
        // Nobody in it would let go of a disk: slots for plugging are all that it needs.
        let xml = format!(
            "<domain type='qemu'><name>{}</name><uuid>{}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>\
             <devices><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>",
            guest.name,
            self.other_id(),
        );
        self.others.borrow_mut().insert(n);
        let script = "printf '%s' \"$3\" | virsh -q -c \"$1\" define /dev/stdin && virsh -q -c \"$1\" start \"$2\" --paused";
        sh(script, &[guest.uri.as_str(), &guest.name, &xml]).await?;
        Ok(())
    }

    /// Whether the volume is the other guest's.
    pub(super) fn is_others(&self, n: u8) -> bool {
        self.others.borrow().contains(&n)
    }

    /// Whose disk the volume is.
    pub(super) fn guest_of(&self, n: u8) -> Guest {
        if self.is_others(n) { self.other() } else { self.guest.clone() }
    }
}
