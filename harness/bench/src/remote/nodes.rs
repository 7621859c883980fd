//! The processes of a cluster: each with an address of its own on this machine, and gone when the run is.

use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// For a cluster to be founded and led.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it is. None of the bench's clocks run yet.
const LOOK: Duration = Duration::from_millis(20);

/// Processes that are killed when this is dropped.
pub(super) struct Nodes {
    /// Each with the file that its lines go into.
    children: Vec<(Child, PathBuf)>,
}

/// A node cannot listen where it is to.
#[derive(Debug)]
pub(super) struct CannotListen {
    at: SocketAddr,
    why: std::io::Error,
}

impl fmt::Display for CannotListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a cluster needs {} on this machine, and cannot listen there: {}",
            self.at, self.why
        )
    }
}

impl std::error::Error for CannotListen {}

/// Looks whether so many nodes can listen at these ports, of TCP and of UDP: told before any is started, it is told plainly.
pub(super) fn check_free(
    nodes: usize,
    tcp: &[u16],
    udp: &[u16],
) -> std::result::Result<(), CannotListen> {
    for node in 0..nodes {
        let sockets =
            tcp.iter().map(|port| (port, true)).chain(udp.iter().map(|port| (port, false)));
        for (port, is_tcp) in sockets {
            let at = SocketAddr::from((address(node), *port));
            let taken = if is_tcp {
                TcpListener::bind(at).map(drop)
            } else {
                UdpSocket::bind(at).map(drop)
            };
            taken.map_err(|why| CannotListen { at, why })?;
        }
    }
    Ok(())
}

/// The address of a node of this process's cluster. All of `127.0.0.0/8` is this machine; each bench takes a net of its own, so that two do not meet.
pub(super) fn address(node: usize) -> Ipv4Addr {
    let pid = std::process::id();
    Ipv4Addr::new(127, 64 + (pid >> 8) as u8 % 128, pid as u8, node as u8 + 1)
}

impl Nodes {
    pub(super) fn new() -> Self {
        Self { children: Vec::new() }
    }

    /// Starts one more, whose lines go into a file in `dir`.
    pub(super) fn start(&mut self, dir: &Path, program: &Path, args: &[String]) -> Result<()> {
        fs::create_dir_all(dir)?;
        let path = dir.join("lines");
        let lines = File::create(&path)?;
        // It ends with this process, however that ends.
        let child = Command::new(std::env::current_exe()?)
            .arg("tied")
            .arg("--")
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(lines.try_clone()?)
            .stderr(lines)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        self.children.push((child, path));
        Ok(())
    }

    /// That all of them run.
    pub(super) fn check(&mut self) -> Result<()> {
        for (n, (child, lines)) in self.children.iter_mut().enumerate() {
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(lines).unwrap_or_default();
                let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
                bail!("node {n} has ended: {status}: {last}");
            }
        }
        Ok(())
    }

    /// Looks until there is `what`, while all of them run.
    pub(super) fn wait_for<T>(&mut self, what: &str, look: impl Fn() -> Option<T>) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.check()?;
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() >= until {
                bail!("the cluster has not got {what} after {PATIENCE:?}");
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for (child, _) in &mut self.children {
            // One that has ended already cannot be killed, and need not be.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Becomes another program that is killed when this one's parent dies.
pub(crate) fn tied(command: &[std::ffi::OsString]) -> Result<ExitCode> {
    let Some((program, args)) = command.split_first() else { bail!("no program is named") };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Err(Command::new(program).args(args).exec()).context("becoming another program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named_in_one_line() {
        // Of this process's net, where no other test listens.
        let held = TcpListener::bind((address(77), 0)).unwrap();
        let at = held.local_addr().unwrap();
        let error = check_free(78, &[at.port()], &[]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&at.to_string()) && text.contains("cannot listen there"), "{text}");
        drop(held);
        check_free(78, &[at.port()], &[]).unwrap();
    }
}
