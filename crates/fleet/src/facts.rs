//! The newest `register` of a host.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{Context, kv};
use bytes::Bytes;

use crate::{envelope, names};

/// Most attempts to store facts. Each one fails only because others were stored meanwhile.
const ATTEMPTS: usize = 16;

/// Why facts could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("cannot store the facts of {host} in NATS")]
pub struct FactsError {
    host: String,
    source: async_nats::Error,
}

/// Stores the `register` of `host`, to the letter, that was read at `at_ms` (Unix milliseconds) on this connection.
/// Returns whether it is the newest one: a connection with a higher number may have stored its own before.
///
/// # Errors
/// NATS did not answer in time, or refused.
pub async fn store(
    jetstream: &Context,
    hosts: &kv::Store,
    host: &str,
    connection: u64,
    at_ms: i64,
    register: Bytes,
) -> Result<bool, FactsError> {
    let subject = names::facts(host);
    let failed = |source: async_nats::Error| FactsError { host: host.to_owned(), source };
    for _ in 0..ATTEMPTS {
        let (sequence, newest) = match hosts.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => (message.sequence, envelope::read(Some(&message.headers))),
            Err(err) if err.kind() == LastRawMessageErrorKind::NoMessageFound => (0, None),
            Err(err) => return Err(failed(err.into())),
        };
        if newest.is_some_and(|(newest, _)| newest > connection) {
            return Ok(false);
        }
        let message = PublishMessage::build()
            .headers(envelope::headers(connection, at_ms))
            .payload(register.clone())
            .expected_last_subject_sequence(sequence);
        let published = match jetstream.send_publish(subject.clone(), message).await {
            Ok(acknowledged) => acknowledged.await,
            Err(err) => Err(err),
        };
        match published {
            Ok(_) => return Ok(true),
            Err(err) if err.kind() == PublishErrorKind::WrongLastSequence => {}
            Err(err) => return Err(failed(err.into())),
        }
    }
    Err(failed("others store facts of this host all the time".into()))
}
