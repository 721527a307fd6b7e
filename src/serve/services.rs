//! What stands behind the three ports of a cloud: keystone and cinder are models, nova-api is
//! the pipeline.

use std::rc::Rc;

use castoff_model::wire;
use castoff_model::wire::nova::{nova_answer, nova_request};
use castoff_pipeline::nova_api;
use castoff_ports::{Auth, Process, nova};
use castoff_scenarios::Standing;
use castoff_sim::properties::Watched;
use http::{HeaderValue, Request, Response};
use serde_json::Value;

use super::cloud::Cloud;
use super::http::Died;

type Answered = Result<Response<Vec<u8>>, Died>;

/// Where the models say that services are: the hosts of `network`.
const MODELLED: [&str; 3] = ["http://keystone:5000", "http://nova-api:8774", "http://cinder:8776"];

/// Where the services are here, by where the models say they are: catalog and links.
#[derive(Clone)]
pub(super) struct Endpoints(Rc<[String; 3]>);

impl Endpoints {
    /// Endpoints at these three base URLs.
    pub(super) fn new(identity: &str, compute: &str, volume: &str) -> Endpoints {
        Endpoints(Rc::new([identity, compute, volume].map(str::to_owned)))
    }

    /// The response with the URLs of this machine.
    pub(super) fn localize(&self, response: Response<Vec<u8>>) -> Response<Vec<u8>> {
        let (mut parts, body) = response.into_parts();
        for value in parts.headers.values_mut() {
            if let Ok(text) = value.to_str()
                && text.contains("http://")
                && let Ok(local) = HeaderValue::from_str(&self.replaced(text))
            {
                *value = local;
            }
        }
        let body = match String::from_utf8(body) {
            Ok(text) if text.contains("http://") => self.replaced(&text).into_bytes(),
            Ok(text) => text.into_bytes(),
            Err(e) => e.into_bytes(),
        };
        Response::from_parts(parts, body)
    }

    fn replaced(&self, text: &str) -> String {
        let pairs = MODELLED.iter().zip(self.0.iter());
        pairs.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// Keystone.
pub(super) fn keystone(cloud: &Rc<Cloud>, request: &Request<Vec<u8>>) -> Answered {
    Ok(offered(cloud.with_world(|world, now| wire::keystone(world, now, request))))
}

/// A catalog without the services that nobody serves here (image, network, placement): a client
/// that finds none of a service does without, one that cannot reach it gives up.
fn offered(response: Response<Vec<u8>>) -> Response<Vec<u8>> {
    let (parts, body) = response.into_parts();
    let Ok(mut document) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(parts, body);
    };
    for path in ["/token/catalog", "/catalog"] {
        if let Some(services) = document.pointer_mut(path).and_then(Value::as_array_mut) {
            services.retain(|service| {
                let url = service.pointer("/endpoints/0/url").and_then(Value::as_str);
                url.is_some_and(|url| MODELLED.iter().any(|host| url.starts_with(host)))
            });
        }
    }
    Response::from_parts(parts, document.to_string().into_bytes())
}

/// Cinder.
pub(super) fn cinder(cloud: &Rc<Cloud>, request: &Request<Vec<u8>>) -> Answered {
    Ok(cloud.with_world(|world, now| wire::cinder(world, now, request)))
}

/// nova-api, in a task of its process: it dies with it.
pub(super) async fn nova(cloud: Rc<Cloud>, request: Request<Vec<u8>>) -> Answered {
    let (call, auth, _) = match nova_request(&request) {
        Ok(parsed) => parsed,
        Err(refusal) => return Ok(nova_answer(&request, Err(refusal))),
    };
    let id = cloud.next_request();
    let detach = match &call {
        nova::Call::DeleteVolumeAttachment(c) => Some((c.server_id.clone(), c.volume_id.clone())),
        _ => None,
    };
    // Only the user's own token counts at nova's door.
    let auth = Auth { token: auth.token, service_token: None };
    let port = cloud.port(Process::NovaApi, id, auth);
    let process = cloud.process(Process::NovaApi);
    let work =
        cloud.spawn(Process::NovaApi, id, async move { nova_api(&process, &port, call).await });
    let result = work.await.map_err(|_| Died)?;
    cloud.archive();
    if let (Ok(_), Some((instance, volume))) = (&result, detach) {
        let (by, accepted) = (Standing::Member, Some(true));
        cloud.watch(Watched { request: id, instance, volume, by, accepted });
    }
    Ok(nova_answer(&request, result))
}
