//! HTTP/1.1 between turmoil hosts: the client is castoff_transport's, the server is here.
//!
//! hyper alone, without axum: handlers here hold the run's `Rc`s, which axum's `Send` bound
//! excludes, and one pure function a service does the routing.

use std::rc::Rc;

use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use turmoil::net::{TcpListener, TcpStream};

/// Port of every HTTP service.
pub(super) const PORT: u16 = 80;

/// Connections of a process to the services' hosts.
pub(super) type Connections = castoff_transport::Connections<Hosts>;

/// turmoil's hosts, by their names.
#[derive(Default)]
pub(super) struct Hosts;

impl castoff_transport::Connect for Hosts {
    type Stream = TcpStream;
    const KEEP: bool = true;

    async fn connect(&self, host: &str) -> std::io::Result<TcpStream> {
        TcpStream::connect((host, PORT)).await
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
