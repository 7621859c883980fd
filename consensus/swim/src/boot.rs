//! What a member is made from.

use crate::{Address, ClusterId, Identity, Keyring, Settings};
use bytes::Bytes;

/// What a member is made from.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Who it is. The generation must be greater than that of every earlier boot of the node: the later one supersedes the earlier, and
    /// the nonces of sealed packets rely on it.
    pub identity: Identity,
    /// Where the others reach it.
    pub address: Address,
    /// What it says of itself. `metadata.len() <= settings.metadata_bytes_max`
    pub metadata: Bytes,
    /// What its choices follow from.
    pub seed: u64,
    /// The numbers.
    pub settings: Settings,
    /// The keys that packets are sealed with; `None` sends them plain.
    pub keyring: Option<Keyring>,
}
