//! The calls.

use crate::budget::Budget;
use crate::call::{Call, Target, chance};
use crate::error::{Error, ErrorKind};
use crate::options::{
    Builder, Condition, Consistency, DeleteOptions, GetOptions, PutOptions, Retry, ScanOptions,
};
use crate::routes::{Location, Routes, Topology};
use crate::scan::Scan;
use bytes::Bytes;
use norikv_proto::channel::Channel;
use norikv_proto::pipe::Pipe;
use norikv_proto::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its value.
    pub value: Bytes,
    /// Which write put it.
    pub version: u64,
    /// Who answered.
    pub node: u64,
    /// How old the answer can be at most; `None` if that is not known.
    pub age: Option<Duration>,
}

pub(crate) struct Inner {
    pub(crate) routes: Arc<Routes>,
    pub(crate) budget: Budget,
    pub(crate) deadline: Duration,
    pub(crate) attempt: Duration,
    pub(crate) retry: Retry,
    pub(crate) consistency: Consistency,
    /// Part of every request's name, and its number.
    name: u128,
    last: AtomicU64,
}

impl Inner {
    /// The topology, as soon as some node says it.
    pub(crate) async fn topology(&self, until: Instant) -> Result<Arc<Topology>, Error> {
        let mut watched = self.routes.watch();
        let known = watched.wait_for(|topology| !topology.shards.is_empty());
        match tokio::time::timeout_at(until.into(), known).await {
            Ok(Ok(topology)) => Ok(Arc::clone(&topology)),
            _ => {
                let why = self.routes.why_unknown();
                let what = format!("no node has said what the cluster is: {why}");
                Err(Error::new(ErrorKind::Unavailable, what))
            }
        }
    }

    fn identity(&self, key: Option<String>) -> v1::Identity {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let key = key.unwrap_or_else(|| format!("{:032x}{number:016x}", self.name));
        v1::Identity {
            issued_at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            name: Some(v1::identity::Name::IdempotencyKey(key)),
        }
    }
}

/// A client of a cluster.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

/// Changes of keys of one shard: all of them happen, or none.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    changes: Vec<v1::Change>,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a put.
    #[must_use]
    pub fn put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        let what = v1::change::What::Put(v1::PutChange { value: value.into(), ttl_ms: 0 });
        self.changes.push(v1::Change { key: key.into(), condition: None, what: Some(what) });
        self
    }

    /// With a delete.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Bytes>) -> Self {
        let what = v1::change::What::Delete(v1::DeleteChange {});
        self.changes.push(v1::Change { key: key.into(), condition: None, what: Some(what) });
        self
    }

    /// The change that was added last happens, and all others with it, only under this condition.
    #[must_use]
    pub fn only_if(mut self, condition: Condition) -> Self {
        if let Some(last) = self.changes.last_mut() {
            last.condition = condition.wire();
        }
        self
    }
}

impl Client {
    /// A client of the cluster that these nodes are of, as `host:port`. Some that do not answer do not matter.
    ///
    /// # Errors
    ///
    /// If there is none, or one is no address.
    pub fn connect(nodes: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, Error> {
        Self::builder(nodes).build()
    }

    /// The same, with more to say.
    pub fn builder(nodes: impl IntoIterator<Item = impl Into<String>>) -> Builder {
        Builder::new(nodes)
    }

    pub(crate) fn new(builder: Builder) -> Result<Self, Error> {
        let routes = Routes::new(&builder)?;
        let Builder { deadline, attempt, retry, consistency, .. } = builder;
        let name = u128::from(chance()) << 64 | u128::from(chance());
        let (budget, last) = (Budget::default(), AtomicU64::new(0));
        let inner = Inner { routes, budget, deadline, attempt, retry, consistency, name, last };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Puts a value; the row's version from now on.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<u64, Error> {
        self.put_with(key, value, PutOptions::default()).await
    }

    /// The same, with more to say.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn put_with(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<u64, Error> {
        let ttl = options.ttl.map_or(0, |ttl| ttl.as_millis().max(1));
        let request = v1::PutRequest {
            key: key.into(),
            value: value.into(),
            ttl_ms: u64::try_from(ttl).unwrap_or(u64::MAX),
            condition: options.condition.wire(),
            identity: Some(self.inner.identity(options.idempotency_key)),
        };
        let put = |pipe: Pipe| {
            let request = request.clone();
            async move { pipe.put(request).await }
        };
        Ok(self.inner.run(write(&request.key), put).await?.version)
    }

