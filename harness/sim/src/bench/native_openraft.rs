//! openraft on tokio, its own runtime: a thread a node, its log and state machine in memory, calls between threads for a network.

use super::NODES;
use super::clients::{Client, measure};
use super::driver::await_leader;
use anyhow::{Result, anyhow};
use futures_util::{Stream, StreamExt};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::leader_id_std;
use openraft::network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder,
    RaftStateMachine, Snapshot, SnapshotMeta,
};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Raft, RaftTypeConfig, SnapshotPolicy};
use openraft_rt_tokio::TokioRuntime;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

type LeaderId = leader_id_std::LeaderId<u64, u64>;
type Committed = <LeaderId as RaftLeaderId>::Committed;
type TheirEntry = openraft::impls::Entry<Committed, EntryPayload<Client, u64, ()>>;
type LogId = openraft::LogId<Committed>;
type Vote = openraft::impls::Vote<LeaderId>;
type Stored = openraft::StoredMembership<Committed, u64, ()>;
type TheirSnapshot = Snapshot<Committed, u64, (), ()>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Types;

impl RaftTypeConfig for Types {
    type D = Client;
    type R = ();
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = EntryPayload<Client, u64, ()>;
    type Entry = TheirEntry;
    type AsyncRuntime = TokioRuntime;
    type Responder<T: 'static> = openraft::impls::OneshotResponder<Self, T>;
    type Batch<T: 'static> = openraft::impls::InlineBatch<T>;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Entries between snapshots, which have nothing in them and only let the log go.
const SNAPSHOT_EVERY: u64 = 10_000;

#[derive(Default)]
struct Inner {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: VecDeque<TheirEntry>,
}

impl Inner {
    fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }
}

#[derive(Clone, Default)]
struct Log(Rc<RefCell<Inner>>);

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<TheirEntry>> {
        let inner = self.0.borrow();
        let (first, count) = (inner.first(), inner.entries.len() as u64);
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => first,
        };
        let upto = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(upto) => *upto,
            Bound::Unbounded => u64::MAX,
        };
        let (from, upto) = (from.max(first), upto.min(first + count));
        let places = (from - first) as usize..(upto.max(from) - first) as usize;
        Ok(inner.entries.range(places).cloned().collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.borrow().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let inner = self.0.borrow();
        let last_log_id = inner.entries.back().map(|entry| entry.log_id).or(inner.purged);
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.borrow_mut().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = TheirEntry>,
    {
        self.0.borrow_mut().entries.extend(entries);
        flushed.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        let kept = last.map_or(0, |last| (last.index + 1).saturating_sub(inner.first()));
        inner.entries.truncate(kept as usize);
        Ok(())
    }

    async fn purge(&mut self, through: LogId) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        while inner.entries.pop_front_if(|entry| entry.log_id.index <= through.index).is_some() {}
        inner.purged = Some(through);
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Machine(Rc<RefCell<(Option<LogId>, Stored)>>);

impl Machine {
    fn snapshot(&self) -> TheirSnapshot {
        let (last_log_id, last_membership) = self.0.borrow().clone();
        Snapshot { meta: SnapshotMeta { last_log_id, last_membership }, snapshot: () }
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<TheirSnapshot> {
        Ok(self.snapshot())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Stored)> {
        Ok(self.0.borrow().clone())
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let mut state = self.0.borrow_mut();
            state.0 = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                state.1 = Stored::new(Some(entry.log_id), membership);
            }
            drop(state);
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<Committed, u64, ()>,
        (): (),
    ) -> io::Result<()> {
        *self.0.borrow_mut() = (meta.last_log_id, meta.last_membership.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<TheirSnapshot>> {
        Ok(Some(self.snapshot()))
    }
}

enum Event {
    Append(AppendEntriesRequest<Types>, oneshot::Sender<AppendEntriesResponse<Types>>),
    Vote(VoteRequest<Types>, oneshot::Sender<VoteResponse<Types>>),
    PreVote(VoteRequest<Types>, oneshot::Sender<VoteResponse<Types>>),
    Propose(Vec<Client>),
    End,
}

type Peers = Arc<BTreeMap<u64, UnboundedSender<Event>>>;

struct Network(Peers);
struct Peer(UnboundedSender<Event>);

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, (): &()) -> Peer {
        Peer(self.0[&target].clone())
    }
}

fn gone() -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&io::Error::other("the node is gone")))
}

