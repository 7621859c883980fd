//! What a node has on its disk before anything else: who it is, and which cluster it is of.
//!
//! * `NODE` is made when the folder is used first: a number that no other node has, drawn by lot, and how often it was started since. A folder that is lost takes
//!   the number with it, so that nobody who has forgotten his promises comes back under his name.
//! * `CHARTER` is made when the cluster is founded, the same on all of its founders, or handed to who joins. It never changes: what does is in the
//!   shard map.
//!
//! Both are written beside their place, synced, and put there by a rename. Bytes: a version, the content, CRC-32C of all before it.

use crate::packet::ClusterId;
use bytes::{Buf, BufMut, Bytes};
use nori_consensus::NodeId;
use nori_env::{Entropy, Fs, OpenMode, SyncTicket, Tasks, Waited, crc32c, make_dir};
use norikv_placement::ShardMap;
use norikv_replica::codec::{put_bytes, put_number, take_bytes, take_number};
use std::io;
use std::path::{Path, PathBuf};

const VERSION: u8 = 1;
const NODE: &str = "NODE";
const CHARTER: &str = "CHARTER";
/// The most founders of a cluster.
const FOUNDERS_MAX: u64 = 1 << 10;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number: never 0, and no other node's.
    pub node: NodeId,
    /// How often it was started, this time included.
    pub boots: u64,
    /// What the machine called its own start when the node was started before this; empty if that is not known.
    pub machine_boot: String,
}

/// Where a node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// What people call it.
    pub name: String,
    /// By clients, as host:port.
    pub client: String,
    /// By other nodes.
    pub peer: String,
    /// By the failure detectors of other nodes.
    pub swim: String,
    /// By browsers and scrapers.
    pub http: String,
}

/// What a cluster was founded as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charter {
    /// Its number, drawn by lot.
    pub cluster: ClusterId,
    /// What people call it.
    pub name: String,
    /// The replication protocol of all of its nodes: replicas of two would not understand each other.
    pub protocol: String,
    /// The founders, and where they were then.
    pub founders: Vec<(NodeId, Addresses)>,
    /// The first shard map; its last shard is the one with the map itself.
    pub map: ShardMap,
}

/// Why something on the disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CharterError {
    /// The disk failed.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// As the disk says it.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{} is damaged, or of a later version: without it this node cannot know who it is", .0.display())]
    Damaged(PathBuf),
}

type Result<T> = std::result::Result<T, CharterError>;

/// The disk, and where a sync can be waited for.
#[derive(Clone, Copy)]
pub struct Files<'f> {
    /// The disk.
    pub fs: &'f dyn Fs,
    /// Where to wait.
    pub tasks: &'f dyn Tasks,
}

impl Identity {
    /// The identity in `dir` at its next start, or a new one; it is safe when this returns. Waits for the disk.
    ///
    /// # Errors
    ///
    /// [`CharterError`].
    pub fn boot(
        dir: &Path,
        machine_boot: &str,
        files: Files<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let path = dir.join(NODE);
        let before = match read(files, &path)? {
            Some(bytes) => Self::decode(bytes).ok_or(CharterError::Damaged(path))?,
            None => {
                // Zero is nobody; numbers of 53 bits survive every language's.
                let node = NodeId((entropy.next_u64() >> 11).max(1));
                Self { node, boots: 0, machine_boot: String::new() }
            }
        };
        let now = Self {
            boots: before.boots + 1,
            machine_boot: machine_boot.to_owned(),
            ..before.clone()
        };
        write(files, dir, NODE, &now.encode())?;
        Ok(Self { machine_boot: before.machine_boot, ..now })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.node.0);
        put_number(&mut out, self.boots);
        put_bytes(&mut out, self.machine_boot.as_bytes());
        out
    }

    fn decode(mut from: Bytes) -> Option<Self> {
        let node = NodeId(take_number(&mut from)?);
        let boots = take_number(&mut from)?;
        let machine_boot = take_text(&mut from)?;
        from.is_empty().then_some(Self { node, boots, machine_boot })
    }
}

