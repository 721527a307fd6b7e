//! What users and administrators do, on any binding: take a token, ask nova or cinder, look
//! whether it is done.

use std::time::Duration;

use castoff_pipeline::client::{self, User};
use castoff_ports::cinder::{
    AttachStatus, AttachmentDelete, DeleteVolume, ForceDetach, GetVolume, ResetStatus, VolumeStatus,
};
use castoff_ports::nova::{DeleteVolumeAttachment, Microversion, ServerAction};
use castoff_ports::{Failure, InstanceId, Port, RequestId, VolumeId};
use castoff_scenarios::{Action, Standing};

/// A user looks every five seconds, for five minutes: nova's attachments, as a careful client does.
const PATIENCE: client::Patience =
    client::Patience { poll: Duration::from_secs(5), limit: Duration::from_secs(300) };

/// How often a script that waits for a volume looks at cinder.
const VOLUME_POLL: Duration = Duration::from_secs(1);

/// How long a package update leaves nova-compute stopped.
const COMPUTE_STARTS_AFTER: Duration = Duration::from_secs(10);

/// One user's part in a run.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its request.
    pub request: RequestId,
    /// What.
    pub action: Action,
    /// Which server.
    pub server: InstanceId,
    /// Which volume.
    pub volume: VolumeId,
    /// Who.
    pub user: User,
    /// What that user is to the server's project.
    pub by: Standing,
    /// At which microversion it attaches or detaches.
    pub microversion: Microversion,
    /// From the start of the run.
    pub at: Duration,
}

/// What nova answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The request.
    pub request: RequestId,
    /// Accepted, or why not.
    pub result: Result<(), Failure>,
}

impl Script {
    /// Plays the part; `tell` hears the answer as soon as it is there, `restart_compute` stops
    /// nova-compute and starts it again so much later.
    pub async fn play(self, port: Port, tell: impl Fn(Answer), restart_compute: impl Fn(Duration)) {
        let request = self.request;
        let tell = |result| tell(Answer { request, result });
        if !self.at.is_zero() && port.sleep(self.at).await.is_err() {
            return;
        }
        if self.action == Action::RestartCompute {
            restart_compute(COMPUTE_STARTS_AFTER);
            return tell(Ok(()));
        }
        let auth = match client::authenticate(&port, &self.user).await {
            Ok(auth) => auth,
            Err(failure) => return tell(Err(failure)),
        };
        self.act(&port.with_auth(auth), tell).await;
    }

    async fn detach(&self, port: &Port) -> Result<(), Failure> {
        let (server_id, volume_id) = (self.server.clone(), self.volume.clone());
        let microversion = self.microversion;
        port.call(DeleteVolumeAttachment { server_id, volume_id, microversion }).await
    }

    async fn attach(&self, port: &Port) -> Result<(), Failure> {
        client::attach_at(port, &self.server, &self.volume, self.microversion).await.map(drop)
    }

    async fn act(self, port: &Port, tell: impl Fn(Result<(), Failure>)) {
        let (server, volume) = (&self.server, &self.volume);
        let volume_id = volume.clone();
        let reset = |status: VolumeStatus, attach_status: Option<AttachStatus>| {
            let volume_id = volume.clone();
            port.call(ResetStatus { volume_id, status: Some(status), attach_status })
        };
        match self.action {
            Action::Detach => {
                let result = self.detach(port).await;
                let accepted = result.is_ok();
                tell(result);
                if accepted {
                    // What the user sees in the end is judged on the world, not here.
                    let _ = client::wait_detached(port, server, volume, PATIENCE).await;
                }
            }
            Action::Attach => tell(self.attach(port).await),
            Action::AttachWhenAvailable => {
                if wait_available(port, volume).await {
                    tell(self.attach(port).await);
                }
            }
            Action::DeleteVolume => {
                if wait_available(port, volume).await {
                    tell(port.call(DeleteVolume { volume_id }).await);
                }
            }
            Action::ResetToAvailable => {
                tell(reset(VolumeStatus::Available, Some(AttachStatus::Detached)).await);
            }
            Action::ResetToInUse => {
                tell(reset(VolumeStatus::InUse, Some(AttachStatus::Attached)).await);
            }
            Action::ResetToError => tell(reset(VolumeStatus::Error, None).await),
            Action::ForceDetach => {
                let call = ForceDetach { volume_id, attachment_id: None, connector: None };
                tell(port.call(call).await);
            }
            Action::DeleteServer => tell(client::delete_server(port, server).await),
            Action::HardReboot | Action::SoftReboot => {
                let reboot = ServerAction::Reboot { hard: self.action == Action::HardReboot };
                tell(client::server_action(port, server, reboot).await);
            }
            Action::Stop => tell(client::server_action(port, server, ServerAction::Stop).await),
            Action::Start => tell(client::server_action(port, server, ServerAction::Start).await),
            Action::Shelve => {
                tell(client::server_action(port, server, ServerAction::Shelve).await);
            }
            Action::Unshelve => {
                tell(client::server_action(port, server, ServerAction::Unshelve).await);
            }
            Action::Suspend => {
                tell(client::server_action(port, server, ServerAction::Suspend).await);
            }
            Action::Resume => {
                tell(client::server_action(port, server, ServerAction::Resume).await);
            }
            Action::Lock => {
                let lock = ServerAction::Lock { reason: None };
                tell(client::server_action(port, server, lock).await);
            }
            Action::Unlock => {
                tell(client::server_action(port, server, ServerAction::Unlock).await);
            }
            Action::DeleteAttachment => tell(delete_attachment(port, server, volume).await),
            // Nobody is asked for it: play has done it.
            Action::RestartCompute => {}
        }
    }
}

/// Past nova: what cinder shows of the volume says which attachment it is.
async fn delete_attachment(
    port: &Port,
    server: &InstanceId,
    volume: &VolumeId,
) -> Result<(), Failure> {
    let look = GetVolume { volume_id: volume.clone(), microversion: 0 };
    let shown = port.call(look).await?;
    match shown.attachments.into_iter().find(|a| a.server_id == *server) {
        Some(row) => port.call(AttachmentDelete { attachment_id: row.attachment_id }).await,
        None => Ok(()),
    }
}

/// Polls cinder until the volume is `available`; false when it is gone or patience ends.
async fn wait_available(port: &Port, volume: &VolumeId) -> bool {
    let end = port.now() + PATIENCE.limit;
    loop {
        let look = GetVolume { volume_id: volume.clone(), microversion: 0 };
        match port.call(look).await {
            Ok(found) if found.status == VolumeStatus::Available => return true,
            Err(e) if e.http_status() == Some(404) => return false,
            // A poll that fails says nothing; the next one may.
            Ok(_) | Err(_) => {}
        }
        if port.now() + VOLUME_POLL > end || port.sleep(VOLUME_POLL).await.is_err() {
            return false;
        }
    }
}