impl Peer {
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Event,
    ) -> Result<T, RPCError<Types>> {
        let (answer, asked) = oneshot::channel();
        self.0.send(request(answer)).map_err(|_| gone())?;
        asked.await.map_err(|_| gone())
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.ask(|answer| Event::Append(request, answer)).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(|answer| Event::Vote(request, answer)).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(|answer| Event::PreVote(request, answer)).await
    }

    async fn full_snapshot(
        &mut self,
        _: Vote,
        _: TheirSnapshot,
        _: impl Future<Output = ReplicationClosed> + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(Unreachable::new(&io::Error::other("nobody lags so far"))))
    }
}

type TheirRaft = Raft<Types, Machine>;

async fn node(
    me: u64,
    mut inbox: UnboundedReceiver<Event>,
    peers: Peers,
    done: Sender<Vec<Client>>,
    leader: Arc<AtomicU64>,
) -> Result<()> {
    let config = openraft::Config {
        election_timeout_min: 300,
        election_timeout_max: 600,
        heartbeat_interval: 50,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: SNAPSHOT_EVERY,
        replication_lag_threshold: u64::MAX,
        ..openraft::Config::default()
    };
    let raft =
        TheirRaft::new(me, Arc::new(config), Network(peers), Log::default(), Machine::default());
    let raft = raft.await?;
    if me == 1 {
        raft.initialize((1..=NODES).map(|node| (node, ())).collect::<BTreeMap<_, _>>()).await?;
    }
    let watch = raft.clone();
    tokio::task::spawn_local(async move {
        let leads = watch.wait(None).metrics(|metrics| metrics.state.is_leader(), "").await;
        if leads.is_ok() {
            leader.store(me, Ordering::Relaxed);
        }
    });
    while let Some(event) = inbox.recv().await {
        let raft = raft.clone();
        match event {
            Event::Append(request, answer) => drop(tokio::task::spawn_local(async move {
                if let Ok(said) = raft.append_entries(request).await {
                    let _ = answer.send(said);
                }
            })),
            Event::Vote(request, answer) => drop(tokio::task::spawn_local(async move {
                if let Ok(said) = raft.vote(request).await {
                    let _ = answer.send(said);
                }
            })),
            Event::PreVote(request, answer) => drop(tokio::task::spawn_local(async move {
                if let Ok(said) = raft.pre_vote(request).await {
                    let _ = answer.send(said);
                }
            })),
            Event::Propose(clients) => {
                drop(tokio::task::spawn_local(propose(raft, clients, done.clone())));
            }
            Event::End => break,
        }
    }
    let _ = raft.shutdown().await;
    Ok(())
}

/// Proposes for all of them in one call, until all are applied.
async fn propose(raft: TheirRaft, mut clients: Vec<Client>, done: Sender<Vec<Client>>) {
    while !clients.is_empty() {
        let Ok(results) = raft.client_write_many(clients.clone()).await else { return };
        let results: Vec<_> = results.collect().await;
        let (mut ended, mut again) = (Vec::new(), Vec::new());
        for (client, result) in clients.into_iter().zip(results) {
            let is_applied = matches!(result, Ok(Ok(_)));
            if is_applied { ended.push(client) } else { again.push(client) }
        }
        let _ = done.send(ended);
        clients = again;
        if !clients.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Entries a second.
///
/// # Errors
///
/// If it does not come to a leader.
pub(crate) fn run(clients: usize, time: Duration) -> Result<f64> {
    let leader = Arc::new(AtomicU64::new(0));
    let (done, ended) = channel();
    let (outboxes, inboxes): (Vec<_>, Vec<_>) = (1..=NODES).map(|_| unbounded_channel()).unzip();
    let peers: Peers = Arc::new((1..=NODES).zip(outboxes).collect());
    let threads: Vec<_> = (1..=NODES)
        .zip(inboxes)
        .map(|(me, inbox)| {
            let (peers, done, leader) = (Arc::clone(&peers), done.clone(), Arc::clone(&leader));
            std::thread::spawn(move || -> Result<()> {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_time().build()?;
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, node(me, inbox, peers, done, leader))
            })
        })
        .collect();
    drop(done);
    let rate = await_leader(&leader).and_then(|leader| {
        let leader = &peers[&leader];
        let propose = |clients| {
            leader.send(Event::Propose(clients)).map_err(|_| anyhow!("the leader is gone"))
        };
        measure(clients, time, propose, &ended)
    });
    for peer in peers.values() {
        let _ = peer.send(Event::End);
    }
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a node panicked"))??;
    }
    rate
}
