//! The door to nova-api: the one place where a session's nova steps are answered.

use http::{Request, Response};

use super::cloud::Cloud;

/// nova-api's answer to a request; none while nobody plays nova-api, and the step is skipped.
///
/// The request's path is without the endpoint, its ids and its token are ours. `cloud.label` and
/// `cloud.session` say which step it is; `cloud.world` and `cloud.now` are the cloud's.
pub(crate) fn nova(cloud: &mut Cloud, request: &Request<Vec<u8>>) -> Option<Response<Vec<u8>>> {
    let _ = (cloud, request);
    None
}
