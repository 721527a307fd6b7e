//! Casts over a real broker, as oslo.messaging's rabbit driver makes and takes them.
//!
//! Topic exchange `nova`, queue and routing key `compute.<host>`. A message is acknowledged as soon
//! as it has arrived, before it is worked on, and one whose `_unique_id` was just seen is dropped: at
//! most once. The envelope is `castoff_model::wire::rpc`'s. Heartbeats are the library's, at the
//! broker's interval; a lost connection shows as [`Failure::NoReply`], and the caller connects again.

use std::collections::VecDeque;

use castoff_model::wire::rpc::Envelope;
use castoff_ports::{Failure, HostName, Refusal, Secret};
use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};

const SYSTEM: &str = "broker";

/// `control_exchange` of nova.
const EXCHANGE: &str = "nova";

/// oslo.messaging remembers this many message ids.
const REMEMBERED: usize = 16;

/// The queue of a nova-compute.
pub fn queue(server: &HostName) -> String {
    format!("compute.{server}")
}

/// A connection to the broker.
pub struct Broker {
    connection: Connection,
    channel: Channel,
}

/// What arrived.
#[derive(Debug)]
pub enum Delivery {
    /// A message.
    Message(Box<Envelope>),
    /// A body that is none of oslo.messaging's; acknowledged, so that it does not come again.
    Unreadable(String),
}

/// A nova-compute's end of its queue.
pub struct Inbox {
    consumer: lapin::Consumer,
    seen: VecDeque<String>,
}

impl Broker {
    /// Connects to `amqp://user:password@host:port/vhost`; oslo's `rabbit://` is the same.
    ///
    /// # Errors
    /// [`Failure::Unreachable`]: nobody there, or not for this user. The URL is not repeated.
    pub async fn connect(url: &Secret) -> Result<Broker, Failure> {
        let properties = ConnectionProperties::default().with_connection_name("castoff".into());
        let connection = Connection::connect(&amqp_url(url.reveal()), properties)
            .await
            .map_err(|_| Failure::Unreachable { system: SYSTEM.to_owned() })?;
        let channel = connection.create_channel().await.map_err(lost)?;
        // Only then does the broker say when it has a message.
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(lost)?;
        Ok(Broker { connection, channel })
    }

    /// Answers a call: to its caller's queue, over the default exchange.
    ///
    /// # Errors
    /// [`Failure::NoReply`] when the broker did not confirm: it may have the message.
    pub async fn reply(&self, reply_q: &str, body: &[u8]) -> Result<(), Failure> {
        self.send("", reply_q, body).await
    }

    async fn send(&self, exchange: &str, routing_key: &str, body: &[u8]) -> Result<(), Failure> {
        // oslo.messaging's properties: persistent, whatever the queue is.
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(2)
            .with_priority(0);
        let options = BasicPublishOptions::default();
        let (exchange, key) = (exchange.into(), routing_key.into());
        let confirm = self.channel.basic_publish(exchange, key, options, body, properties).await;
        match confirm.map_err(lost)?.await.map_err(lost)? {
            Confirmation::Ack(_) | Confirmation::NotRequested => Ok(()),
            Confirmation::Nack(_) => Err(Failure::NoReply { system: SYSTEM.to_owned() }),
        }
    }

