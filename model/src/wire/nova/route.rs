//! Which operation a method and a path ask for.

use castoff_ports::Refusal;
use castoff_ports::nova::{
    Call, CreateVolumeAttachment, DeleteServer, DeleteVolumeAttachment, GetFlavors, GetVersions,
    ListInstanceActions, ListServers, ListServices, ListVolumeAttachments, Microversion,
    PostServerAction, ShowInstanceAction, ShowServer, ShowVolumeAttachment, UpdateVolumeAttachment,
};
use http::{Method, Request};

use super::{flavor, schema};
use crate::wire::message::{NO_RESOURCE, parse_request_id};

/// Collections that may follow `/v2.1`; anything else there is a project's id.
const COLLECTIONS: [&str; 3] = ["servers", "os-services", "flavors"];

/// Reads what a request asks for.
pub(super) fn call(
    request: &Request<Vec<u8>>,
    microversion: Microversion,
) -> Result<Call, Refusal> {
    let no_resource = || Refusal::http(404, NO_RESOURCE);
    let mut segments: Vec<&str> =
        request.uri().path().split('/').filter(|s| !s.is_empty()).collect();
    let method = request.method();
    match segments.as_slice() {
        [] | ["v2.1"] if method == Method::GET => return Ok(Call::GetVersions(GetVersions {})),
        ["v2.1", ..] => segments.remove(0),
        _ => return Err(no_resource()),
    };
    // `/v2.1/{project}/servers` means the same; the token has the project.
    if segments.len() > 1 && !COLLECTIONS.contains(&segments[0]) {
        segments.remove(0);
    }
    match segments.as_slice() {
        ["servers", server, "os-volume_attachments", rest @ ..] => {
            attachments(request, microversion, server, rest)
        }
        ["servers", server, "os-instance-actions"] if method == Method::GET => {
            Ok(Call::ListInstanceActions(ListInstanceActions { server_id: (*server).into() }))
        }
        ["servers", server, "os-instance-actions", id] if method == Method::GET => {
            let request_id = parse_request_id(id).ok_or_else(|| {
                Refusal::http(
                    404,
                    format!("Action for request_id {id} on instance {server} not found"),
                )
            })?;
            Ok(Call::ShowInstanceAction(ShowInstanceAction {
                server_id: (*server).into(),
                request_id,
            }))
        }
        ["servers"] | ["servers", "detail"] if method == Method::GET => {
            let query = request.uri().query().unwrap_or_default();
            let all = ["all_tenants=1", "all_tenants=True", "all_tenants=true", "all_tenants"];
            let all_tenants = query.split('&').any(|pair| all.contains(&pair));
            Ok(Call::ListServers(ListServers { all_tenants }))
        }
        ["servers", server] if method == Method::GET => {
            Ok(Call::ShowServer(ShowServer { server_id: (*server).into() }))
        }
        ["servers", server] if method == Method::DELETE => {
            Ok(Call::DeleteServer(DeleteServer { server_id: (*server).into() }))
        }
        ["servers", server, "action"] if method == Method::POST => {
            Ok(Call::PostServerAction(PostServerAction {
                server_id: (*server).into(),
                action: schema::action(request.body(), microversion)?,
            }))
        }
        ["flavors"] | ["flavors", "detail" | flavor::ID] if method == Method::GET => {
            Ok(Call::GetFlavors(GetFlavors {}))
        }
        ["flavors", id] if method == Method::GET => {
            Err(Refusal::http(404, format!("Flavor {id} could not be found.")))
        }
        ["os-services"] if method == Method::GET => Ok(Call::ListServices(ListServices {})),
        _ => Err(no_resource()),
    }
}

fn attachments(
    request: &Request<Vec<u8>>,
    microversion: Microversion,
    server: &str,
    rest: &[&str],
) -> Result<Call, Refusal> {
    let (server_id, body) = (server.into(), request.body());
    match (request.method(), rest) {
        (&Method::GET, []) => Ok(Call::ListVolumeAttachments(ListVolumeAttachments { server_id })),
        (&Method::POST, []) => {
            let (volume_id, options) = schema::create(body, microversion)?;
            Ok(Call::CreateVolumeAttachment(CreateVolumeAttachment {
                server_id,
                volume_id,
                options,
                microversion,
            }))
        }
        (&Method::GET, [volume]) => Ok(Call::ShowVolumeAttachment(ShowVolumeAttachment {
            server_id,
            volume_id: (*volume).into(),
        })),
        (&Method::PUT, [volume]) => {
            let update = schema::update(body, microversion)?;
            Ok(Call::UpdateVolumeAttachment(UpdateVolumeAttachment {
                server_id,
                volume_id: (*volume).into(),
                new_volume_id: update.volume_id,
                delete_on_termination: update.delete_on_termination,
                microversion,
            }))
        }
        (&Method::DELETE, [volume]) => Ok(Call::DeleteVolumeAttachment(DeleteVolumeAttachment {
            server_id,
            volume_id: (*volume).into(),
            microversion,
        })),
        _ => Err(Refusal::http(404, NO_RESOURCE)),
    }
}