impl Addresses {
    pub(crate) fn put(&self, into: &mut impl BufMut) {
        for text in [&self.name, &self.client, &self.peer, &self.swim, &self.http] {
            put_bytes(into, text.as_bytes());
        }
    }

    pub(crate) fn take(from: &mut Bytes) -> Option<Self> {
        let mut next = || take_text(from);
        Some(Self { name: next()?, client: next()?, peer: next()?, swim: next()?, http: next()? })
    }
}

impl Charter {
    /// The charter in `dir`, if there is one. Waits for the disk.
    ///
    /// # Errors
    ///
    /// [`CharterError`].
    pub fn read(dir: &Path, files: Files<'_>) -> Result<Option<Self>> {
        let path = dir.join(CHARTER);
        match read(files, &path)? {
            Some(bytes) => Self::decode(bytes).map(Some).ok_or(CharterError::Damaged(path)),
            None => Ok(None),
        }
    }

    /// Keeps it in `dir`; it is safe when this returns. Waits for the disk.
    ///
    /// # Errors
    ///
    /// [`CharterError`].
    pub fn write(&self, dir: &Path, files: Files<'_>) -> Result<()> {
        write(files, dir, CHARTER, &self.encode())
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64_le(self.cluster.0);
        put_bytes(&mut out, self.name.as_bytes());
        put_bytes(&mut out, self.protocol.as_bytes());
        put_number(&mut out, self.founders.len() as u64);
        for (node, addresses) in &self.founders {
            put_number(&mut out, node.0);
            addresses.put(&mut out);
        }
        put_bytes(&mut out, &self.map.encode());
        out
    }

    /// The charter in these bytes; `None` if it is none. Never panics.
    pub fn decode(mut from: Bytes) -> Option<Self> {
        let cluster = ClusterId(from.try_get_u64_le().ok()?);
        let name = take_text(&mut from)?;
        let protocol = take_text(&mut from)?;
        let count = take_number(&mut from).filter(|count| *count <= FOUNDERS_MAX)?;
        let mut founders = Vec::new();
        for _ in 0..count {
            let node = NodeId(take_number(&mut from)?);
            founders.push((node, Addresses::take(&mut from)?));
        }
        let map = ShardMap::decode(&take_bytes(&mut from)?).ok()?;
        from.is_empty().then_some(Self { cluster, name, protocol, founders, map })
    }
}

pub(crate) fn take_text(from: &mut Bytes) -> Option<String> {
    String::from_utf8(take_bytes(from)?.to_vec()).ok()
}

/// The content of a file of ours; `None` if there is no such file.
pub(crate) fn read(files: Files<'_>, path: &Path) -> Result<Option<Bytes>> {
    let bytes = match files.fs.read(path) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(CharterError::Io { doing: "reading", path: path.to_owned(), source });
        }
    };
    let damaged = || CharterError::Damaged(path.to_owned());
    let end = bytes.len().checked_sub(4).ok_or_else(damaged)?;
    let content = bytes.slice(..end);
    if content.first() != Some(&VERSION) || crc32c(&content) != bytes.slice(end..).get_u32_le() {
        return Err(damaged());
    }
    Ok(Some(content.slice(1..)))
}

/// The names of the files in `dir`; none if there is no such folder.
pub(crate) fn names(files: Files<'_>, dir: &Path) -> Result<Vec<String>> {
    match files.fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(|source| CharterError::Io {
            doing: "listing",
            path: dir.to_owned(),
            source,
        }),
    }
}

/// Removes a file of ours, if it is there; that it is gone is safe when this returns.
pub(crate) fn remove(files: Files<'_>, dir: &Path, name: &str) -> Result<()> {
    let path = dir.join(name);
    let gone = match files.fs.remove(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| files.fs.sync_dir(dir)),
    };
    gone.map_err(|source| CharterError::Io { doing: "removing", path, source })
}

