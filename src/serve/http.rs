//! HTTP/1.1 on loopback sockets, with hyper: what is read becomes bytes, what answers is a
//! function on the models.
//!
//! Whoever is at the other end gets an answer or a closed connection within seconds, and leaves
//! nothing behind: bodies, the time to send a request, and connections have limits.

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

/// The longest body that is read: no request of these APIs comes near it. oslo.middleware's
/// `max_request_body_size` is less.
const MAX_BODY: usize = 1 << 20;

/// So long may a request's head take, and the silence before it: Apache httpd, which stands
/// before these APIs in many clouds, waits as long (KeepAliveTimeout).
const HEAD_TIME: Duration = Duration::from_secs(5);

/// So long may a body take: even the longest crosses a loopback in milliseconds.
const BODY_TIME: Duration = Duration::from_secs(5);

/// The most connections of one port. Four ports stay under the usual limit of 1024 open files.
const MAX_CONNECTIONS: usize = 200;

/// After accept has failed: without file descriptors it fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Why a request gets no answer: the process that worked on it has died.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the process died at work")]
pub(super) struct Died;

/// One of a port's connections; it counts as long as it lives.
struct Place(Rc<Cell<usize>>);

impl Place {
    /// Nothing when all places are taken.
    fn take(open: &Rc<Cell<usize>>) -> Option<Place> {
        if open.get() == MAX_CONNECTIONS {
            return None;
        }
        open.set(open.get() + 1);
        Some(Place(open.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Serves every connection with `handle`, for ever; `is_up` says whether anybody listens.
pub(super) async fn serve<F, Fut>(listener: TcpListener, is_up: impl Fn() -> bool, handle: F)
where
    F: Fn(Request<Vec<u8>>) -> Fut + 'static,
    Fut: Future<Output = Result<Response<Vec<u8>>, Died>> + 'static,
{
    let handle = Rc::new(handle);
    let open = Rc::new(Cell::new(0));
    loop {
        // What accept reports (a connection reset in the queue, no file descriptor left) passes.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // One too many is closed at once: in the queue it would wait for nobody knows how long.
        if is_up()
            && let Some(place) = Place::take(&open)
        {
            let handle = handle.clone();
            spawn_local(async move {
                connection(stream, handle).await;
                drop(place);
            });
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
            let body = match read(body).await {
                Ok(body) => body,
                Err(status) => return Ok(refused(status)),
            };
            let request = Request::from_parts(parts, body);
            let (parts, body) = (*handle)(request).await?.into_parts();
            Ok::<_, Died>(Response::from_parts(parts, Full::new(Bytes::from(body))))
        }
    });
    // A client that goes away, or a process that died at work, ends its connection only.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// The whole body, or the status that says why not.
async fn read(body: Incoming) -> Result<Vec<u8>, StatusCode> {
    // Who announces too much is told before sending it.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) => Err(status_of(&*error)),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

fn status_of(error: &(dyn Error + 'static)) -> StatusCode {
    if error.is::<LengthLimitError>() {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// What is left of the body is never read: the connection is of no further use.
fn refused(status: StatusCode) -> Response<Full<Bytes>> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(format!("{reason}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
