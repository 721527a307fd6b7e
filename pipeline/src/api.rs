//! nova-api: from a request of a user to a cast to nova-compute.
//!
//! - [`volume_attachments`]: the controller: the checks of the API and every status of matrix A16.
//! - [`compute_api`]: `nova.compute.api.API`, detach.
//! - [`attach`]: its attach half, with the conductor's steps.
//! - [`shelved`]: servers without a host: nova-api does it all.
//! - [`cells_api`]: `ComputeCellsAPI`, where cells v1 is configured.

use castoff_ports::{Port, Refusal, nova};

use crate::context::{Context, NovaProcess};
use crate::middleware::auth_token;

pub mod attach;
pub mod cells_api;
pub mod compute_api;
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
    let cx = Context::new(process, port);
    let caller = auth_token::validate(&cx).await?;
    let api = volume_attachments::Request { cx, caller };
    match call {
        nova::Call::DeleteVolumeAttachment(c) => {
            api.delete(c).await.map(nova::Reply::DeleteVolumeAttachment)
        }
        nova::Call::CreateVolumeAttachment(c) => {
            api.create(c).await.map(nova::Reply::CreateVolumeAttachment)
        }
        nova::Call::ListVolumeAttachments(c) => {
            api.index(c).await.map(nova::Reply::ListVolumeAttachments)
        }
        nova::Call::ListInstanceActions(c) => {
            api.instance_actions(c).await.map(nova::Reply::ListInstanceActions)
        }
    }
}
