//! Where outputs are cut.

use crate::apply::located_of;
use crate::{CutRule, Partitioner, Plan, TreeView};
use nori_kv::KeyRange;
use std::sync::Arc;

/// Outputs of about one size.
#[derive(Clone, Copy, Debug)]
pub struct BySize {
    /// The size, in bytes.
    pub table_bytes_target: u64,
}

impl Partitioner for BySize {
    fn cuts(&self, _view: &TreeView<'_>, _plan: &Plan) -> CutRule {
        CutRule { table_bytes_target: self.table_bytes_target, before: Vec::new() }
    }

    /// Cuts at the first keys of input tables, which are the only keys that metadata knows, so that each
    /// part has about as many input bytes before its cut as the others.
    fn split(&self, view: &TreeView<'_>, plan: &Plan, parts_max: usize) -> Vec<KeyRange> {
        let mut tables = located_of(view.levels, &plan.inputs);
        tables.sort_by(|a, b| a.table.keys.min.cmp(&b.table.keys.min));
        let total: u64 = tables.iter().map(|found| found.table.bytes).sum();
        let share = (total / parts_max.max(1) as u64).max(1);
        let (mut cuts, mut before) = (Vec::<Arc<[u8]>>::new(), 0_u64);
        for found in &tables {
            let is_due = before >= share * (cuts.len() as u64 + 1);
            let is_new = cuts.last().is_none_or(|last| *last < found.table.keys.min);
            if is_due && is_new && cuts.len() + 1 < parts_max {
                cuts.push(Arc::clone(&found.table.keys.min));
            }
            before += found.table.bytes;
        }
        let mut parts = Vec::with_capacity(cuts.len() + 1);
        let mut start = Vec::new();
        for cut in cuts {
            parts.push(KeyRange { start, end: Some(cut.to_vec()) });
            start = cut.to_vec();
        }
        parts.push(KeyRange { start, end: None });
        parts
    }
}
