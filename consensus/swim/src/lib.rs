//! Membership and failure detection, without a world of its own: who is a member of the cluster, and which of them still answer.
//!
//! Sources: Das, Gupta, Motivala, "SWIM: Scalable weakly-consistent infection-style process group membership protocol" (DSN 2002);
//! Dadgar, Phillips, Currey, "Lifeguard: local health awareness for more accurate failure detection" (DSN-W 2018). `docs/swim.md` tells
//! the protocol message by message.
//!
//! 1. Once in a period a member probes another ([`Swim`] chooses in shuffled rounds). Without an answer it asks others to ask.
//! 2. Who answers nobody becomes *suspect*, and may refute that by raising its incarnation; who does not is *down* after a while.
//! 3. News of members travel as *rumours* on the packets of 1., and on packets of their own while there is news.
//! 4. At joining, and now and then, two members exchange all they know over a reliable stream.
//!
//! It promises: the same boot, inputs and seed give the same calls, byte for byte; no packet is longer than the settings say; no bytes
//! from outside make it panic; a member never believes itself down. What clock, sockets and timers are is left to whoever implements
//! [`Runtime`]; which node has which number, and that a generation grows with every boot, to whoever fills in [`Boot`]; and what follows
//! from a member's fall to whoever reads the [`Event`]s. [`world`] is a seeded simulation of many members.
//!
//! A driver keeps what a member asks for, and hands in what comes of it:
//!
//! ```
//! use bytes::Bytes;
//! use nori_swim::{
//!     Address, Boot, Class, ClusterId, Event, Generation, Identity, Instant, NodeId, Runtime, Settings, Swim, Timer,
//! };
//! use std::time::Duration;
//!
//! #[derive(Default)]
//! struct Asked {
//!     events: Vec<Event>,
//!     packets: Vec<(Address, Class, Bytes)>,
//!     timers: Vec<Timer>,
//! }
//!
//! impl Runtime for Asked {
//!     fn notify(&mut self, event: Event) {
//!         self.events.push(event);
//!     }
//!     fn send_to(&mut self, to: &Address, class: Class, packet: Bytes) {
//!         self.packets.push((to.clone(), class, packet));
//!     }
//!     fn submit_after(&mut self, _: Duration, timer: Timer) {
//!         self.timers.push(timer); // `timer.due()` is now and that duration.
//!     }
//! }
//!
//! let boot = |node| Boot {
//!     cluster: ClusterId(1),
//!     identity: Identity { node: NodeId(node), generation: Generation(1) },
//!     address: Address::new(vec![node as u8]).unwrap(),
//!     metadata: Bytes::from_static(b"zone=a"),
//!     seed: node,
//!     settings: Settings::default(),
//!     keyring: None,
//! };
//! let now = Instant { nanos: 0 };
//! let mut asked = Asked::default();
//! let mut one = Swim::new(boot(1), &nori_observe::NullMeter)?;
//! let mut two = Swim::new(boot(2), &nori_observe::NullMeter)?;
//! one.start(now, &mut asked)?;
//! two.start(now, &mut asked)?;
//! two.join(now, &[Address::new(vec![1]).unwrap()], &mut asked)?;
//! while let Some((to, class, packet)) = asked.packets.pop() {
//!     let member = if to.bytes()[0] == 1 { &mut one } else { &mut two };
//!     member.receive(now, class, &packet, &mut asked)?;
//! }
//! assert_eq!((one.size(), two.size()), (2, 2));
//! assert!(matches!(asked.events[..], [Event::Up { .. }, Event::Up { .. }]));
//! # Ok::<(), nori_swim::SwimError>(())
//! ```

mod boot;
mod chance;
mod codec;
mod counters;
mod envelope;
mod error;
mod gossip;
mod health;
mod ids;
mod keyring;
mod learn;
mod member;
mod message;
mod order;
mod probe;
mod rumours;
mod runtime;
mod scale;
mod settings;
mod status;
mod swim;
mod sync;
#[cfg(test)]
mod testing;
mod time;
pub mod world;

pub use boot::Boot;
pub use chance::Chance;
pub use error::{Refusal, SwimError};
pub use ids::{ADDRESS_BYTES_MAX, Address, ClusterId, Generation, Identity, Incarnation, NodeId};
pub use keyring::{KEY_BYTES, KEYS_MAX, Keyring};
pub use runtime::{Class, Event, Runtime, Timer};
pub use settings::Settings;
pub use status::{MemberState, MemberStatus, Phase, Status};
pub use swim::Swim;
pub use time::Instant;
