//! Who is meant: nodes, their boots, their clusters and where they are found.

use crate::SwimError;
use bytes::Bytes;
use std::fmt;

/// The number of a node. It outlives restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// The number of a boot of a node. A later boot has a greater one; two boots of one node never share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What a member raises to refute what is said of it, and when its metadata change. It begins at zero with every generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// More than any member comes to: a packet that says more is malformed, so that adding one never overflows.
    pub(crate) const MAX: Self = Self(1 << 62);

    /// The one above.
    pub(crate) fn next(self) -> Self {
        debug_assert!(self < Self::MAX);
        Self(self.0 + 1)
    }
}

/// The number of a cluster. Packets of another one are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

/// One boot of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its boot.
    pub generation: Generation,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node.0, self.generation.0)
    }
}

/// The longest [`Address`]: room for a host's name and a port, and small beside a packet.
pub const ADDRESS_BYTES_MAX: usize = 64;

/// Where a member is reached. Only the driver knows what the bytes mean; all drivers of a cluster must agree on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// `bytes.len() <= ADDRESS_BYTES_MAX`
    bytes: Bytes,
}

impl Address {
    /// The address that `bytes` are.
    ///
    /// # Errors
    ///
    /// [`SwimError::OutOfBounds`] if they are too many.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, SwimError> {
        let bytes = bytes.into();
        if bytes.len() > ADDRESS_BYTES_MAX {
            return Err(SwimError::OutOfBounds {
                what: "bytes of an address",
                min: 0,
                max: ADDRESS_BYTES_MAX as u64,
                given: bytes.len() as u64,
            });
        }
        Ok(Self { bytes })
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
