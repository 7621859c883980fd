//! Clients in a closed loop: each has one entry under way, and all live on one thread.

use anyhow::{Result, bail};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A client, and the ticket of its entry.
pub(crate) type Client = u32;

/// How long a group may take to get going.
const PATIENCE: Duration = Duration::from_secs(20);

/// Proposes in closed loops; entries a second, once the group has got going.
///
/// `propose` takes the clients that are to propose, `done` those whose entry is applied.
///
/// # Errors
///
/// If nothing comes back.
pub(crate) fn measure(
    clients: usize,
    time: Duration,
    mut propose: impl FnMut(Vec<Client>) -> Result<()>,
    done: &Receiver<Vec<Client>>,
) -> Result<f64> {
    propose((0..clients as Client).collect())?;
    let mut turn = |wait: Duration| -> Result<usize> {
        let mut ended = match done.recv_timeout(wait) {
            Ok(ended) => ended,
            Err(RecvTimeoutError::Timeout) => bail!("no entry was applied for {wait:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("a node is gone"),
        };
        while let Ok(more) = done.try_recv() {
            ended.extend(more);
        }
        let count = ended.len();
        propose(ended)?;
        Ok(count)
    };
    // What does not count: half as long.
    let warm = Instant::now() + time / 2;
    while Instant::now() < warm {
        turn(PATIENCE)?;
    }
    let begun = Instant::now();
    let mut entries = 0;
    while begun.elapsed() < time {
        entries += turn(PATIENCE)?;
    }
    Ok(entries as f64 / begun.elapsed().as_secs_f64())
}
