//! The loop that owns a node, on a thread of its own.
//!
//! 1. It waits for a command, or for the time that the node named.
//! 2. It takes all commands that have come, up to a bound, and hands them to the node.
//! 3. The node takes a turn; what comes out is handed on: packets to the [`Network`], answers to whoever waits.
//! 4. If something is different that others look at, it publishes that ([`Topology`]).
//!
//! Invariants: a request that was handed in has exactly one answer, or its sender is dropped, which [`Handle`] reads as an unknown outcome. Nothing here waits for a
//! socket: what the network cannot take now is lost, as packets may be.

use crate::topology::{self, Topology};
use crate::write_times::WriteTimes;
use bytes::Bytes;
use nori_consensus::{NodeId, ShardId};
use nori_env::{Clock, OsClock};
use nori_kv::Tick;
use norikv_node::{Event, Fatal, Node, Output, Refused, Waker};
use norikv_placement::Change;
use norikv_replica::{Answer, Now, Reply, Request, RequestId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, oneshot, watch};

/// The most commands that are handed to the node before it takes a turn: so many that a batch is worth its sync, so few that the first of them does not wait.
const COMMANDS_MAX: usize = 4_096;
/// What others look at is published this long after it changed, with whatever changed meanwhile.
const PUBLISH_AFTER: Duration = Duration::from_millis(5);
/// Requests whose clients have gone are looked for this often.
const SWEEP: Duration = Duration::from_secs(1);
/// Before the loop sleeps it lets others have its processor so often.
const YIELDS: usize = 2;
/// Without a deadline of the node the loop looks up this often.
const IDLE: Duration = Duration::from_secs(1);
/// Bytes of packets that other nodes may have waiting for the loop.
const PACKET_BYTES_MAX: usize = 64 << 20;
/// Events that whoever watches may lag behind.
const EVENTS_MAX: usize = 1_024;

/// Where a node's packets go. Nothing of it blocks; what cannot be taken is lost.
pub trait Network: Send {
    /// A packet for a node at a peer address; `None` if nobody has said where it is.
    fn send(&self, to: NodeId, address: Option<&str>, packet: Bytes);
    /// An introduction, to whoever is at a peer address. What comes back is handed in by [`Handle::introduced`].
    fn introduce(&self, address: String, packet: Bytes);
    /// A packet of the failure detector.
    fn gossip(&self, to: String, class: nori_swim::Class, packet: Bytes);
}

/// Why a node has ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It was asked to.
    #[error("the node was stopped")]
    Stopped,
    /// It cannot go on.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The loop panicked, which is a fault of this program.
    #[error("the loop of the node panicked: {0}")]
    Panicked(String),
}

/// Why the loop has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// This node has no replica of the shard: nothing has happened.
    NotHere,
    /// The node ended, or the replica did, while the request was under way: what came of it nobody knows.
    Lost,
}

type Asked = Box<dyn FnOnce(&mut Node, Now) + Send>;

enum Command {
    Wake,
    Packet(NodeId, Bytes, OwnedSemaphorePermit),
    Gossip(nori_swim::Class, Bytes),
    Introduction(String, Bytes, oneshot::Sender<Bytes>),
    Introduced(String, Bytes),
    Unreachable(NodeId),
    Request(ShardId, Request, Waits),
    Decide(Change, oneshot::Sender<Result<(), Refused>>),
    Ask(Asked),
    Leave,
    Stop,
}

/// The clocks of a node: one that only goes on, and the time of day.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    steady: OsClock,
    /// By how many milliseconds the time of day runs ahead: for tests of expiry.
    ahead: Arc<AtomicU64>,
}

impl Clocks {
    /// The present.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let ahead = self.ahead.load(Ordering::Relaxed);
        Now {
            steady: nori_consensus::Instant { nanos: self.steady.now().nanos },
            wall: Tick(millis.saturating_add(ahead)),
        }
    }

    /// Lets the time of day run ahead by so much.
    pub fn set_ahead(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead.store(millis, Ordering::Relaxed);
    }
}

/// How to talk to a node's loop. Clones talk to the same one.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    packets: Arc<Semaphore>,
    clocks: Clocks,
    topology: watch::Receiver<Arc<Topology>>,
    events: broadcast::Sender<Event>,
    write_times: Arc<WriteTimes>,
}

impl Handle {
    /// The present, by the node's clocks.
    pub fn now(&self) -> Now {
        self.clocks.now()
    }

