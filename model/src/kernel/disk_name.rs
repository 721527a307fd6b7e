//! How the kernel names SCSI disks: `sda` to `sdz`, then `sdaa`.

use std::fmt::Write as _;

use castoff_ports::DeviceName;

use super::Kernel;

impl Kernel {
    /// The name that the kernel gives next: the lowest one free, `sda` being the host's own disk.
    pub(super) fn lowest_free_name(&self) -> DeviceName {
        let mut name = String::with_capacity(4);
        for index in 1u32.. {
            name.clear();
            write_disk_name(&mut name, index);
            if !self.disks.iter().any(|d| d.name.as_str() == name) {
                break;
            }
        }
        DeviceName::new(&name)
    }
}

/// `sd_format_disk_name`: 0 is `sda`, 25 `sdz`, 26 `sdaa`.
pub(super) fn write_disk_name(out: &mut String, index: u32) {
    let letter = |n: u32| char::from(b'a' + (n % 26) as u8);
    // Writing to a String cannot fail.
    let _ = match index {
        0..26 => write!(out, "sd{}", letter(index)),
        26..702 => write!(out, "sd{}{}", letter(index / 26 - 1), letter(index)),
        _ => {
            let (high, low) = ((index - 702) / 676, (index - 702) / 26);
            write!(out, "sd{}{}{}", letter(high), letter(low), letter(index))
        }
    };
}
