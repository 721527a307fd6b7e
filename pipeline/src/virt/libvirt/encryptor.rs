//! Encrypted volumes: what lies between the guest's disk and the host's (B5).
//!
//! pike opens LUKS on the host with cryptsetup once the volume is connected, and closes it when the
//! guest has let go (closed before, it was busy: nova bug 1642628). 2026.1 leaves LUKS to QEMU and
//! keeps a libvirt secret for it. The key itself comes from the key manager, which is not modelled.

use castoff_ports::cinder::{ConnectionInfo, Encryption};
use castoff_ports::host::{CryptsetupClose, CryptsetupOpen};
use castoff_ports::libvirt::{SecretDefine, SecretLookupByUsage, SecretUndefine, error};
use castoff_ports::{Failure, Refusal, VolumeId};

use super::guest::libvirt_error;
use crate::brick::execute::{OK, execute, execute_attempts, usual};
use crate::context::Context;
use crate::error::NovaError;
use crate::volume_api::get_encryption_metadata;

/// What closing may end with: 4 is "not active", so closed (os-brick 657ba45).
const CLOSED: &[i32] = &[0, 4];

/// `LuksEncryptor.attach_volume`: before the guest gets the disk.
pub(super) async fn attach_volume(
    cx: &Context<'_>,
    info: &ConnectionInfo,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    if encryption.is_none() || cx.policy().secret_lookup {
        return Ok(());
    }
    let Some((device, name)) = mapping(info) else { return Ok(()) };
    let open = || CryptsetupOpen { device: device.to_owned(), name: name.clone() };
    execute(cx, open, OK).await?;
    Ok(())
}

/// `LuksEncryptor.detach_volume`: after the guest has let go, before the host disconnects.
pub(super) async fn detach_volume(
    cx: &Context<'_>,
    info: &ConnectionInfo,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    if encryption.is_none() || cx.policy().secret_lookup {
        return Ok(());
    }
    close_mapping(cx, info).await
}

async fn close_mapping(cx: &Context<'_>, info: &ConnectionInfo) -> Result<(), NovaError> {
    let Some((_, name)) = mapping(info) else { return Ok(()) };
    let close = || CryptsetupClose { name: name.clone() };
    let closed = if cx.policy().fixes.missing_mapping_closed { CLOSED } else { OK };
    execute_attempts(cx, close, closed, usual(cx, cx.policy().encryptor_close_attempts)).await?;
    Ok(())
}

/// The path of an encrypted volume and its mapping's name; none for one that was not connected.
fn mapping(info: &ConnectionInfo) -> Option<(&str, String)> {
    let device = info.data.device_path.as_deref()?;
    let last = device.rsplit('/').next().unwrap_or(device);
    Some((device, format!("crypt-{last}")))
}

/// `_attach_encryptor`: QEMU decrypts LUKS itself, with a passphrase that libvirt keeps (A5).
pub(super) async fn define_secret(
    cx: &Context<'_>,
    info: &ConnectionInfo,
    encryption: Option<&Encryption>,
) -> Result<(), NovaError> {
    let volume_id = &info.data.volume_id;
    if !info.data.encrypted || !cx.policy().secret_lookup || has_secret(cx, volume_id).await? {
        return Ok(());
    }
    if encryption.is_some() || get_encryption_metadata(cx, info).await?.is_some() {
        let define = SecretDefine { volume_id: volume_id.clone() };
        cx.call(define).await.map_err(libvirt_error)?;
    }
    Ok(())
}

/// `_detach_encryptor`: the guest has let go, so the secret goes, unless the guest will be back.
///
/// Without a secret os-brick's encryptor is asked to close: the volume may have come to this host
/// before QEMU decrypted. It ignores a mapping that is not there.
pub(super) async fn detach_encryptor(
    cx: &Context<'_>,
    info: &ConnectionInfo,
    encryption: Option<&Encryption>,
    keep_secret: bool,
) -> Result<(), NovaError> {
    let volume_id = &info.data.volume_id;
    if has_secret(cx, volume_id).await? {
        if !keep_secret {
            cx.call(SecretUndefine { volume_id: volume_id.clone() })
                .await
                .map_err(libvirt_error)?;
        }
        return Ok(());
    }
    if encryption.is_some() || get_encryption_metadata(cx, info).await?.is_some() {
        close_mapping(cx, info).await?;
    }
    Ok(())
}

async fn has_secret(cx: &Context<'_>, volume: &VolumeId) -> Result<bool, NovaError> {
    match cx.call(SecretLookupByUsage { volume_id: volume.clone() }).await {
        Ok(()) => Ok(true),
        Err(Failure::Refused(Refusal::Libvirt { code: error::NO_SECRET, .. })) => Ok(false),
        Err(e) => Err(libvirt_error(e)),
    }
}