    /// The clocks themselves.
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Who is where, as far as the node knows.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.borrow())
    }

    /// The same, to wait for the next.
    pub fn watch(&self) -> watch::Receiver<Arc<Topology>> {
        self.topology.clone()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Where the time of clients' writes goes.
    pub fn write_times(&self) -> &WriteTimes {
        &self.write_times
    }

    /// A packet came from `from`. Waits while the loop has too many of them.
    pub async fn packet(&self, from: NodeId, packet: Bytes) {
        let bytes = packet.len().clamp(1, PACKET_BYTES_MAX) as u32;
        if let Ok(permit) = Arc::clone(&self.packets).acquire_many_owned(bytes).await {
            self.put(Command::Packet(from, packet, permit));
        }
    }

    /// A packet of somebody's failure detector came.
    pub fn gossip(&self, class: nori_swim::Class, packet: Bytes) {
        self.put(Command::Gossip(class, packet));
    }

    /// Somebody at `by` introduces itself: what it is told. `None` if the node has ended.
    pub async fn introduction(&self, by: String, packet: Bytes) -> Option<Bytes> {
        let (reply, answer) = oneshot::channel();
        self.put(Command::Introduction(by, packet, reply));
        answer.await.ok()
    }

    /// What came back from an introduction.
    pub fn introduced(&self, address: String, answer: Bytes) {
        self.put(Command::Introduced(address, answer));
    }

    /// A node cannot be reached.
    pub fn unreachable(&self, node: NodeId) {
        self.put(Command::Unreachable(node));
    }

    /// A client's request.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`].
    pub async fn request(&self, shard: ShardId, request: Request) -> Result<Answer, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        let is_followed =
            matches!(request, Request::Write { .. }) && self.write_times.is_next_followed();
        let arrived = is_followed.then(|| self.clocks.now().steady);
        self.put(Command::Request(shard, request, Waits { reply, arrived, queued: None }));
        answer.await.unwrap_or(Err(NoAnswer::Lost))
    }

    /// An operator's request to change the map.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub async fn decide(&self, change: Change) -> Result<(), Refused> {
        let (reply, answer) = oneshot::channel();
        self.put(Command::Decide(change, reply));
        answer.await.unwrap_or(Err(Refused::Unknown))
    }

    /// Has `question` answered on the loop: it must be quick. `None` if the node has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Node, Now) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.put(Command::Ask(Box::new(move |node, now| {
            let _ = reply.send(question(node, now));
        })));
        answer.await.ok()
    }

    /// The node hands over what it leads, and tells the others that it leaves.
    pub fn leave(&self) {
        self.put(Command::Leave);
    }

    /// The node ends.
    pub fn stop(&self) {
        self.put(Command::Stop);
    }

    fn put(&self, command: Command) {
        // Where the loop has ended, whoever waits for an answer sees its sender go.
        let _ = self.commands.send(command);
    }
}

/// A node that runs.
pub struct Driver {
    handle: Handle,
    thread: JoinHandle<Ended>,
    ended: oneshot::Receiver<()>,
}

impl Driver {
    /// Boots a node on a thread of its own. `boot` gets what wakes the loop and the present, and waits for the disk; `network` is where packets go.
    ///
    /// # Errors
    ///
    /// As the operating system has it, if there can be no thread. That a node cannot begin is how it ends.
    pub fn start(
        name: &str,
        boot: impl FnOnce(Waker, Now) -> Result<Node, Fatal> + Send + 'static,
        network: impl FnOnce(Handle) -> Box<dyn Network>,
    ) -> std::io::Result<Self> {
        let (commands, queue) = channel();
        let (publish, topology) = watch::channel(Arc::new(Topology::default()));
        let events = broadcast::Sender::new(EVENTS_MAX);
        let handle = Handle {
            commands: commands.clone(),
            packets: Arc::new(Semaphore::new(PACKET_BYTES_MAX)),
            clocks: Clocks::default(),
            topology,
            events: events.clone(),
            write_times: Arc::default(),
        };
        let write_times = Arc::clone(&handle.write_times);
        let outward = Outward { network: network(handle.clone()), publish, events, write_times };
        let is_woken = Arc::new(AtomicBool::new(false));
        let waker: Waker = {
            let is_woken = Arc::clone(&is_woken);
            Arc::new(move || {
                if !is_woken.swap(true, Ordering::AcqRel) {
                    let _ = commands.send(Command::Wake);
                }
            })
        };
        let clocks = handle.clocks.clone();
        let (end, ended) = oneshot::channel();
        let run = move || {
            let run = std::panic::AssertUnwindSafe(|| {
                let node = boot(waker, clocks.now())?;
                Loop::new(node, queue, clocks, is_woken, outward).run()
            });
            let ended = match std::panic::catch_unwind(run) {
                Ok(Ok(())) => Ended::Stopped,
                Ok(Err(fatal)) => Ended::Fatal(fatal),
                Err(panic) => Ended::Panicked(words(&*panic)),
            };
            let _ = end.send(());
            ended
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { handle, thread, ended })
    }