/// Puts a file of ours in its place; it is safe when this returns.
pub(crate) fn write(files: Files<'_>, dir: &Path, name: &str, content: &[u8]) -> Result<()> {
    let Files { fs, tasks } = files;
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(content);
    let checksum = crc32c(&bytes);
    bytes.put_u32_le(checksum);
    let (path, next) = (dir.join(name), dir.join(format!("{name}.next")));
    let put = || {
        make_dir(fs, dir)?;
        match fs.remove(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = fs.open(&next, OpenMode::CreateNew)?;
        file.write_at(&bytes, 0)?;
        let sync = SyncTicket::start(|done| file.sync(done));
        if tasks.wait(sync.signal()) == Waited::Stuck {
            return Err(io::Error::other("nothing will end the sync"));
        }
        sync.take().unwrap_or_else(|| Err(io::Error::other("a sync without an end")))?;
        fs.rename(&next, &path)?;
        fs.sync_dir(dir)
    };
    put().map_err(|source| CharterError::Io { doing: "writing", path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nori_env::{ManualClock, MemFs, SeededEntropy, SeededTasks};
    use norikv_placement::{Member, MemberState, ReplicaCount, ShardCount, Weight, Zone};

    fn charter() -> Charter {
        let member = Member {
            zone: Zone::new("a").unwrap(),
            weight: Weight::new(1).unwrap(),
            state: MemberState::Active,
        };
        let node = norikv_placement::NodeId(5);
        let (shards, replicas) = (ShardCount::new(9).unwrap(), ReplicaCount::new(3).unwrap());
        let map = ShardMap::bootstrap(shards, replicas, [(node, member)].into()).unwrap();
        let addresses = Addresses { peer: "127.0.0.1:9101".to_owned(), ..Addresses::default() };
        let founders = vec![(NodeId(5), addresses)];
        let (name, protocol) = ("test".to_owned(), "nori".to_owned());
        Charter { cluster: ClusterId(u64::MAX), name, protocol, founders, map }
    }

    fn boot(fs: &MemFs, seed: u64) -> Result<Identity> {
        let tasks = SeededTasks::new(seed, ManualClock::default());
        let machine = format!("start {seed}");
        let files = Files { fs, tasks: &tasks };
        Identity::boot(Path::new("/data"), &machine, files, &SeededEntropy::new(seed))
    }

    #[test]
    fn a_folder_has_one_number_and_counts_starts() {
        let fs = MemFs::new();
        let first = boot(&fs, 1).unwrap();
        assert_eq!((first.boots, &first.machine_boot[..]), (1, ""));
        let second = boot(&fs, 2).unwrap();
        assert_eq!(
            (second.node, second.boots, &second.machine_boot[..]),
            (first.node, 2, "start 1")
        );
        assert_ne!(boot(&MemFs::new(), 3).unwrap().node, first.node);
    }

    #[test]
    fn a_charter_comes_back_and_damage_is_named() {
        let (fs, dir) = (MemFs::new(), Path::new("/data"));
        let tasks = SeededTasks::new(1, ManualClock::default());
        let files = Files { fs: &fs, tasks: &tasks };
        assert!(Charter::read(dir, files).unwrap().is_none());
        charter().write(dir, files).unwrap();
        assert_eq!(Charter::read(dir, files).unwrap(), Some(charter()));
        let whole = fs.read(&dir.join(CHARTER)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            let fs = MemFs::new();
            fs.create_dir(dir).unwrap();
            let file = fs.open(&dir.join(CHARTER), OpenMode::CreateNew).unwrap();
            file.write_at(&bytes, 0).unwrap();
            let error = Charter::read(dir, Files { fs: &fs, tasks: &tasks }).unwrap_err();
            assert!(error.to_string().contains("CHARTER is damaged"), "{error}");
        }
    }

    #[test]
    fn no_cut_of_a_charter_is_one() {
        let whole = Bytes::from(charter().encode());
        assert_eq!(Charter::decode(whole.clone()), Some(charter()));
        for end in 0..whole.len() {
            assert_eq!(Charter::decode(whole.slice(..end)), None);
        }
    }
}
