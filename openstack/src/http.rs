//! Keystone and cinder over HTTP: the requests and answers are `castoff_model::wire::client`'s, the
//! connections `castoff_transport`'s, as on the network binding.

use std::rc::Rc;

use ::http::{HeaderName, HeaderValue, Request, Uri};
use castoff_model::wire::client;
use castoff_ports::{Call, CallCx, Failure, Refusal, Reply, keystone};
use castoff_transport::{Connect, Connections};
use tokio::net::TcpStream;

use crate::{Clock, Requests};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// `[cinder]timeout` of nova.conf: how long an answer is waited for; for ever by default.
pub type Timeout = Option<std::time::Duration>;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`.
    authority: String,
    /// What comes before `/v3` in every path; empty on a port of its own.
    prefix: String,
}

/// Why a URL is no endpoint; the URL itself may have a password in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no endpoint: {reason}")]
pub struct BadEndpoint {
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Endpoint {
    /// Reads `http://host:port`, with or without `/v3` and a project behind it, as a catalog has it.
    ///
    /// # Errors
    /// No `http` URL: TLS is a proxy's work here.
    pub fn parse(url: &str) -> Result<Endpoint, BadEndpoint> {
        let bad = |reason| BadEndpoint { reason };
        let uri: Uri = url.parse().map_err(|_| bad("it is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("it needs to be http://"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it has a user in it"));
        }
        let port = uri.port_u16().unwrap_or(80);
        let path = uri.path();
        let prefix = path.find("/v3").map_or(path, |at| &path[..at]).trim_end_matches('/');
        let authority = format!("{}:{port}", authority.host());
        Ok(Endpoint { authority, prefix: prefix.to_owned() })
    }
}

/// The kernel's sockets.
#[derive(Default)]
struct Tcp;

impl Connect for Tcp {
    type Stream = TcpStream;
    const KEEP: bool = false;

    async fn connect(&self, host: &str) -> std::io::Result<TcpStream> {
        TcpStream::connect(host).await
    }
}

/// A client of keystone and cinder.
pub struct HttpClient {
    keystone: Endpoint,
    cinder: Endpoint,
    connections: Connections<Tcp>,
    clock: Clock,
    requests: Rc<Requests>,
    timeout: Timeout,
}

impl HttpClient {
    /// A client of these two.
    pub fn new(
        keystone: Endpoint,
        cinder: Endpoint,
        clock: Clock,
        requests: Rc<Requests>,
        timeout: Timeout,
    ) -> HttpClient {
        let connections = Connections::new(Tcp);
        HttpClient { keystone, cinder, connections, clock, requests, timeout }
    }

    /// Carries out one operation of keystone or cinder.
    ///
    /// # Errors
    /// What the service refused in its own words; [`Failure::Unreachable`] and [`Failure::NoReply`].
    pub async fn call(&self, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        let unsupported = || Refusal::Unsupported { operation: call.name().to_owned() };
        let endpoint = match &call {
            Call::Keystone(_) => &self.keystone,
            Call::Cinder(_) => &self.cinder,
            Call::Nova(_)
            | Call::NovaDb(_)
            | Call::Rpc(_)
            | Call::Libvirt(_)
            | Call::Iscsi(_)
            | Call::Host(_)
            | Call::Runtime(_) => return Err(unsupported().into()),
        };
        let mut request = client::encode(&call, cx).ok_or_else(unsupported)?;
        self.adapt(cx, endpoint, &mut request).ok_or_else(unsupported)?;
        let asking = self.connections.request(&endpoint.authority, call.system(), request);
        let response = match self.timeout {
            None => asking.await?,
            Some(limit) => tokio::time::timeout(limit, asking)
                .await
                .map_err(|_| Failure::NoReply { system: call.system().to_owned() })??,
        };
        Ok(self.in_run(client::decode(&call, response)?))
    }

    /// The path behind the endpoint's own; the request's name instead of its number.
    fn adapt(&self, cx: &CallCx, to: &Endpoint, request: &mut Request<Vec<u8>>) -> Option<()> {
        let path = request.uri().path_and_query()?.as_str();
        *request.uri_mut() = format!("{}{path}", to.prefix).parse().ok()?;
        let name = HeaderValue::from_str(&self.requests.name(cx.request)).ok()?;
        request.headers_mut().insert(REQUEST_ID, name);
        request
            .headers_mut()
            .insert(::http::header::ACCEPT, HeaderValue::from_static("application/json"));
        Some(())
    }

    /// A token's expiry is a date; stations compare it with the run's time.
    fn in_run(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Keystone(keystone::Reply::CreateToken(mut issued)) => {
                issued.info.expires_at = self.clock.in_run(issued.info.expires_at);
                Reply::Keystone(keystone::Reply::CreateToken(issued))
            }
            Reply::Keystone(keystone::Reply::ValidateToken(mut info)) => {
                info.expires_at = self.clock.in_run(info.expires_at);
                Reply::Keystone(keystone::Reply::ValidateToken(info))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_what_a_catalog_has() {
        let at = |authority: &str, prefix: &str| {
            Ok(Endpoint { authority: authority.to_owned(), prefix: prefix.to_owned() })
        };
        assert_eq!(Endpoint::parse("http://127.0.0.1:5000"), at("127.0.0.1:5000", ""));
        // What a catalog has before keystone has put the project in.
        assert_eq!(Endpoint::parse("http://c:8776/v3/%(project_id)s"), at("c:8776", ""));
        assert_eq!(Endpoint::parse("http://c:8776/v3/0123abcd"), at("c:8776", ""));
        assert_eq!(Endpoint::parse("http://c/identity/v3"), at("c:80", "/identity"));
        assert!(Endpoint::parse("https://c:5000").is_err());
        for url in ["http://nova:pw@c:5000", "https://nova:pw@c", "nova:pw@"] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
