//! Everything that can be a target: the engines of [`norikv_parts`], and whole clusters, which are driven through their clients.
//!
//! A cluster is opened like a store: its nodes are processes that keep their files in the store's folder, and go with the run.

use crate::drive::TaskStore;
use crate::remote::{CLUSTERS, Cluster, RemoteFactory};
use anyhow::{Result, anyhow};
use nori_kv::{Durability, Engine, EngineFactory, Parts};
use norikv_parts::{Choice, EngineRequest, PartsError, Role};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

type PartsResult<T> = std::result::Result<T, PartsError>;

/// A target by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) role: Role,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Engine(norikv_parts::EngineEntry),
    Cluster(Cluster),
}

/// A store that is open.
pub(crate) struct Opened {
    pub(crate) engine: Arc<dyn Engine>,
    /// The same for tasks, if it has answers to wait for.
    pub(crate) tasks: Option<Arc<dyn TaskStore>>,
}

impl Opened {
    /// One that is asked over a network.
    pub(crate) fn remote(store: impl Engine + TaskStore + Clone + 'static) -> Self {
        Self { engine: Arc::new(store.clone()), tasks: Some(Arc::new(store)) }
    }
}

impl Entry {
    /// Whether it has what is chosen.
    pub(crate) fn check(&self, choice: &Choice) -> PartsResult<()> {
        match self.kind {
            Kind::Engine(entry) => entry.check(choice),
            Kind::Cluster(cluster) => cluster.check(choice),
        }
    }

    /// Builds its factory.
    pub(crate) fn build(&self, request: &EngineRequest<'_>) -> PartsResult<Arc<dyn EngineFactory>> {
        self.build_for(request, Durability::Sync)
    }

    /// The same for writes of one class, which a cluster is started with.
    pub(crate) fn build_for(
        &self,
        request: &EngineRequest<'_>,
        durability: Durability,
    ) -> PartsResult<Arc<dyn EngineFactory>> {
        match self.kind {
            Kind::Engine(entry) => entry.build(request),
            Kind::Cluster(cluster) => {
                Ok(Arc::new(RemoteFactory::new(cluster, request)?.with_durability(durability)))
            }
        }
    }

    /// Opens its store in `dir`.
    ///
    /// # Errors
    ///
    /// Those of the factory, which is built for the same request.
    pub(crate) fn open(
        &self,
        request: &EngineRequest<'_>,
        durability: Durability,
        dir: &Path,
        parts: Parts,
    ) -> Result<Opened> {
        match self.kind {
            Kind::Engine(entry) => {
                let engine = entry.build(request)?.open(dir, parts)?;
                Ok(Opened { engine, tasks: None })
            }
            Kind::Cluster(cluster) => {
                let factory = RemoteFactory::new(cluster, request)?;
                Ok(factory.with_durability(durability).start(dir)?)
            }
        }
    }

    /// Where its nodes tell what they count, as long as it is open in this process; none where nobody does.
    pub(crate) fn counted_at(&self, request: &EngineRequest<'_>) -> PartsResult<Vec<SocketAddr>> {
        match self.kind {
            Kind::Engine(_) => Ok(Vec::new()),
            Kind::Cluster(cluster) => Ok(RemoteFactory::new(cluster, request)?.counted_at()),
        }
    }
}

/// Every target, ours first, clusters last.
pub(crate) fn engines() -> Vec<Entry> {
    let engines = norikv_parts::engines().into_iter().map(|entry| Entry {
        name: entry.name,
        about: entry.about,
        role: entry.role,
        kind: Kind::Engine(entry),
    });
    let clusters = CLUSTERS.into_iter().map(|(name, about, cluster)| Entry {
        name,
        about,
        role: Role::Cluster,
        kind: Kind::Cluster(cluster),
    });
    engines.chain(clusters).collect()
}

/// The target called `name`.
pub(crate) fn engine(name: &str) -> Result<Entry> {
    let all = engines();
    if let Some(entry) = all.iter().find(|entry| entry.name == name) {
        return Ok(*entry);
    }
    // One that is known and not built in is told as such.
    if let Err(error @ PartsError::NotBuiltIn { .. }) = norikv_parts::engine(name) {
        return Err(anyhow!(error));
    }
    let left_out = norikv_parts::left_out();
    let known = all.iter().map(|entry| entry.name).chain(left_out.iter().map(|entry| entry.name));
    Err(anyhow!(PartsError::unknown("engine", name, known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_targets_beside_engines_and_know_what_can_be_chosen_of_them() {
        let entry = engine("cluster:nori").unwrap();
        assert_eq!((entry.role, engine("nori-lsm").unwrap().role), (Role::Cluster, Role::Ours));
        let choice = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (name, value) in [
            ("nodes", "1"),
            ("shards", "8"),
            ("consistency", "linearizable"),
            ("compaction", "tiered"),
        ] {
            entry.check(&choice(name, value)).unwrap();
        }
        for (name, value) in
            [("nodes", "9"), ("consistency", "lose"), ("compaction", "teired"), ("nods", "1")]
        {
            assert!(entry.check(&choice(name, value)).is_err(), "{name}={value}");
        }
        assert!(engine("etcd").unwrap().check(&choice("compaction", "tiered")).is_err());
        let echo = engine("echo").unwrap();
        echo.check(&choice("consistency", "lease")).unwrap();
        for (name, value) in [("nodes", "1"), ("shards", "8"), ("compaction", "tiered")] {
            assert!(echo.check(&choice(name, value)).is_err(), "{name}={value}");
        }
        let error = engine("cluster:nory").unwrap_err().to_string();
        assert_eq!(error, "no engine is called `cluster:nory`; did you mean `cluster:nori`?");
    }
}
