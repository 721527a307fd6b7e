//! The user's client: a token, one request, and polling until its effect is there.
//!
//! It polls nova's attachments, not cinder's status, to see a detach end: cinder is done first,
//! the BDM goes last (nova bug 1937084, H6).

use std::time::Duration;

use castoff_ports::keystone::CreateToken;
use castoff_ports::nova::{
    AttachOptions, CreateVolumeAttachment, DeleteServer, DeleteVolumeAttachment,
    ListVolumeAttachments, Microversion, PostServerAction, ServerAction, VolumeAttachment,
};
use castoff_ports::{Auth, Failure, InstanceId, Port, ProjectId, Secret, UserId, VolumeId};

/// How a client waits: how often it looks, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Time between two polls.
    pub poll: Duration,
    /// When it gives up.
    pub limit: Duration,
}

impl Default for Patience {
    /// As performance tests of clouds poll (2 s), and as long as tempest waits (300 s).
    fn default() -> Self {
        Patience { poll: Duration::from_secs(2), limit: Duration::from_secs(300) }
    }
}

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

/// Polls nova until the attachment is gone: as patiently as `wait` says.
pub async fn wait_detached(
    port: &Port,
    server: &InstanceId,
    volume: &VolumeId,
    wait: Patience,
) -> Waited {
    let end = port.now() + wait.limit;
    loop {
        match port.call(ListVolumeAttachments { server_id: server.clone() }).await {
            Ok(list) if list.iter().all(|a| a.volume_id != *volume) => return Waited::Gone,
            Err(e) if e.http_status() == Some(404) => return Waited::Gone,
            // A poll that fails says nothing; the next one may.
            Ok(_) | Err(_) => {}
        }
        if !pause(port, wait.poll, end).await {
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
    attach_at(port, server, volume, MICROVERSION).await
}

/// The same at another microversion: a multiattach volume needs 2.60.
pub async fn attach_at(
    port: &Port,
    server: &InstanceId,
    volume: &VolumeId,
    microversion: Microversion,
) -> Result<Option<VolumeAttachment>, Failure> {
    let (server_id, volume_id) = (server.clone(), volume.clone());
    let options = AttachOptions::default();
    port.call(CreateVolumeAttachment { server_id, volume_id, options, microversion }).await
}

/// `openstack server delete`: the DELETE alone.
pub async fn delete_server(port: &Port, server: &InstanceId) -> Result<(), Failure> {
    port.call(DeleteServer { server_id: server.clone() }).await
}

/// `openstack server reboot`, `stop`, `start`, …: the POST alone.
pub async fn server_action(
    port: &Port,
    server: &InstanceId,
    action: ServerAction,
) -> Result<(), Failure> {
    port.call(PostServerAction { server_id: server.clone(), action }).await
}

/// Sleeps until the next poll; false when that would be after the end.
async fn pause(port: &Port, poll: Duration, end: castoff_ports::SimTime) -> bool {
    port.now() + poll <= end && port.sleep(poll).await.is_ok()
}
