//! What users do, on any binding: take a token, ask nova, look whether it is done.

use std::time::Duration;

use castoff_pipeline::client::{self, User};
use castoff_ports::nova::ServerAction;
use castoff_ports::{Failure, InstanceId, Port, RequestId, VolumeId};

/// A user looks every five seconds, for five minutes: nova's attachments, as a careful client does.
const PATIENCE: client::Patience =
    client::Patience { poll: Duration::from_secs(5), limit: Duration::from_secs(300) };

/// What a user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The volume detached.
    Detach,
    /// The volume attached.
    Attach,
    /// The server deleted, and its volumes with it.
    DeleteServer,
    /// The server rebooted, HARD.
    HardReboot,
    /// The server powered off.
    Stop,
    /// The server powered on.
    Start,
}

/// One user's part in a run.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its request.
    pub request: RequestId,
    /// What.
    pub task: Task,
    /// Which server.
    pub server: InstanceId,
    /// Which volume.
    pub volume: VolumeId,
    /// Who.
    pub user: User,
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
    /// Plays the part; `tell` hears nova's answer as soon as it is there.
    pub async fn play(self, port: Port, tell: impl Fn(Answer)) {
        let request = self.request;
        let tell = |result| tell(Answer { request, result });
        if !self.at.is_zero() && port.sleep(self.at).await.is_err() {
            return;
        }
        let auth = match client::authenticate(&port, &self.user).await {
            Ok(auth) => auth,
            Err(failure) => return tell(Err(failure)),
        };
        let port = port.with_auth(auth);
        match self.task {
            Task::Detach => {
                let result = client::detach(&port, &self.server, &self.volume).await;
                let accepted = result.is_ok();
                tell(result);
                if accepted {
                    // What the user sees in the end is judged on the world, not here.
                    let _ =
                        client::wait_detached(&port, &self.server, &self.volume, PATIENCE).await;
                }
            }
            Task::DeleteServer => tell(client::delete_server(&port, &self.server).await),
            Task::HardReboot => {
                let reboot = ServerAction::Reboot { hard: true };
                tell(client::server_action(&port, &self.server, reboot).await);
            }
            Task::Stop => {
                tell(client::server_action(&port, &self.server, ServerAction::Stop).await);
            }
            Task::Start => {
                tell(client::server_action(&port, &self.server, ServerAction::Start).await);
            }
            Task::Attach => {
                let result = client::attach(&port, &self.server, &self.volume).await;
                tell(result.map(drop));
            }
        }
    }
}
