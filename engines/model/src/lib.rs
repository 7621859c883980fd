//! The oracle: an engine so simple that it is obviously right.
//!
//! Every version of every key stays in one ordered map for ever; a read at a sequence number looks for the
//! newest version at or below it. Nothing is cached, merged, forgotten or done in the background, so what
//! this engine answers is what the contracts of `nori_kv` mean. Other engines are tested against it, with
//! the same operations and the same questions.
//!
//! Its disk is the memory of the [`ModelFactory`]: a store outlives its engine, not the factory. It therefore offers
//! the durability class `none` alone, and touches neither files nor clock nor tasks.
//!
//! How it is set beside another engine is in [`trial`]: random histories, crashes and damage.
//!
//! Left to others: speed, memory that stays bounded, and files.

mod cursor;
mod engine;
mod factory;
mod history;
#[cfg(test)]
mod tests;
pub mod trial;

pub use factory::ModelFactory;
