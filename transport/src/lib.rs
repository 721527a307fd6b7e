//! The client's side of HTTP/1.1, over whatever carries bytes: turmoil's sockets or a kernel's.
//!
//! What is said over it is `castoff_model::wire::client`'s; this crate only brings a request to a
//! host and the whole response back, and says which of the two failed. On a `current_thread`
//! runtime, inside a `LocalSet` (turmoil's hosts are such).

use std::cell::RefCell;

use bytes::Bytes;
use castoff_ports::Failure;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// How a connection to a host is made.
pub trait Connect {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Whether a connection is kept for the next request. A server closes a kept one when it likes,
    /// and the request that meets this is one whose effect is not known; so to a server whose
    /// patience is not known, each request has a connection of its own.
    const KEEP: bool;

    /// Connects to `host`, which is `name` or `name:port`.
    fn connect(&self, host: &str) -> impl Future<Output = std::io::Result<Self::Stream>>;
}

type Sender = SendRequest<Full<Bytes>>;

/// A client's connections.
#[derive(Default)]
pub struct Connections<C> {
    connect: C,
    kept: RefCell<Vec<(String, Sender)>>,
}

impl<C: Connect> Connections<C> {
    /// A client that has no connection yet.
    pub fn new(connect: C) -> Connections<C> {
        Connections { connect, kept: RefCell::default() }
    }

    /// Forgets all connections.
    pub fn clear(&self) {
        self.kept.borrow_mut().clear();
    }

    fn kept(&self, to: &str) -> Option<Sender> {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|(_, s)| !s.is_closed());
        let i = kept.iter().position(|(host, s)| host == to && s.is_ready())?;
        Some(kept.remove(i).1)
    }

    async fn sender(&self, to: &str) -> Option<Sender> {
        if let Some(sender) = self.kept(to) {
            return Some(sender);
        }
        let stream = self.connect.connect(to).await.ok()?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::task::spawn_local(async move {
            // A broken connection shows at the request that uses it.
            let _ = connection.await;
        });
        Some(sender)
    }

    /// Sends a request to `host` and waits for the whole response.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] of `system` without a connection, [`Failure::NoReply`] when it broke:
    /// then the request may have had its effect.
    pub async fn request(
        &self,
        host: &str,
        system: &str,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Failure> {
        let unreachable = || Failure::Unreachable { system: system.to_owned() };
        let no_reply = || Failure::NoReply { system: system.to_owned() };
        let (mut parts, body) = request.into_parts();
        let name = HeaderValue::from_str(host).map_err(|_| unreachable())?;
        parts.headers.insert(http::header::HOST, name);
        let mut sender = self.sender(host).await.ok_or_else(unreachable)?;
        let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
        let response = sender.send_request(request).await.map_err(|_| no_reply())?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| no_reply())?.to_bytes();
        if C::KEEP {
            self.kept.borrow_mut().push((host.to_owned(), sender));
        }
        Ok(Response::from_parts(parts, body.to_vec()))
    }
}
