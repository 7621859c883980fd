//! What stands between nodes: a proxy for each, which knows who calls by the address he calls from.
//!
//! A link that is cut passes nothing on and breaks nothing: packets wait or are gone, as in a network that does not answer.

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

/// From whom, to whom.
type Direction = (IpAddr, IpAddr);

/// Which directions are cut.
#[derive(Clone, Default)]
pub(super) struct Cuts {
    links: Arc<Mutex<HashMap<Direction, watch::Sender<bool>>>>,
}

impl Cuts {
    fn link(&self, from: IpAddr, to: IpAddr) -> watch::Receiver<bool> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.entry((from, to)).or_insert_with(|| watch::Sender::new(false)).subscribe()
    }

    /// Cuts a direction, or joins it again.
    pub(super) fn set(&self, from: IpAddr, to: IpAddr, is_cut: bool) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.entry((from, to)).or_insert_with(|| watch::Sender::new(false)).send_replace(is_cut);
    }

    /// Joins everything.
    pub(super) fn heal(&self) {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.values().for_each(|link| {
            link.send_replace(false);
        });
    }
}

/// Passes on what comes to `at` over TCP.
pub(super) async fn streams(at: SocketAddr, to: SocketAddr, cuts: Cuts) -> Result<()> {
    let listener = TcpListener::bind(at).await.with_context(|| format!("a proxy at {at}"))?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, from)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let (there, back) = (cuts.link(from.ip(), to.ip()), cuts.link(to.ip(), from.ip()));
            tokio::spawn(async move {
                let mut there_too = there.clone();
                // Nobody is reached over a link that is cut.
                if there_too.wait_for(|is_cut| !is_cut).await.is_err() {
                    return;
                }
                let Ok(onward) = TcpStream::connect(to).await else { return };
                let _ = (stream.set_nodelay(true), onward.set_nodelay(true));
                let ((from_read, from_write), (to_read, to_write)) =
                    (stream.into_split(), onward.into_split());
                tokio::select! {
                    () = pass(from_read, to_write, there) => {}
                    () = pass(to_read, from_write, back) => {}
                }
            });
        }
    });
    Ok(())
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut is_cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(len @ 1..) = from.read(&mut buffer).await else { return };
        if is_cut.wait_for(|is_cut| !is_cut).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

/// Passes on what comes to `at` over UDP.
pub(super) async fn datagrams(at: SocketAddr, to: SocketAddr, cuts: Cuts) -> Result<()> {
    let socket = UdpSocket::bind(at).await.with_context(|| format!("a proxy at {at}"))?;
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
            if !*cuts.link(from.ip(), to.ip()).borrow() {
                let _ = socket.send_to(&buffer[..len], to).await;
            }
        }
    });
    Ok(())
}
