//! The policy that builds nothing: the baseline that shows what filters are worth.

use crate::{Filter, FilterBuilder, FilterContext, FilterError, FilterPolicy};

/// No filter for any table: every read looks into every table whose bounds hold the key.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFilterPolicy;

impl FilterPolicy for NoFilterPolicy {
    fn name(&self) -> &'static str {
        "none"
    }

    fn builder(&self, _context: &FilterContext) -> Option<Box<dyn FilterBuilder>> {
        None
    }

    fn open(&self, _block: &[u8]) -> Result<Box<dyn Filter>, FilterError> {
        // This policy never wrote a block, so whatever this is, it is not ours.
        Err(FilterError::Damaged { what: "the policy `none` writes no blocks" })
    }
}
