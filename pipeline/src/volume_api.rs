//! nova.volume.cinder.API: cinder as nova calls it, and what nova makes of its answers.
//!
//! Few answers are translated: 404, 400, 403, 413 and a lost connection. All else, 401 and 409
//! among it, reaches the station as it came. cinderclient repeats a call whose connection broke,
//! blind to whether it took effect; unmapping calls are repeated on 500 by policy.

use std::time::Duration;

use castoff_ports::cinder::{
    Attach, BeginDetaching, ConnectionInfo, Connector, DeleteVolume, Detach, Encryption,
    GetEncryption, GetVolume, InitializeConnection, Reserve, RollDetaching, TerminateConnection,
    Unreserve, Volume,
};
use castoff_ports::{AttachmentId, Auth, Failure, InstanceId, Operation, Refusal, VolumeId};

use crate::context::Context;
use crate::error::NovaError;

mod attachments;

pub use attachments::*;

/// keystoneauth's first pause before it repeats a call whose connection broke; then doubled.
const CONNECT_RETRY_DELAY: Duration = Duration::from_millis(500);

/// What a call was about, for its errors.
#[derive(Clone, Copy)]
enum About<'a> {
    Volume(&'a VolumeId),
    Attachment(&'a AttachmentId),
}

impl About<'_> {
    /// translate_volume_exception and translate_attachment_exception.
    fn translate(self, failure: Failure) -> NovaError {
        match failure {
            Failure::Refused(Refusal::Http { status: 404, .. }) => match self {
                About::Volume(v) => NovaError::VolumeNotFound { volume: v.clone() },
                About::Attachment(a) => {
                    NovaError::VolumeAttachmentNotFound { attachment: a.clone() }
                }
            },
            Failure::Refused(Refusal::Http { status: 400, message }) => NovaError::InvalidInput {
                volume: match self {
                    About::Volume(v) => v.to_string(),
                    About::Attachment(a) => format!("of attachment {a}"),
                },
                reason: format!("{message} (HTTP 400)"),
            },
            Failure::Refused(Refusal::Http { status: 403, message }) => {
                NovaError::Forbidden { message: format!("{message} (HTTP 403)") }
            }
            Failure::Refused(Refusal::Http { status: 413, message }) => {
                NovaError::OverQuota { message }
            }
            Failure::Refused(refusal) => NovaError::Cinder(refusal),
            e @ (Failure::Unreachable { .. } | Failure::NoReply { .. }) => {
                NovaError::CinderConnectionFailed { reason: e.to_string() }
            }
        }
    }
}

/// keystoneauth's session: repeats a call that met a broken connection (`connect_retries`).
pub(crate) async fn connect_retries<O: Operation>(
    cx: &Context<'_>,
    port: &castoff_ports::Port,
    request: impl Fn() -> O,
) -> Result<O::Reply, Failure> {
    let mut left = cx.policy().http_retries;
    let mut pause = CONNECT_RETRY_DELAY;
    loop {
        match port.call(request()).await {
            Err(Failure::Unreachable { .. } | Failure::NoReply { .. }) if left > 0 => {
                left -= 1;
                cx.port.sleep(pause).await?;
                pause *= 2;
            }
            other => return other,
        }
    }
}

/// cinderclient with the user's token, and nova's own beside it.
async fn cinderclient<O: Operation>(
    cx: &Context<'_>,
    request: impl Fn() -> O,
) -> Result<O::Reply, Failure> {
    match cx.service_token().await? {
        None => connect_retries(cx, cx.port, request).await,
        service_token => {
            let auth = Auth { token: cx.port.cx.auth.token.clone(), service_token };
            connect_retries(cx, &cx.port.with_auth(auth), request).await
        }
    }
}

