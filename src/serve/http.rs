//! HTTP/1.1 on loopback sockets, with hyper: what is read becomes bytes, what answers is a
//! function on the models.

use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

/// The longest body that is read: no request of these APIs comes near it.
const MAX_BODY: usize = 1 << 20;

/// Why a request gets no answer: the process that worked on it has died.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the process died at work")]
pub(super) struct Died;

/// Serves every connection with `handle`, for ever; `is_up` says whether anybody listens.
pub(super) async fn serve<F, Fut>(listener: TcpListener, is_up: impl Fn() -> bool, handle: F)
where
    F: Fn(Request<Vec<u8>>) -> Fut + 'static,
    Fut: Future<Output = Result<Response<Vec<u8>>, Died>> + 'static,
{
    let handle = Rc::new(handle);
    loop {
        // What accept reports (a connection reset in the queue, no file descriptor left) passes.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        if is_up() {
            spawn_local(connection(stream, handle.clone()));
        }
    }
}

async fn connection<F, Fut>(stream: TcpStream, handle: Rc<F>)
where
    F: Fn(Request<Vec<u8>>) -> Fut + 'static,
    Fut: Future<Output = Result<Response<Vec<u8>>, Died>> + 'static,
{
    // Small answers to small questions: without it each may wait for the other's acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let handle = handle.clone();
        async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
                return Ok(too_large());
            };
            let request = Request::from_parts(parts, body.to_bytes().to_vec());
            let (parts, body) = (*handle)(request).await?.into_parts();
            Ok::<_, Died>(Response::from_parts(parts, Full::new(Bytes::from(body))))
        }
    });
    // A client that goes away, or a process that died at work, ends its connection only.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn too_large() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"request body too large\n")));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}
