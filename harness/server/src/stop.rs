//! The end of a server, in order, and within a time.
//!
//! 1. Health says that it does not serve any more, and the failure detector that it leaves.
//! 2. It hands over the shards that it leads, so that nobody waits for an election.
//! 3. No connection is taken any more; requests under way may finish for a while.
//! 4. The node ends. What was acknowledged is in the log; nothing has to be flushed for that.
//!
//! After the deadline the process ends whatever is under way.

use crate::Running;
use norikv_transport_grpc::Ended;
use std::time::{Duration, Instant};

/// How often it is looked whether everything is handed over.
const LOOK: Duration = Duration::from_millis(10);
/// The most that handing over may take of the deadline.
const HAND_OVER_PART: u32 = 2;

impl Running {
    /// Ends at once: nobody is told, nothing is handed over. What is left are its sockets, which answer nobody any more.
    pub(crate) async fn kill(self) -> norikv_transport_grpc::Serving {
        self.driver.handle().stop();
        self.driver.ended().await;
        self.serving
    }

    /// Ends in order; why the node ended, if not for this.
    pub async fn stop(self) -> Ended {
        let begun = Instant::now();
        let Self { driver, serving, resolved, lock, requests: _ } = self;
        let handle = driver.handle().clone();
        serving.announce_end().await;
        handle.leave();
        let until = begun + resolved.deadline / HAND_OVER_PART;
        while Instant::now() < until {
            let is_gone =
                handle.ask(|node, _| node.member().is_none_or(norikv_node::Member::is_gone));
            if is_gone.await.unwrap_or(true) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let left = resolved.deadline.saturating_sub(begun.elapsed());
        if !serving.stop(resolved.grace.min(left)).await {
            tracing::warn!("clients that did not go were left behind");
        }
        handle.stop();
        let ended = driver.ended().await;
        drop(lock);
        ended
    }
}