    /// How to talk to it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until the node has ended; why it has.
    pub async fn ended(self) -> Ended {
        let _ = self.ended.await;
        self.thread.join().unwrap_or_else(|panic| Ended::Panicked(words(&*panic)))
    }
}

/// The commands that have come, and the present, which is **after** all of them came: a lease rests on when a message was sent, and what a follower promised for it must
/// not seem to have begun before that, however long this thread stood still.
fn gather<C>(first: Option<C>, queue: &Receiver<C>, now: impl FnOnce() -> Now) -> (Vec<C>, Now) {
    let mut commands: Vec<C> = first.into_iter().collect();
    commands.extend(queue.try_iter().take(COMMANDS_MAX - commands.len()));
    (commands, now())
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Who waits for an answer.
struct Waits {
    reply: oneshot::Sender<Result<Answer, NoAnswer>>,
    /// When it came, of a write whose way is followed.
    arrived: Option<nori_consensus::Instant>,
    /// How long it lay in the queue, of such a write that was taken.
    queued: Option<Duration>,
}

/// Where a node's outputs go.
struct Outward {
    network: Box<dyn Network>,
    publish: watch::Sender<Arc<Topology>>,
    events: broadcast::Sender<Event>,
    write_times: Arc<WriteTimes>,
}

struct Loop {
    node: Node,
    queue: Receiver<Command>,
    network: Box<dyn Network>,
    clocks: Clocks,
    publish: watch::Sender<Arc<Topology>>,
    events: broadcast::Sender<Event>,
    write_times: Arc<WriteTimes>,
    is_woken: Arc<AtomicBool>,
    /// Requests under way. Their numbers stay below 2^63, as the node wants it.
    waiting: HashMap<RequestId, (ShardId, Waits)>,
    deciding: HashMap<RequestId, oneshot::Sender<Result<(), Refused>>>,
    last: u64,
    /// When what changed is published.
    publish_at: Option<nori_consensus::Instant>,
    swept_at: nori_consensus::Instant,
    outputs: Vec<Output>,
    is_over: bool,
}

impl Loop {
    fn new(
        node: Node,
        queue: Receiver<Command>,
        clocks: Clocks,
        is_woken: Arc<AtomicBool>,
        outward: Outward,
    ) -> Self {
        let Outward { network, publish, events, write_times } = outward;
        let now = clocks.now().steady;
        Self {
            node,
            queue,
            network,
            clocks,
            publish,
            events,
            write_times,
            is_woken,
            waiting: HashMap::new(),
            deciding: HashMap::new(),
            last: 0,
            publish_at: Some(now),
            swept_at: now,
            outputs: Vec::new(),
            is_over: false,
        }
    }

    fn run(mut self) -> Result<(), Fatal> {
        let mut first = None;
        loop {
            self.take(first)?;
            let now = self.clocks.now();
            let mut outputs = std::mem::take(&mut self.outputs);
            self.node.turn(now, &mut outputs)?;
            outputs.drain(..).for_each(|output| self.hand_on(output));
            self.outputs = outputs;
            self.publish(now);
            self.sweep(now);
            if self.is_over {
                return Ok(());
            }
            first = match self.wait(self.pause(now)) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                // Nobody can talk to the node any more.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
        }
    }

    /// Waits for a command. Others go first: under load somebody is about to send, and whoever finds this thread awake need not wake it.
    fn wait(&self, pause: Duration) -> Result<Command, RecvTimeoutError> {
        for _ in 0..if pause.is_zero() { 0 } else { YIELDS } {
            if let Ok(command) = self.queue.try_recv() {
                return Ok(command);
            }
            std::thread::yield_now();
        }
        self.queue.recv_timeout(pause)
    }

    fn pause(&self, now: Now) -> Duration {
        let next = [self.node.deadline(), self.publish_at].into_iter().flatten().min();
        next.map_or(IDLE, |at| at.since(now.steady).min(IDLE))
    }

    /// Hands the commands that have come to the node.
    fn take(&mut self, first: Option<Command>) -> Result<(), Fatal> {
        // Cleared before the queue is looked at: who wakes from now on is seen in the next round.
        self.is_woken.store(false, Ordering::Release);
        let clocks = self.clocks.clone();
        let (commands, now) = gather(first, &self.queue, || clocks.now());
        commands.into_iter().try_for_each(|command| self.command(now, command))
    }

    fn next_id(&mut self) -> RequestId {
        self.last += 1;
        RequestId(self.last)
    }

    fn command(&mut self, now: Now, command: Command) -> Result<(), Fatal> {
        match command {
            Command::Wake => {}
            Command::Packet(from, packet, permit) => {
                // One that is none for this node counts for nothing; the node's peers say everything again.
                let _ = self.node.receive(now, from, &packet);
                drop(permit);
            }
            Command::Gossip(class, packet) => self.node.gossip(now, class, &packet),
            Command::Introduction(by, packet, reply) => {
                let answer = self.node.introduction(now, &by, &packet)?;
                let _ = reply.send(answer);
            }
            Command::Introduced(address, answer) => {
                self.node.introduced(now, &address, &answer)?;
            }
            Command::Unreachable(node) => self.node.unreachable(now, node),
            Command::Request(shard, request, waits) => self.request(now, shard, request, waits),
            Command::Decide(change, reply) => {
                let id = self.next_id();
                self.deciding.insert(id, reply);
                self.node.decide(id, change);
            }
            Command::Ask(question) => question(&mut self.node, now),
            Command::Leave => {
                if let Some(member) = self.node.member_mut() {
                    member.leave(now)?;
                }
            }
            Command::Stop => self.is_over = true,
        }
        Ok(())
    }

    fn request(&mut self, now: Now, shard: ShardId, request: Request, mut waits: Waits) {
        let id = self.next_id();
        waits.queued = waits.arrived.map(|arrived| now.steady.since(arrived));
        if waits.queued.is_some() {
            self.node.trace(shard, id);
        }
        if self.node.request(now, shard, id, request) {
            self.waiting.insert(id, (shard, waits));
        } else {
            self.node.traced(shard, id);
            let _ = waits.reply.send(Err(NoAnswer::NotHere));
        }
    }

    fn answer(&mut self, answer: Answer) {
        let Some((shard, waits)) = self.waiting.remove(&answer.request) else { return };
        let (id, is_written) = (answer.request, matches!(answer.reply, Reply::Written(_)));
        let _ = waits.reply.send(Ok(answer));
        if let Some(queued) = waits.queued
            && let Some(stages) = self.node.traced(shard, id).filter(|_| is_written)
        {
            self.write_times.record(queued, &stages);
        }
    }

    fn hand_on(&mut self, output: Output) {
        match output {
            Output::Send { to, packet } => {
                let address = self.node.addresses(to).map(|at| at.peer.as_str());
                self.network.send(to, address, packet);
            }
            Output::Introduce { address, packet } => self.network.introduce(address, packet),
            Output::Gossip { to, class, packet } => self.network.gossip(to, class, packet),
            Output::Answer { answer, .. } => self.answer(answer),
            Output::Decided { request, result } => {
                if let Some(reply) = self.deciding.remove(&request) {
                    let _ = reply.send(result);
                }
            }
            Output::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: Event) {
        if let Event::Failed { shard, .. } = &event {
            self.lose(|of| of == *shard);
        }
        let now = self.clocks.now().steady;
        self.publish_at.get_or_insert(now.after(PUBLISH_AFTER));
        let _ = self.events.send(event);
    }

    /// Requests of these shards have no answer any more.
    fn lose(&mut self, is_lost: impl Fn(ShardId) -> bool) {
        let lost = self.waiting.extract_if(|_, (shard, _)| is_lost(*shard));
        for (_, (_, waits)) in lost {
            let _ = waits.reply.send(Err(NoAnswer::Lost));
        }
    }

    fn publish(&mut self, now: Now) {
        if self.publish_at.is_some_and(|at| at <= now.steady) {
            self.publish_at = None;
            self.publish.send_replace(Arc::new(topology::of(&self.node)));
        }
    }

    /// Forgets requests that nobody waits for, and loses those whose replica has gone.
    fn sweep(&mut self, now: Now) {
        if now.steady.since(self.swept_at) < SWEEP {
            return;
        }
        self.swept_at = now.steady;
        self.waiting.retain(|_, (_, waits)| !waits.reply.is_closed());
        if let Some(member) = self.node.member() {
            let here: std::collections::HashSet<ShardId> =
                member.replicas().shards().map(|(shard, _)| shard).collect();
            self.lose(|shard| !here.contains(&shard));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Now, gather};
    use std::sync::mpsc::channel;

    #[test]
    fn the_clock_is_read_when_everything_has_come_that_is_handled_by_it() {
        let (sender, queue) = channel();
        sender.send(2).unwrap();
        let late = || {
            // Somebody sends this while the clock is read: it may be later than what the clock said.
            sender.send(3).unwrap();
            Now::default()
        };
        assert_eq!(gather(Some(1), &queue, late).0, [1, 2]);
        assert_eq!(gather(None, &queue, Now::default).0, [3]);
    }
}