    /// The row of a key; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Entry>, Error> {
        self.get_with(key, GetOptions::default()).await
    }

    /// The same, with more to say.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn get_with(
        &self,
        key: impl Into<Bytes>,
        options: GetOptions,
    ) -> Result<Option<Entry>, Error> {
        let consistency = options.consistency.unwrap_or(self.inner.consistency);
        let request = v1::GetRequest { key: key.into(), read: Some(consistency.wire()) };
        let is_any = matches!(consistency, Consistency::Stale { .. });
        let call = Call { target: Target::Key(&request.key), is_write: false, is_any };
        let get = |pipe: Pipe| {
            let request = request.clone();
            async move { pipe.get(request).await }
        };
        let reply = self.inner.run(call, get).await?;
        let age = reply.age_ms.map(Duration::from_millis);
        let entry = Entry { value: reply.value, version: reply.version, node: reply.node_id, age };
        Ok(reply.found.then_some(entry))
    }

    /// Removes a key, whether it has a row or not; the version of that write.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<u64, Error> {
        self.delete_with(key, DeleteOptions::default()).await
    }

    /// The same, with more to say.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn delete_with(
        &self,
        key: impl Into<Bytes>,
        options: DeleteOptions,
    ) -> Result<u64, Error> {
        let request = v1::DeleteRequest {
            key: key.into(),
            condition: options.condition.wire(),
            identity: Some(self.inner.identity(options.idempotency_key)),
        };
        let delete = |pipe: Pipe| {
            let request = request.clone();
            async move { pipe.delete(request).await }
        };
        Ok(self.inner.run(write(&request.key), delete).await?.version)
    }

    /// Does all changes of a batch or none; the version of what was written. Its keys are of one shard ([`Client::locate`]).
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn batch(&self, batch: Batch) -> Result<u64, Error> {
        let request =
            v1::BatchRequest { changes: batch.changes, identity: Some(self.inner.identity(None)) };
        let Some(first) = request.changes.first() else {
            return Err(Error::new(ErrorKind::InvalidArgument, "a batch without a change"));
        };
        let write_all = |pipe: Pipe| {
            let request = request.clone();
            async move { pipe.batch(request).await }
        };
        Ok(self.inner.run(write(&first.key), write_all).await?.version)
    }

    /// Reads a row, and puts what `change` makes of it, again and again until nobody has written in between; the version of what was put. `None` leaves the row as it is; then
    /// the version is the one that was read, 0 if there was no row.
    ///
    /// # Errors
    ///
    /// [`Error`]; within the deadline of one call.
    pub async fn update(
        &self,
        key: impl Into<Bytes>,
        mut change: impl FnMut(Option<&Entry>) -> Option<Bytes>,
    ) -> Result<u64, Error> {
        let key = key.into();
        let until = Instant::now() + self.inner.deadline;
        let mut failures = 0;
        loop {
            let consistency = Some(Consistency::Linearizable);
            let entry = self.get_with(key.clone(), GetOptions { consistency }).await?;
            let Some(value) = change(entry.as_ref()) else {
                return Ok(entry.map_or(0, |entry| entry.version));
            };
            let condition = match &entry {
                Some(entry) => Condition::Version(entry.version),
                None => Condition::Absent,
            };
            let options = PutOptions { condition, ..PutOptions::default() };
            match self.put_with(key.clone(), value, options).await {
                Err(Error { kind: ErrorKind::VersionMismatch { .. }, .. })
                    if Instant::now() < until =>
                {
                    failures += 1;
                    tokio::time::sleep(crate::call::pause(&self.inner.retry, failures)).await;
                }
                ended => return ended,
            }
        }
    }

    /// Rows in order of key. Each shard is seen as of one moment, all of them together are not.
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan::new(Arc::clone(&self.inner), options)
    }

    /// Members and shards.
    ///
    /// # Errors
    ///
    /// If no node says within the deadline.
    pub async fn topology(&self) -> Result<Arc<Topology>, Error> {
        self.inner.topology(Instant::now() + self.inner.deadline).await
    }

    /// The same, to wait for the next. Before anything is known it has no shards.
    pub fn watch_topology(&self) -> watch::Receiver<Arc<Topology>> {
        self.inner.routes.watch()
    }

    /// Where a key lives.
    ///
    /// # Errors
    ///
    /// If no node says within the deadline.
    pub async fn locate(&self, key: impl AsRef<[u8]>) -> Result<Location, Error> {
        let topology = self.topology().await?;
        let shard = topology.shard_of(key.as_ref()).unwrap_or_default();
        let of = &topology.shards[shard as usize];
        let leader = topology.address(of.leader).map(str::to_owned);
        Ok(Location { shard, voters: of.voters.clone(), leader })
    }

    /// A connection to a node, for calls that this client does not have.
    ///
    /// # Errors
    ///
    /// If it is no address.
    pub fn channel(&self, address: &str) -> Result<Channel, Error> {
        Ok(self.inner.routes.pipe(address)?.channel().clone())
    }
}

fn write(key: &[u8]) -> Call<'_> {
    Call { target: Target::Key(key), is_write: true, is_any: false }
}
