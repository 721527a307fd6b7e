//! `GET /volumes/{id}/encryption`: the encryption of a volume's type, and the volume's own key.
//!
//! There is one encrypted type here, LUKS as devstack makes it. The key is the key manager's, which
//! is not modelled: its id is made of the volume's.

use castoff_ports::cinder::Encryption;
use castoff_ports::{Refusal, VolumeId};

use super::{Caller, Cinder};

impl Cinder {
    /// The metadata; of a volume that is not encrypted there is none but an absent key.
    pub(crate) fn encryption(&self, caller: &Caller, id: &VolumeId) -> Result<Encryption, Refusal> {
        let row = &self.volumes[self.volume_at(caller, id)?];
        if !row.encrypted {
            return Ok(Encryption::default());
        }
        Ok(Encryption {
            encryption_key_id: Some(row.id.to_string()),
            provider: Some("luks".to_owned()),
            cipher: Some("aes-xts-plain64".to_owned()),
            key_size: Some(256),
            control_location: Some("front-end".to_owned()),
        })
    }
}
