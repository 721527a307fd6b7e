//! The private protocols: a frame is the number of a value, the value stays in memory.
//!
//! What matters of a message on the way between two hosts is whether and when it arrives, and
//! that is turmoil's: a frame that is lost is a value that nobody picks up. Its encoding is not
//! under test here, as the HTTP services' is.

use std::io;
use std::rc::Rc;

use castoff_model::broker::Message;
use castoff_ports::rpc::Method;
use castoff_ports::{Call, CallCx, Failure, Iqn, Portal, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use turmoil::net::TcpStream;

use super::shared::Shared;

/// What a frame stands for.
pub(super) enum Payload {
    /// A question to the conductor or the broker.
    Ask(CallCx, Call),
    /// Its answer.
    Answer(Result<Reply, Failure>),
    /// nova-compute offers to take messages.
    Consume,
    /// A cast for nova-compute.
    Message(Message),
    /// An RPC call for nova-compute.
    Request(u64, CallCx, Method),
    /// Its reply.
    Returned(u64, Result<Reply, Failure>),
    /// The kernel logs in to a target.
    Login(Portal, Iqn),
    /// The target admits it, or not.
    Admitted(bool),
}

/// Sends one frame.
pub(super) async fn send(
    shared: &Shared,
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    payload: Payload,
) -> io::Result<()> {
    let number = shared.next_payload.get() + 1;
    shared.next_payload.set(number);
    shared.payloads.borrow_mut().insert(number, payload);
    stream.write_all(&number.to_be_bytes()).await
}

/// Receives one frame.
pub(super) async fn receive(
    shared: &Shared,
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> io::Result<Payload> {
    let mut number = [0; 8];
    stream.read_exact(&mut number).await?;
    let payload = shared.payloads.borrow_mut().remove(&u64::from_be_bytes(number));
    payload.ok_or_else(|| io::Error::other("a frame arrived twice"))
}

/// One question over a connection of its own.
pub(super) async fn ask(
    shared: &Rc<Shared>,
    to: (&'static str, u16),
    cx: &CallCx,
    call: Call,
) -> Result<Reply, Failure> {
    let system = call.system();
    let unreachable = || Failure::Unreachable { system: system.to_owned() };
    let no_reply = || Failure::NoReply { system: system.to_owned() };
    let mut stream = TcpStream::connect(to).await.map_err(|_| unreachable())?;
    send(shared, &mut stream, Payload::Ask(cx.clone(), call)).await.map_err(|_| no_reply())?;
    match receive(shared, &mut stream).await {
        Ok(Payload::Answer(result)) => result,
        Ok(_) | Err(_) => Err(no_reply()),
    }
}