/// nova's `retrying.retry`: tries again at once while cinder answers one of these.
async fn retrying<O: Operation>(
    cx: &Context<'_>,
    statuses: &[u16],
    request: impl Fn() -> O,
) -> Result<O::Reply, Failure> {
    let mut attempt = 1;
    loop {
        match cinderclient(cx, &request).await {
            Err(e)
                if attempt < cx.policy().cinder_attempts
                    && e.http_status().is_some_and(|s| statuses.contains(&s)) =>
            {
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// `API.get`; microversion 0 is plain v3.
pub async fn get(
    cx: &Context<'_>,
    volume_id: &VolumeId,
    microversion: u16,
) -> Result<Volume, NovaError> {
    cinderclient(cx, || GetVolume { volume_id: volume_id.clone(), microversion })
        .await
        .map_err(|e| About::Volume(volume_id).translate(e))
}

/// `DriverVolumeBlockDevice._get_volume`: the newest view that cinder has of shared_targets.
///
/// Before 3.48 the field does not exist, which os-brick reads as "not shared" (nova bug 2035375).
pub async fn get_with_shared_targets(
    cx: &Context<'_>,
    volume_id: &VolumeId,
) -> Result<Volume, NovaError> {
    for microversion in [69, 48] {
        match get(cx, volume_id, microversion).await {
            Err(NovaError::Cinder(Refusal::Http { status: 406, .. })) => {}
            other => return other,
        }
    }
    let volume = get(cx, volume_id, 0).await?;
    Ok(Volume { shared_targets: Some(false), ..volume })
}

/// `API.check_detach`: local, on the snapshot that the controller has read (A4).
pub fn check_detach(volume: &Volume, instance: &InstanceId) -> Result<(), NovaError> {
    let invalid = |reason: String| NovaError::InvalidVolume { volume: volume.id.clone(), reason };
    if volume.status == castoff_ports::cinder::VolumeStatus::Available {
        return Err(invalid(format!("volume {} already detached", volume.id)));
    }
    // nova derives attach_status from the list of attachments.
    if volume.attachments.is_empty() {
        return Err(invalid("Volume must be attached in order to detach.".to_owned()));
    }
    if !volume.attachments.iter().any(|a| a.server_id == *instance) {
        let (volume, instance) = (volume.id.clone(), instance.clone());
        return Err(NovaError::VolumeUnattached { volume, instance });
    }
    Ok(())
}

macro_rules! volume_actions {
    ($($(#[$doc:meta])* $name:ident = $op:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub async fn $name(cx: &Context<'_>, volume_id: &VolumeId) -> Result<(), NovaError> {
            cinderclient(cx, || $op { volume_id: volume_id.clone() })
                .await
                .map_err(|e| About::Volume(volume_id).translate(e))
        }
    )*};
}

volume_actions! {
    /// `API.begin_detaching`.
    begin_detaching = BeginDetaching,
    /// `API.roll_detaching`: cinder asks for no owner, so it may roll another request's back.
    roll_detaching = RollDetaching,
    /// `API.reserve_volume`.
    reserve_volume = Reserve,
    /// `API.unreserve_volume`.
    unreserve_volume = Unreserve,
    /// `API.delete`: of a volume with delete_on_termination.
    delete = DeleteVolume,
}

/// `encryptors.get_encryption_metadata`: cinder is asked only when connection_info says that the
/// volume is encrypted; none for one that is not.
pub async fn get_encryption_metadata(
    cx: &Context<'_>,
    info: &ConnectionInfo,
) -> Result<Option<Encryption>, NovaError> {
    if !info.data.encrypted {
        return Ok(None);
    }
    let volume_id = &info.data.volume_id;
    match cinderclient(cx, || GetEncryption { volume_id: volume_id.clone() }).await {
        Ok(encryption) => Ok(Some(encryption)),
        Err(failure) => {
            cx.error(format!(
                "Failed to retrieve encryption metadata for volume {volume_id}: {failure}"
            ));
            Err(match failure {
                // Not translated: only `translate_cinder_exception` is around this call.
                Failure::Refused(refusal @ Refusal::Http { status: 404, .. }) => {
                    NovaError::Cinder(refusal)
                }
                other => About::Volume(volume_id).translate(other),
            })
        }
    }
}

/// os-begin_detaching, asked again only where it cannot have taken effect.
pub(crate) async fn begin_detaching_once(
    cx: &Context<'_>,
    volume_id: &VolumeId,
) -> Result<(), Failure> {
    once(cx, || BeginDetaching { volume_id: volume_id.clone() }).await
}

/// os-roll_detaching, asked again only where it cannot have taken effect.
pub(crate) async fn roll_detaching_once(
    cx: &Context<'_>,
    volume_id: &VolumeId,
) -> Result<(), Failure> {
    once(cx, || RollDetaching { volume_id: volume_id.clone() }).await
}

/// A call that is asked again only where it cannot have taken effect.
async fn once<O: Operation>(
    cx: &Context<'_>,
    request: impl Fn() -> O,
) -> Result<O::Reply, Failure> {
    let service_token = cx.service_token().await?;
    let auth = Auth { token: cx.port.cx.auth.token.clone(), service_token };
    let port = cx.port.with_auth(auth);
    let mut left = cx.policy().http_retries;
    // By then the reconciler may have taken this request for dead, and its intent away.
    let patience = cx.policy().reconcile_period_s.map(|s| Duration::from_secs(s.into()));
    let began = cx.port.now();
    loop {
        let reply = port.call(request()).await;
        let late = patience.is_some_and(|p| cx.port.now().since(began) >= p);
        match reply {
            Err(Failure::Unreachable { .. }) if left > 0 && !late => {
                left -= 1;
                cx.port.sleep(CONNECT_RETRY_DELAY).await?;
            }
            other => return other,
        }
    }
}

/// What nova makes of a failed call about a volume.
pub(crate) fn volume_error(volume_id: &VolumeId, failure: Failure) -> NovaError {
    About::Volume(volume_id).translate(failure)
}

/// `API.initialize_connection`: the connector is stashed in the reply (nova bug 1452032).
pub async fn initialize_connection(
    cx: &Context<'_>,
    volume_id: &VolumeId,
    connector: &Connector,
) -> Result<ConnectionInfo, NovaError> {
    let request =
        || InitializeConnection { volume_id: volume_id.clone(), connector: connector.clone() };
    match cinderclient(cx, request).await {
        Ok(info) => Ok(ConnectionInfo { connector: Some(connector.clone()), ..info }),
        Err(failure) => {
            // cinder may have exported the volume before it failed.
            if let Failure::Refused(refusal) = &failure {
                cx.error(format!(
                    "Initialize connection failed for volume {volume_id} on host {}: {refusal}. \
                     Attempting to terminate connection.",
                    connector.host
                ));
                if let Err(e) = terminate_connection(cx, volume_id, connector).await {
                    cx.error(format!(
                        "Connection between volume {volume_id} and host {} might have succeeded, \
                         but attempt to terminate connection has failed: {e}",
                        connector.host
                    ));
                }
            }
            Err(About::Volume(volume_id).translate(failure))
        }
    }
}

/// `API.terminate_connection`.
pub async fn terminate_connection(
    cx: &Context<'_>,
    volume_id: &VolumeId,
    connector: &Connector,
) -> Result<(), NovaError> {
    let request =
        || TerminateConnection { volume_id: volume_id.clone(), connector: connector.clone() };
    retrying(cx, &[500], request).await.map_err(|e| About::Volume(volume_id).translate(e))
}

/// `API.attach`.
pub async fn attach(
    cx: &Context<'_>,
    volume_id: &VolumeId,
    instance: &InstanceId,
    mountpoint: &str,
) -> Result<(), NovaError> {
    let request = || Attach {
        volume_id: volume_id.clone(),
        instance: instance.clone(),
        mountpoint: mountpoint.to_owned(),
    };
    cinderclient(cx, request).await.map_err(|e| About::Volume(volume_id).translate(e))
}

/// `API.detach`: without an attachment id the volume is asked for it, if it is multiattach.
pub async fn detach(
    cx: &Context<'_>,
    volume_id: &VolumeId,
    instance: Option<&InstanceId>,
    attachment_id: Option<&AttachmentId>,
) -> Result<(), NovaError> {
    let attachment_id = match attachment_id {
        Some(id) => Some(id.clone()),
        None => {
            let volume = get(cx, volume_id, 0).await?;
            volume
                .attachments
                .iter()
                .rfind(|a| volume.multiattach && Some(&a.server_id) == instance)
                .map(|a| a.attachment_id.clone())
        }
    };
    let request = || Detach { volume_id: volume_id.clone(), attachment_id: attachment_id.clone() };
    retrying(cx, &[500], request).await.map_err(|e| About::Volume(volume_id).translate(e))
}
