//! The frames of the broker, the conductor and the iSCSI links.
//!
//! A cast for nova-compute travels as oslo.messaging's envelope: its JSON, after its length. All
//! else is private: the frame is the number of a value, the value stays in memory. What matters
//! of those is whether and when they arrive, and that is turmoil's: a frame that is lost is a
//! value that nobody picks up.

use std::io;
use std::rc::Rc;

use castoff_model::broker::Message;
use castoff_model::wire::rpc::{Api, Envelope};
use castoff_ports::rpc::Method;
use castoff_ports::{Call, CallCx, Failure, Iqn, Portal, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use turmoil::net::TcpStream;

use super::shared::Shared;
use crate::prepare::compute_host;

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

/// A frame's first byte: an envelope and its length follow, or a value's number.
const ENVELOPE: u8 = 1;
const VALUE: u8 = 0;

/// The longest envelope that is taken; ours have a few hundred bytes.
const MAX_ENVELOPE: u32 = 1 << 20;

/// Sends one frame.
pub(super) async fn send(
    shared: &Shared,
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    payload: Payload,
) -> io::Result<()> {
    let number = shared.next_payload.get() + 1;
    shared.next_payload.set(number);
    match payload {
        Payload::Message(message) => {
            let api = Api::of(shared.world.borrow().release.cinder);
            let body = Envelope::cast(&message, api, number).encode();
            let length = u32::try_from(body.len()).map_err(io::Error::other)?;
            let mut frame = Vec::with_capacity(5 + body.len());
            frame.push(ENVELOPE);
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(&body);
            stream.write_all(&frame).await
        }
        payload => {
            shared.payloads.borrow_mut().insert(number, payload);
            let mut frame = [VALUE; 9];
            frame[1..].copy_from_slice(&number.to_be_bytes());
            stream.write_all(&frame).await
        }
    }
}

/// Receives one frame.
pub(super) async fn receive(
    shared: &Shared,
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> io::Result<Payload> {
    if stream.read_u8().await? == ENVELOPE {
        return envelope(stream).await;
    }
    let number = stream.read_u64().await?;
    let payload = shared.payloads.borrow_mut().remove(&number);
    payload.ok_or_else(|| io::Error::other("a frame arrived twice"))
}

async fn envelope(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Payload> {
    let length = stream.read_u32().await?;
    if length > MAX_ENVELOPE {
        return Err(io::Error::other(format!("an envelope of {length} bytes")));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    // The queue is the compute host's own: its name is the routing key, not in the body.
    let message = Envelope::decode(&body)
        .and_then(|envelope| envelope.message(compute_host()))
        .map_err(io::Error::other)?;
    Ok(Payload::Message(message))
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
