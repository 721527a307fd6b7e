//! nova-api: from a request of a user to a cast to nova-compute.
//!
//! - [`request`]: caller, server, policy, and how an exception becomes a status.
//! - [`volume_attachments`]: the controller: the checks of the API and every status of matrix A16.
//! - [`compute_api`]: `nova.compute.api.API`, detach.
//! - `begin`: os-begin_detaching whose outcome is not known.
//! - [`attach`]: its attach half, with the conductor's steps.
//! - [`shelved`]: servers without a host: nova-api does it all.
//! - [`cells_api`]: `ComputeCellsAPI`, where cells v1 is configured.
//! - [`servers`], [`instance_actions`]: what users look at.
//! - [`server_delete`]: a server's end, by its host or without it.
//! - [`server_actions`]: lock, pause, suspend, stop, reboot, os-resetState.
//! - [`shelve`]: shelve, shelveOffload, unshelve.

use castoff_ports::{Port, Refusal, nova};

use crate::context::{Context, NovaProcess};
use crate::middleware::auth_token;

pub mod attach;
mod begin;
pub mod cells_api;
pub mod compute_api;
pub mod instance_actions;
pub mod request;
mod reserve;
pub mod server_actions;
pub mod server_delete;
pub mod servers;
pub mod shelve;
pub mod shelved;
pub mod volume_attachments;

/// Serves one request, as whoever `port.cx.auth` says.
///
/// Every refusal is [`Refusal::Http`] with nova's status and message.
pub async fn nova_api(
    process: &NovaProcess,
    port: &Port,
    call: nova::Call,
) -> Result<nova::Reply, Refusal> {
    use nova::{Call, Reply};
    let cx = Context::new(process, port);
    // The version documents lie outside keystonemiddleware.
    if let Call::GetVersions(_) = call {
        return Ok(Reply::GetVersions(()));
    }
    let caller = auth_token::validate(&cx).await?;
    let api = request::Request { cx, caller };
    match call {
        Call::DeleteVolumeAttachment(c) => api.delete(c).await.map(Reply::DeleteVolumeAttachment),
        Call::CreateVolumeAttachment(c) => api.create(c).await.map(Reply::CreateVolumeAttachment),
        Call::UpdateVolumeAttachment(c) => api.update(c).await.map(Reply::UpdateVolumeAttachment),
        Call::ListVolumeAttachments(c) => api.index(c).await.map(Reply::ListVolumeAttachments),
        Call::ShowVolumeAttachment(c) => api.show(c).await.map(Reply::ShowVolumeAttachment),
        Call::ListInstanceActions(c) => api.actions(c).await.map(Reply::ListInstanceActions),
        Call::ShowInstanceAction(c) => api.action(c).await.map(Reply::ShowInstanceAction),
        Call::ListServers(c) => api.servers(c).await.map(Reply::ListServers),
        Call::ShowServer(c) => api.server(c).await.map(Reply::ShowServer),
        Call::PostServerAction(c) => api.server_action(c).await.map(Reply::PostServerAction),
        Call::DeleteServer(c) => api.delete_server(c).await.map(Reply::DeleteServer),
        Call::ListServices(_) => api.services().await.map(Reply::ListServices),
        Call::GetFlavors(_) => Ok(Reply::GetFlavors(())),
        Call::RefuseRequest(c) => Err(Refusal::http(c.status, c.message)),
        Call::GetVersions(_) => Ok(Reply::GetVersions(())),
    }
}