    /// Takes messages from the queue of `server` from now on.
    ///
    /// # Errors
    /// [`Failure::NoReply`]: the connection broke, or the queue is there with other properties and
    /// not to be read.
    pub async fn consume(&self, server: &HostName) -> Result<Inbox, Failure> {
        let name = queue(server);
        self.declare_exchange().await?;
        self.declare_queue(&name).await?;
        let table = FieldTable::default;
        let bind = QueueBindOptions::default();
        self.channel
            .queue_bind(name.as_str().into(), EXCHANGE.into(), name.as_str().into(), bind, table())
            .await
            .map_err(lost)?;
        let consumer = self
            .channel
            .basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), table())
            .await
            .map_err(lost)?;
        Ok(Inbox { consumer, seen: VecDeque::new() })
    }

    /// What the deployment has declared (durable, quorum, …) stays as it is: a passive declaration
    /// asks; only what is not there is made, with oslo.messaging's defaults.
    async fn declare_exchange(&self) -> Result<(), Failure> {
        let probe = self.connection.create_channel().await.map_err(lost)?;
        let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let table = FieldTable::default;
        let topic = ExchangeKind::Topic;
        if probe.exchange_declare(EXCHANGE.into(), topic.clone(), passive, table()).await.is_ok() {
            return probe.close(200, "".into()).await.map_err(lost);
        }
        let options = ExchangeDeclareOptions::default();
        self.channel.exchange_declare(EXCHANGE.into(), topic, options, table()).await.map_err(lost)
    }

    async fn declare_queue(&self, name: &str) -> Result<(), Failure> {
        let probe = self.connection.create_channel().await.map_err(lost)?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let table = FieldTable::default;
        if let Ok(queue) = probe.queue_declare(name.into(), passive, table()).await {
            let served = queue.consumer_count() > 0;
            probe.close(200, "".into()).await.map_err(lost)?;
            // RabbitMQ deals a queue's messages out in turn: a nova-compute would lose every other
            // one to us, who carry out detaches alone.
            return match served {
                true => Err(Refusal::Remote {
                    exception: "QueueInUse".to_owned(),
                    message: format!(
                        "{name} has a consumer already: stop that nova-compute first, or wait \
                         until the broker has noticed that it is gone"
                    ),
                }
                .into()),
                false => Ok(()),
            };
        }
        let options = QueueDeclareOptions::default();
        self.channel.queue_declare(name.into(), options, table()).await.map_err(lost)?;
        Ok(())
    }

    /// Ends the connection; what is not acknowledged yet goes to the next consumer.
    pub async fn close(&self) {
        // It ends anyway with this process.
        let _ = self.connection.close(200, "".into()).await;
    }

    /// Stops taking messages.
    pub async fn cancel(&self, inbox: &Inbox) {
        let tag = inbox.consumer.tag();
        let _ = self.channel.basic_cancel(tag, BasicCancelOptions::default()).await;
    }
}

impl Inbox {
    /// The next message, acknowledged; `None` when the broker cancelled the consumer.
    ///
    /// # Errors
    /// [`Failure::NoReply`] when the connection is lost.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Failure> {
        loop {
            let Some(delivery) = self.consumer.next().await else { return Ok(None) };
            let delivery = delivery.map_err(lost)?;
            delivery.acker.ack(BasicAckOptions::default()).await.map_err(lost)?;
            let envelope = match Envelope::decode(&delivery.data) {
                Ok(envelope) => envelope,
                Err(e) => return Ok(Some(Delivery::Unreadable(e.to_string()))),
            };
            if self.is_new(envelope.unique_id.as_deref()) {
                return Ok(Some(Delivery::Message(Box::new(envelope))));
            }
        }
    }

    fn is_new(&mut self, id: Option<&str>) -> bool {
        let Some(id) = id else { return true };
        if self.seen.iter().any(|seen| seen == id) {
            return false;
        }
        self.seen.push_back(id.to_owned());
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        true
    }
}

fn lost(_: lapin::Error) -> Failure {
    // The library's error may quote what was sent.
    Failure::NoReply { system: SYSTEM.to_owned() }
}

/// lapin's spelling of oslo.messaging's transport_url: an empty virtual host is `/`.
fn amqp_url(url: &str) -> String {
    let url = url.replacen("rabbit://", "amqp://", 1);
    let Some((scheme, rest)) = url.split_once("://") else { return url };
    let (before, query) = match rest.split_once('?') {
        Some((before, query)) => (before, format!("?{query}")),
        None => (rest, String::new()),
    };
    let host = match before.split_once('/') {
        Some((host, "" | "/")) => format!("{host}/%2f"),
        Some(_) => before.to_owned(),
        None => format!("{before}/%2f"),
    };
    format!("{scheme}://{host}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_url_of_nova_conf_is_one_of_lapin() {
        let lapins = "amqp://u:p@127.0.0.1:5672/%2f";
        assert_eq!(amqp_url("rabbit://u:p@127.0.0.1:5672/"), lapins);
        assert_eq!(amqp_url("rabbit://u:p@127.0.0.1:5672//"), lapins);
        assert_eq!(amqp_url("amqp://u:p@127.0.0.1:5672"), lapins);
        assert_eq!(amqp_url("amqp://u:p@h/nova?heartbeat=30"), "amqp://u:p@h/nova?heartbeat=30");
    }

    #[test]
    fn nobody_there_is_said_without_the_password() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = Secret::new("amqp://nova:hush@127.0.0.1:1/");
        let failure = runtime.block_on(Broker::connect(&url)).err().unwrap();
        assert_eq!(failure, Failure::Unreachable { system: "broker".to_owned() });
    }
}
