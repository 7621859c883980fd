//! Makes new tables safe and part of the tree.
//!
//! The order is the whole point: files are synced, then their names, then the edit in the manifest; only then does
//! anybody read them, and only then do the tables they replace go.

use crate::core::{Core, Tree, from_wal};
use crate::edit::Edit;
use crate::manifest::Manifest;
use crate::output::{Finished, remove};
use crate::read::SuperVersion;
use crate::version::Version;
use nori_env::{Signal, SyncTicket};
use nori_kv::{Error, Result};
use nori_sstable::Table;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Tables being made safe. Dropping it removes those that were not taken.
pub(crate) struct SyncFiles {
    core: Arc<Core>,
    files: Vec<Finished>,
    /// `files[..synced]` are safe.
    synced: usize,
    ticket: Option<SyncTicket>,
    is_dir_synced: bool,
}

impl SyncFiles {
    pub(crate) fn new(core: &Arc<Core>, files: Vec<Finished>) -> Self {
        let is_dir_synced = files.is_empty();
        Self { core: Arc::clone(core), files, synced: 0, ticket: None, is_dir_synced }
    }

    /// One step: `None` when everything is safe, else what to wait for.
    pub(crate) fn poll(&mut self) -> Result<Option<Signal>> {
        while let Some(file) = self.files.get(self.synced) {
            let ticket =
                self.ticket.get_or_insert_with(|| SyncTicket::start(|done| file.file.sync(done)));
            match ticket.take() {
                None => return Ok(Some(ticket.signal().clone())),
                Some(outcome) => outcome.map_err(|e| Error::io("syncing", &file.path, e))?,
            }
            self.ticket = None;
            self.synced += 1;
        }
        if !self.is_dir_synced {
            let dir = &self.core.dir;
            self.core.parts.fs.sync_dir(dir).map_err(|e| Error::io("syncing", dir, e))?;
            self.is_dir_synced = true;
        }
        Ok(None)
    }

    /// The tables, all of them safe.
    pub(crate) fn take(&mut self) -> Vec<Finished> {
        debug_assert!(self.is_dir_synced && self.synced == self.files.len());
        std::mem::take(&mut self.files)
    }
}

impl Drop for SyncFiles {
    fn drop(&mut self) {
        self.files.iter().for_each(|file| remove(&self.core, &file.path));
    }
}

/// Opens tables that were just written, by number.
pub(crate) fn open_finished(
    core: &Core,
    finished: &[Finished],
) -> Result<BTreeMap<u64, Arc<Table>>> {
    let open = |file: &Finished| {
        let table = Table::open(&core.tables, &core.dir, file.number)?;
        debug_assert_eq!(table.properties(), &file.properties);
        Ok((file.number, table))
    };
    finished.iter().map(open).collect()
}

/// Applies `edit` to the tree: manifest, the log's mark, version, super-version, in this order. `publish` makes the super-version
/// from the present one and the new version.
pub(crate) fn install(
    core: &Arc<Core>,
    tree: &mut Tree,
    mut edit: Edit,
    opened: &BTreeMap<u64, Arc<Table>>,
    publish: impl Fn(&SuperVersion, Arc<Version>) -> SuperVersion,
) -> Result<()> {
    core.check_poison()?;
    edit.next_number = Some(core.next_number.load(Ordering::Relaxed));
    edit.strategy = Some((tree.strategy.name().to_owned(), tree.strategy.save()));
    let next = tree.version.apply(&edit, opened);
    let next =
        next.map_err(|what| Error::Invalid { what: format!("an edit does not fit: {what}") })?;
    let next = Arc::new(next);
    write_edit(core, tree, &edit, &next)?;
    let before = std::mem::replace(&mut tree.version, Arc::clone(&next));
    core.super_version.rcu(|sv| publish(sv, Arc::clone(&next)));
    if let Some(applied) = edit.applied {
        core.durable.reached(applied);
    }
    for table in before.tables().filter(|table| edit.removed.contains(&table.number())) {
        // A trivial move removes and adds the same table.
        if !edit.adds(table.number()) {
            table.mark_obsolete();
        }
    }
    drop(before);
    core.weigh_memory();
    set_brake(core, tree);
    Ok(())
}

fn write_edit(core: &Core, tree: &mut Tree, edit: &Edit, next: &Version) -> Result<()> {
    let manifest = tree.manifest.as_mut().map_err(|error| error.poison())?;
    manifest.append(edit)?;
    tree.numbers.merge_numbers(edit);
    if !manifest.should_roll() {
        return mark(core, manifest);
    }
    let number = core.next_number.fetch_add(1, Ordering::Relaxed);
    let mut whole = next.as_edit();
    whole.merge_numbers(&tree.numbers);
    whole.next_number = Some(number + 1);
    whole.levels = Some(next.levels.len() as u64);
    let old = manifest.number();
    let kind = manifest.kind();
    *manifest = Manifest::create(&*core.parts.fs, &core.dir, number, kind, &whole)?;
    remove(core, &core.dir.join(crate::manifest::manifest_name(old)));
    mark(core, manifest)
}

/// Has the log vouch for the manifest, if there is one.
fn mark(core: &Core, manifest: &Manifest) -> Result<()> {
    core.wal()?.map_or(Ok(()), |wal| wal.mark(manifest.mark()).map_err(from_wal))
}

/// Asks the layout how hard writers are to be braked now.
pub(crate) fn set_brake(core: &Core, tree: &mut Tree) {
    let debt = core.with_view(tree, |strategy, view| strategy.debt(view));
    core.set_brake(debt.brake, debt.why);
    core.debt_bytes.store(debt.bytes, Ordering::Relaxed);
}
