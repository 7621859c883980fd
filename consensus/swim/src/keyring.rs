//! The keys of a cluster: one that packets are sealed with, and older or coming ones that still open them.
//!
//! A rotation, without a moment at which two members do not understand each other: add the new key everywhere; make it primary
//! everywhere; remove the old one everywhere.

use crate::SwimError;
use std::fmt;

/// Bytes of a key of XChaCha20-Poly1305.
pub const KEY_BYTES: usize = 32;

/// The most keys of a ring: each packet that no key opens costs a try of every one.
pub const KEYS_MAX: usize = 8;

/// The keys; never printed.
#[derive(Clone)]
pub struct Keyring {
    /// 1 <= keys.len() <= KEYS_MAX; the first is the primary one, and none is there twice
    keys: Vec<[u8; KEY_BYTES]>,
}

impl Keyring {
    /// A ring of one key.
    pub fn new(primary: [u8; KEY_BYTES]) -> Self {
        Self { keys: vec![primary] }
    }

    /// Adds a key that opens packets. One that is there already stays where it is.
    ///
    /// # Errors
    ///
    /// [`SwimError::OutOfBounds`] if the ring is full.
    pub fn add(&mut self, key: [u8; KEY_BYTES]) -> Result<(), SwimError> {
        if self.keys.contains(&key) {
            return Ok(());
        }
        if self.keys.len() == KEYS_MAX {
            let (max, given) = (KEYS_MAX as u64, KEYS_MAX as u64 + 1);
            return Err(SwimError::OutOfBounds { what: "keys of a ring", min: 1, max, given });
        }
        self.keys.push(key);
        Ok(())
    }

    /// Seals with `key` from now on; the one before still opens.
    ///
    /// # Errors
    ///
    /// [`SwimError::UnknownKey`] if it was not added before.
    pub fn make_primary(&mut self, key: &[u8; KEY_BYTES]) -> Result<(), SwimError> {
        let at = self.keys.iter().position(|of| of == key).ok_or(SwimError::UnknownKey)?;
        let key = self.keys.remove(at);
        self.keys.insert(0, key);
        Ok(())
    }

    /// Takes a key away: what is sealed with it is refused from now on.
    ///
    /// # Errors
    ///
    /// [`SwimError::UnknownKey`] if it is not there, [`SwimError::PrimaryKey`] if it is the primary one.
    pub fn remove(&mut self, key: &[u8; KEY_BYTES]) -> Result<(), SwimError> {
        match self.keys.iter().position(|of| of == key) {
            None => Err(SwimError::UnknownKey),
            Some(0) => Err(SwimError::PrimaryKey),
            Some(at) => {
                self.keys.remove(at);
                Ok(())
            }
        }
    }

    /// The primary key first.
    pub(crate) fn keys(&self) -> &[[u8; KEY_BYTES]] {
        &self.keys
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_key_cannot_be_taken_away_and_no_key_is_printed() {
        let mut ring = Keyring::new([1; KEY_BYTES]);
        ring.add([2; KEY_BYTES]).unwrap();
        ring.add([2; KEY_BYTES]).unwrap();
        assert_eq!(ring.remove(&[1; KEY_BYTES]), Err(SwimError::PrimaryKey));
        assert_eq!(ring.make_primary(&[3; KEY_BYTES]), Err(SwimError::UnknownKey));
        ring.make_primary(&[2; KEY_BYTES]).unwrap();
        assert_eq!(ring.remove(&[1; KEY_BYTES]), Ok(()));
        assert_eq!(format!("{ring:?}"), "Keyring(1 keys)");
    }

    #[test]
    fn a_ring_has_an_end() {
        let mut ring = Keyring::new([0; KEY_BYTES]);
        for key in 1..KEYS_MAX as u8 {
            ring.add([key; KEY_BYTES]).unwrap();
        }
        assert!(ring.add([99; KEY_BYTES]).is_err());
    }
}
