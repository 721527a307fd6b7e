//! The user's client: a token, one request, and polling until its effect is there.
//!
//! It polls nova's attachments, not cinder's status, to see a detach end: cinder is done first,
//! the BDM goes last (nova bug 1937084; users-and-peers H6).

use std::time::Duration;

use castoff_ports::cinder::{GetVolume, VolumeStatus};
use castoff_ports::keystone::CreateToken;
use castoff_ports::nova::{
    CreateVolumeAttachment, DeleteVolumeAttachment, ListVolumeAttachments, Microversion,
    VolumeAttachment,
};
use castoff_ports::{Auth, Failure, InstanceId, Port, ProjectId, Secret, UserId, VolumeId};

/// Time between two polls.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long a client waits for an end.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(300);

/// The newest microversion that both generations have and that DELETE depends on.
pub const MICROVERSION: Microversion = Microversion::SHELVED_DETACH;

/// A user with a password.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Name.
    pub user: UserId,
    /// Password.
    pub password: Secret,
    /// Project to act in.
    pub project: ProjectId,
}

/// How a wait for a detach ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// nova lists the attachment no more.
    Gone,
    /// nova still lists it, or could not be asked.
    StillAttached,
}

/// How a wait for an attach ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitedForAttach {
    /// cinder says in-use, attached to the server.
    Attached,
    /// The volume is free again, or time is up.
    NotAttached,
}

/// Asks keystone for a token; put the result into the port for the calls below.
pub async fn authenticate(port: &Port, user: &User) -> Result<Auth, Failure> {
    let issued = port
        .call(CreateToken {
            user: user.user.clone(),
            password: user.password.clone(),
            project: user.project.clone(),
        })
        .await?;
    Ok(Auth { token: Some(issued.token), service_token: None })
}

/// `nova volume-detach`: the DELETE alone; what it starts goes on after its 202.
pub async fn detach(port: &Port, server: &InstanceId, volume: &VolumeId) -> Result<(), Failure> {
    let (server_id, volume_id) = (server.clone(), volume.clone());
    port.call(DeleteVolumeAttachment { server_id, volume_id, microversion: MICROVERSION }).await
}

/// Polls nova until the attachment is gone: every [`POLL_INTERVAL`], for [`WAIT_TIMEOUT`].
pub async fn wait_detached(port: &Port, server: &InstanceId, volume: &VolumeId) -> Waited {
    let end = port.now() + WAIT_TIMEOUT;
    loop {
        match port.call(ListVolumeAttachments { server_id: server.clone() }).await {
            Ok(list) if list.iter().all(|a| a.volume_id != *volume) => return Waited::Gone,
            Err(e) if e.http_status() == Some(404) => return Waited::Gone,
            // A poll that fails says nothing; the next one may.
            Ok(_) | Err(_) => {}
        }
        if !pause(port, end).await {
            return Waited::StillAttached;
        }
    }
}

/// `nova volume-attach`: the POST alone.
pub async fn attach(
    port: &Port,
    server: &InstanceId,
    volume: &VolumeId,
) -> Result<Option<VolumeAttachment>, Failure> {
    let (server_id, volume_id) = (server.clone(), volume.clone());
    port.call(CreateVolumeAttachment { server_id, volume_id, microversion: MICROVERSION }).await
}

/// Polls cinder until the volume is in-use by the server, or free again.
pub async fn wait_attached(port: &Port, server: &InstanceId, volume: &VolumeId) -> WaitedForAttach {
    let end = port.now() + WAIT_TIMEOUT;
    loop {
        if let Ok(v) = port.call(GetVolume { volume_id: volume.clone(), microversion: 0 }).await {
            match v.status {
                VolumeStatus::InUse if v.attachments.iter().any(|a| a.server_id == *server) => {
                    return WaitedForAttach::Attached;
                }
                VolumeStatus::Available | VolumeStatus::Error => {
                    return WaitedForAttach::NotAttached;
                }
                VolumeStatus::InUse
                | VolumeStatus::Reserved
                | VolumeStatus::Attaching
                | VolumeStatus::Detaching
                | VolumeStatus::Deleting
                | VolumeStatus::Maintenance => {}
            }
        }
        if !pause(port, end).await {
            return WaitedForAttach::NotAttached;
        }
    }
}

/// Sleeps until the next poll; false when that would be after the end.
async fn pause(port: &Port, end: castoff_ports::SimTime) -> bool {
    port.now() + POLL_INTERVAL <= end && port.sleep(POLL_INTERVAL).await.is_ok()
}
