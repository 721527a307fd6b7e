//! A guest's reads and writes, as its driver would have its QEMU do them, and what QEMU says of them.
//!
//! QEMU's `qemu-io` tells its own log what came of a command, not the monitor; and of its plain
//! `write` nothing is counted. So everything is asynchronous here, waited for with `aio_flush`, and
//! QEMU's count of bytes says whether it was done: a refused request counts none.

use castoff_real::fixture::FixtureError;

use super::stage::{Stage, Written};

/// One request.
#[derive(Clone, Copy, Debug)]
enum Io {
    /// Forced to the disk (FUA): it is durable when it is done.
    Write {
        offset: u64,
        len: usize,
        byte: u8,
    },
    Read {
        offset: u64,
        len: usize,
    },
}

impl Io {
    fn command(self) -> String {
        match self {
            Io::Write { offset, len, byte } => format!("aio_write -f -P {byte:#x} {offset} {len}"),
            Io::Read { offset, len } => format!("aio_read {offset} {len}"),
        }
    }
}

/// Where the guest writes much, MiB: first half and second.
const HALVES: [std::ops::Range<u64>; 2] = [16..48, 48..80];
const MIB: u64 = 1 << 20;
const PIECE: u64 = 8;

impl Stage {
    /// 64 MiB, or one half of them, eight at a time; every write must be done.
    pub(super) async fn guest_writes_all(
        &self,
        n: u8,
        halves: &[usize],
    ) -> Result<(), FixtureError> {
        self.guest_does(n, &much(halves)).await
    }

    /// The same, but for writes that are refused; answers how many were done.
    pub(super) async fn guest_writes_some(
        &self,
        n: u8,
        halves: &[usize],
    ) -> Result<usize, FixtureError> {
        self.guest_io(n, &much(halves)).await
    }

    /// 1 MiB.
    pub(super) async fn guest_writes(&self, n: u8) -> Result<(), FixtureError> {
        self.guest_does(n, &[Io::Write { offset: 0, len: MIB as usize, byte: 0x5a }]).await
    }

    /// Whether the guest can read and write the volume, through its own disk.
    pub(super) async fn guest_reads(&self, n: u8) -> Result<(), FixtureError> {
        let (offset, len) = (2 * MIB, 64 << 10);
        self.guest_does(n, &[Io::Write { offset, len, byte: 0x77 }, Io::Read { offset, len }]).await
    }

    async fn guest_does(&self, n: u8, all: &[Io]) -> Result<(), FixtureError> {
        match self.guest_io(n, all).await? {
            done if done == all.len() => Ok(()),
            done => Err(FixtureError::Command {
                what: "let QEMU read and write".to_owned(),
                exit: 0,
                message: format!("{done} of {} requests were done", all.len()),
            }),
        }
    }

    /// Does these one after the other; notes the writes that were done, and answers how many
    /// requests were.
    async fn guest_io(&self, n: u8, all: &[Io]) -> Result<usize, FixtureError> {
        let guest = self.guest_of(n);
        let (volume, disk) = (self.volume(n), self.target_dev(n, true).await?);
        let name = &guest.name;
        let count = format!("domblkstat '{name}' {disk}; ");
        let mut script = count.clone();
        for io in all {
            for command in [io.command().as_str(), "aio_flush"] {
                let on = format!("/machine/peripheral/ua-{volume}/virtio-backend");
                script.push_str(&format!(
                    "qemu-monitor-command '{name}' --hmp 'qemu-io -d {on} \"{command}\"'; "
                ));
            }
            script.push_str(&count);
        }
        // One virsh for all: where it is slow to start, as in the lab, that is most of the time.
        let said = guest.virsh("\"$3\"", &[&script]).await?;
        let (read, written) = (counts(&said, "rd_bytes"), counts(&said, "wr_bytes"));
        if let Some(error) = said.lines().find(|l| l.contains("Error:")) {
            let (what, message) = ("let QEMU read and write".to_owned(), error.to_owned());
            return Err(FixtureError::Command { what, exit: 0, message });
        }
        let mut done = 0;
        for (at, io) in all.iter().enumerate() {
            let (bytes, len) = match io {
                Io::Write { len, .. } => (&written, *len as u64),
                Io::Read { len, .. } => (&read, *len as u64),
            };
            if grown(bytes, at).is_some_and(|grown| grown >= len) {
                done += 1;
                if let Io::Write { offset, len, byte } = *io {
                    self.wrote(n, Written::At { offset, len, byte });
                }
            }
        }
        Ok(done)
    }
}

/// The writes of these halves.
fn much(halves: &[usize]) -> Vec<Io> {
    let len = (PIECE * MIB) as usize;
    let pieces = halves.iter().flat_map(|half| HALVES[*half].clone().step_by(PIECE as usize));
    pieces.map(|mib| Io::Write { offset: mib * MIB, len, byte: 0x6b }).collect()
}

/// Every `vdb wr_bytes 4096` of domblkstat, in order.
fn counts(said: &str, what: &str) -> Vec<u64> {
    let words = said.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
    words.filter(|w| w.get(1) == Some(&what)).filter_map(|w| w.get(2)?.parse().ok()).collect()
}

/// By how much the count has grown over this request.
fn grown(counts: &[u64], at: usize) -> Option<u64> {
    Some(counts.get(at + 1)?.saturating_sub(*counts.get(at)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_was_done_when_its_bytes_were_counted() {
        let said = "vdb rd_bytes 4096\nvdb wr_bytes 0\n\n\nvdb rd_bytes 4096\nvdb wr_bytes 8388608\n\n\n\
                    vdb rd_bytes 4096\nvdb wr_bytes 8388608\n";
        let written = counts(said, "wr_bytes");
        assert_eq!([grown(&written, 0), grown(&written, 1)], [Some(8 << 20), Some(0)]);
        // The guest went away: nobody was told anything.
        assert_eq!(grown(&written, 2), None);
        assert_eq!(counts(said, "rd_bytes"), [4096; 3]);
        let write = Io::Write { offset: 1 << 20, len: 4096, byte: 0x6b };
        assert_eq!(write.command(), "aio_write -f -P 0x6b 1048576 4096");
    }
}
