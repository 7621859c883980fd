//! `norikv-replica`: one shard's replica.
//!
//! What a group of replicas agrees on is a log of [`Command`]s. Here is what a command **means**: which rows it changes, what it answers, that
//! it is executed once however often it is sent, when rows expire. And here is how a client's request becomes a command or a read and comes back as a
//! [`Reply`].
//!
//! | module | what it has |
//! |---|---|
//! | [`codec`] | numbers and bytes, for whoever lays out more beside these |
//! | [`command`](mod@command) | the bytes of an entry (`docs/formats/command.md`) |
//! | `rows` | where things stand in the engine: a client's rows, and the replica's own |
//! | `identities` | which requests were executed, and what was answered |
//! | `chunks` | the answers as rows, many to each |
//! | `machine` | applies an entry to the engine |
//! | `request` | what clients ask for, and what they are answered |
//! | `replica` | requests in, answers out; steps the protocol and drives the machine |
//!
//! Promises: the same log makes the same rows and the same answers on every replica, whatever engine is under it; nothing here
//! reads a clock, a disk of its own, or chance. Left to others: the protocol ([`nori_consensus::Consensus`]), the store
//! ([`nori_kv::Engine`] with [`nori_kv::Replicated`]), the log, the network, and when anything happens.

mod chunks;
pub mod codec;
mod command;
mod error;
mod identities;
mod machine;
mod replica;
mod request;
mod rows;

pub use command::{Command, Condition, Identity, Operation, Session};
pub use error::{BadEntry, Refusal, ReplicaError};
pub use machine::{EXPIRY_BUCKET_MS, Fetch, Fetched, State};
pub use replica::{Opening, Output, Replica, Settings};
pub use request::{
    Age, Answer, Freshness, KeyChange, Now, Reply, Request, RequestId, Sink, Target, Value, View,
};
pub use rows::Version;
