//! What a host's own users do to a volume's disk.

use castoff_ports::host::by_path_name;
use castoff_real::fixture::{FixtureError, Made, sh, sweep};

use super::stage::{Stage, Written};

impl Stage {
    /// The disk on the host: the map's where there are two paths.
    pub(super) async fn disk(&self, n: u8) -> Result<String, FixtureError> {
        let link =
            format!("/dev/disk/by-path/{}", by_path_name(&self.portals[0], &self.iqn, self.lun(n)));
        // udev makes the link some time after the disk.
        let script = "i=0; until d=$(readlink -e \"$1\"); do [ $i -lt 100 ] || exit 1; i=$((i + 1)); sleep 0.1; done; h=$(ls \"/sys/block/${d##*/}/holders\" | head -n 1); echo \"/dev/${h:-${d##*/}}\"";
        sh(script, &[link]).await.map(|s| s.trim().to_owned())
    }

    /// Opens the disk with a process of the run's name; `first` is done with it open.
    pub(super) async fn hold(&self, n: u8, first: &str) -> Result<(), FixtureError> {
        self.note(&Made::Holder {})?;
        let disk = self.disk(n).await?;
        let script = format!(
            "exec 3<>\"$1\" || exit 1; {first} (exec -a \"castoff-holder-$2\" sleep 600 </dev/null >/dev/null 2>&1 &)"
        );
        // `exec -a` is bash's.
        sh("exec bash -c \"$1\" bash \"$2\" \"$3\"", &[script.as_str(), &disk, &self.run])
            .await
            .map(drop)
    }

    pub(super) async fn mount(&self, n: u8) -> Result<(), FixtureError> {
        self.note(&Made::Mount {})?;
        let disk = self.disk(n).await?;
        let at = self.ledger.files(&self.run).join("mount").display().to_string();
        let text = format!("castoff-{}-was-here", self.run);
        let script = "mkdir -p \"$2\" && mkfs.ext4 -q -O ^has_journal \"$1\" && mount \"$1\" \"$2\" && echo \"$3\" >\"$2/file\" && sync \"$2/file\"";
        sh(script, &[&disk, &at, &text]).await?;
        self.wrote(n, Written::Somewhere(text));
        Ok(())
    }

    /// A linear map over the disk but for its first MiB, as an active logical volume of a group on
    /// it is to the kernel; a text is written through it, and synced.
    pub(super) async fn map_on(&self, n: u8) -> Result<(), FixtureError> {
        self.note(&Made::Map {})?;
        let disk = self.disk(n).await?;
        let text = format!("castoff-{}-was-here", self.run);
        let script = "s=$(blockdev --getsz \"$1\") && dmsetup create \"$2\" --table \"0 $((s - 2048)) linear $1 2048\" && echo \"$3\" | dd of=\"/dev/dm-$(dmsetup info -c --noheadings -o minor \"$2\")\" bs=4096 conv=sync,fsync status=none";
        sh(script, &[disk.as_str(), &sweep::map_name(&self.run), &text]).await?;
        self.wrote(n, Written::Somewhere(text));
        Ok(())
    }
}
