//! What every kind of memtable in this crate is, and the one factory of them all.

use crate::cursor::Neighbours;
use crate::hash_index::HashIndexed;
use crate::record::Record;
use crate::{Memtable, MemtableFactory};
use nori_kv::EntryRef;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A memtable whose entries are records of an arena of its own.
pub(crate) trait Kind: Memtable + Neighbours + Default + 'static {
    /// The name it is chosen by.
    const NAME: &'static str;
    /// The name with a hash index.
    const NAME_INDEXED: &'static str;

    /// `insert`, with the record that was made: it lives as long as the memtable.
    fn add(&self, entry: EntryRef<'_>) -> Record;
}

/// Makes the memtables of one kind.
pub(crate) struct KindFactory<M>(PhantomData<fn() -> M>);

/// Makes the memtables of one kind with a hash index of newest versions.
struct IndexedFactory<M>(PhantomData<fn() -> M>);

impl<M> Default for KindFactory<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Kind> fmt::Debug for KindFactory<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KindFactory").field(&M::NAME).finish()
    }
}

impl<M: Kind> fmt::Debug for IndexedFactory<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IndexedFactory").field(&M::NAME).finish()
    }
}

impl<M: Kind> MemtableFactory for KindFactory<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn create(&self) -> Arc<dyn Memtable> {
        Arc::new(M::default())
    }

    fn indexed(&self) -> Option<Arc<dyn MemtableFactory>> {
        Some(Arc::new(IndexedFactory::<M>(PhantomData)))
    }
}

impl<M: Kind> MemtableFactory for IndexedFactory<M> {
    fn name(&self) -> &'static str {
        M::NAME_INDEXED
    }

    fn create(&self) -> Arc<dyn Memtable> {
        Arc::new(HashIndexed::<M>::default())
    }
}
