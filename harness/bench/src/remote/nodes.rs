//! The processes of a cluster: each with an address of its own on this machine, and gone when the run is.

use anyhow::{Context as _, Result, bail};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// For a cluster to be founded and led.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it is. None of the bench's clocks run yet.
const LOOK: Duration = Duration::from_millis(20);

/// Processes that are killed when this is dropped.
pub(super) struct Nodes {
    children: Vec<Child>,
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
        let lines = File::create(dir.join("lines"))?;
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
        self.children.push(child);
        Ok(())
    }

    /// That all of them run.
    pub(super) fn check(&mut self) -> Result<()> {
        for (n, child) in self.children.iter_mut().enumerate() {
            if let Some(status) = child.try_wait()? {
                bail!("node {n} has ended: {status}");
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
        for child in &mut self.children {
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
