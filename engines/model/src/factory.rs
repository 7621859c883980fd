//! Stores by folder, kept in memory as a disk would keep them.

use crate::engine::{ModelEngine, NAME, Shared};
use crate::history::History;
use nori_kv::{
    Capabilities, Durability, Engine, EngineFactory, Error, Feature, Parts, Result, WriteBatch,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store on the disk, open or not.
#[derive(Debug)]
struct Stored {
    shared: Arc<Shared>,
    is_open: bool,
}

/// What the stores of one factory lie on. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    stores: Arc<Mutex<BTreeMap<PathBuf, Stored>>>,
}

impl Disk {
    fn stores(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Stored>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the store in `dir`, which is made if there is none.
    fn open(&self, dir: &Path) -> Result<Arc<Shared>> {
        let mut stores = self.stores();
        let stored = stores
            .entry(dir.to_owned())
            .or_insert_with(|| Stored { shared: Arc::default(), is_open: false });
        if stored.is_open {
            return Err(busy(dir));
        }
        stored.is_open = true;
        Ok(Arc::clone(&stored.shared))
    }

    pub(crate) fn close(&self, dir: &Path) {
        if let Some(stored) = self.stores().get_mut(dir) {
            stored.is_open = false;
        }
    }

    /// Makes a store in `dir`, where there must be none.
    pub(crate) fn create(&self, dir: &Path, history: History) -> Result<()> {
        let mut stores = self.stores();
        if stores.contains_key(dir) {
            return Err(Error::invalid(format!("there is a store in {}", dir.display())));
        }
        let shared = Arc::new(Shared::new(history));
        stores.insert(dir.to_owned(), Stored { shared, is_open: false });
        Ok(())
    }

    /// What is stored in `dir`, which must not be open.
    fn copy(&self, dir: &Path) -> Result<History> {
        match self.stores().get(dir) {
            None => Err(Error::invalid(format!("there is no checkpoint in {}", dir.display()))),
            Some(stored) if stored.is_open => Err(busy(dir)),
            Some(stored) => Ok(stored.shared.history().clone()),
        }
    }

    fn destroy(&self, dir: &Path) -> Result<()> {
        let mut stores = self.stores();
        if stores.get(dir).is_some_and(|stored| stored.is_open) {
            return Err(busy(dir));
        }
        stores.remove(dir);
        Ok(())
    }
}

fn busy(dir: &Path) -> Error {
    Error::Busy { what: format!("the store in {} is open", dir.display()) }
}

/// Opens model stores. Each factory is a disk of its own: its stores live as long as it or a clone.
#[derive(Clone, Debug, Default)]
pub struct ModelFactory {
    disk: Disk,
}

impl ModelFactory {
    /// A factory whose disk is empty.
    pub fn new() -> Self {
        Self::default()
    }
}

impl EngineFactory for ModelFactory {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let features: Vec<Feature> = Feature::ALL
            .into_iter()
            .filter(|feature| {
                !matches!(feature, Feature::Ingest | Feature::Scrub | Feature::Simulated)
            })
            .collect();
        Capabilities::new(&[Durability::None], &features, WriteBatch::KEY_BYTES_MAX)
    }

    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn open(&self, dir: &Path, _parts: Parts) -> Result<Arc<dyn Engine>> {
        let shared = self.disk.open(dir)?;
        let (disk, dir) = (self.disk.clone(), dir.to_owned());
        Ok(Arc::new(ModelEngine { shared, disk, dir, waiting: Mutex::default() }))
    }

    fn install(&self, dir: &Path, checkpoint: &Path, _parts: &Parts) -> Result<()> {
        let history = self.disk.copy(checkpoint)?;
        self.disk.destroy(dir)?;
        self.disk.create(dir, history)
    }

    fn destroy(&self, dir: &Path, _parts: &Parts) -> Result<()> {
        self.disk.destroy(dir)
    }
}
