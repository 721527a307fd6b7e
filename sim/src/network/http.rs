//! HTTP/1.1 between turmoil hosts: a client with kept connections, and a server.
//!
//! hyper alone, without axum: handlers here hold the run's `Rc`s, which axum's `Send` bound
//! excludes, and one pure function a service does the routing.

use std::cell::RefCell;
use std::rc::Rc;

use ::http::{Request, Response};
use bytes::Bytes;
use castoff_ports::Failure;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use turmoil::net::{TcpListener, TcpStream};

/// Port of every HTTP service.
pub(super) const PORT: u16 = 80;

type Sender = SendRequest<Full<Bytes>>;

/// A process's kept connections.
#[derive(Default)]
pub(super) struct Connections(RefCell<Vec<(&'static str, Sender)>>);

impl Connections {
    /// Forgets all connections.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    fn kept(&self, to: &'static str) -> Option<Sender> {
        let mut kept = self.0.borrow_mut();
        kept.retain(|(_, s)| !s.is_closed());
        let i = kept.iter().position(|(host, s)| *host == to && s.is_ready())?;
        Some(kept.remove(i).1)
    }

    async fn sender(&self, to: &'static str) -> Option<Sender> {
        if let Some(sender) = self.kept(to) {
            return Some(sender);
        }
        let stream = TcpStream::connect((to, PORT)).await.ok()?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::task::spawn_local(async move {
            // A broken connection shows at the request that uses it.
            let _ = connection.await;
        });
        Some(sender)
    }

    /// Sends a request and waits for the whole response.
    pub(super) async fn request(
        &self,
        to: &'static str,
        system: &'static str,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Failure> {
        let Some(mut sender) = self.sender(to).await else {
            return Err(Failure::Unreachable { system: system.to_owned() });
        };
        let no_reply = || Failure::NoReply { system: system.to_owned() };
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(::http::header::HOST, ::http::HeaderValue::from_static(to));
        let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
        let response = sender.send_request(request).await.map_err(|_| no_reply())?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| no_reply())?.to_bytes();
        self.0.borrow_mut().push((to, sender));
        Ok(Response::from_parts(parts, body.to_vec()))
    }
}

/// Serves every connection to this host with `handle`, for ever.
pub(super) async fn serve<F, Fut>(handle: F) -> turmoil::Result
where
    F: Fn(Request<Vec<u8>>) -> Fut + Clone + 'static,
    Fut: Future<Output = Response<Vec<u8>>> + 'static,
{
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let handle = Rc::new(handle.clone());
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let handle = handle.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let response = handle(Request::from_parts(parts, body.to_vec())).await;
                    let (parts, body) = response.into_parts();
                    Ok::<_, hyper::Error>(Response::from_parts(parts, Full::new(Bytes::from(body))))
                }
            });
            // The date header would read the machine's clock. A client that goes away in the
            // middle ends its connection only.
            let _ = hyper::server::conn::http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
